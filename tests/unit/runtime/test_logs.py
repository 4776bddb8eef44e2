"""Log lines: whole, in order, and written together where they come together."""

import asyncio
import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from service.runtime.observability import logs


class Sink(io.BytesIO):
    """Keeps what could be read of it after each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue().count(b"\n"))


@pytest.fixture
def sink() -> Iterator[Sink]:
    before, sink = structlog.get_config(), Sink()
    handlers, level = logging.root.handlers[:], logging.root.level
    logs.configure(file=sink)
    yield sink
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def say(*numbers: int) -> None:
    for number in numbers:
        structlog.get_logger().info("said", number=number)


def read(sink: Sink) -> list[int]:
    return [msgspec.json.decode(line)["number"] for line in sink.getvalue().splitlines()]


@pytest.mark.anyio
async def test_lines_of_one_turn_are_written_together(sink: Sink) -> None:
    say(1, 2, 3)
    await asyncio.sleep(0)
    say(4)
    await asyncio.sleep(0)

    assert read(sink) == [1, 2, 3, 4]
    assert sink.flushed == [3, 4]


def test_lines_outside_a_loop_are_written_at_once(sink: Sink) -> None:
    say(1, 2)

    assert sink.flushed == [1, 2]


def test_a_loop_that_ended_too_soon_holds_nothing_back_in_the_next(sink: Sink) -> None:
    async def say_more() -> None:
        say(2)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.call_soon(say, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    asyncio.run(say_more())

    assert sink.flushed == [2]


@pytest.mark.anyio
async def test_a_log_that_nobody_reads_stops_nothing(sink: Sink) -> None:
    def broken() -> None:
        raise BrokenPipeError

    sink.flush = broken  # type: ignore[method-assign]
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))

    say(1)
    await asyncio.sleep(0)

    assert not failed
