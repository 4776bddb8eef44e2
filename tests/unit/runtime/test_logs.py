"""Log lines are complete, in order, and flushed once per turn of the event loop."""

import asyncio
import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from service.runtime.observability import logs


class Sink(io.BytesIO):
    """Records how many lines it holds at each flush."""

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


def log(*numbers: int) -> None:
    for number in numbers:
        structlog.get_logger().info("said", number=number)


def read(sink: Sink) -> list[int]:
    return [msgspec.json.decode(line)["number"] for line in sink.getvalue().splitlines()]


@pytest.mark.anyio
async def test_lines_of_one_turn_of_the_loop_are_flushed_together(sink: Sink) -> None:
    log(1, 2, 3)
    await asyncio.sleep(0)
    log(4)
    await asyncio.sleep(0)

    assert read(sink) == [1, 2, 3, 4]
    assert sink.flushed == [3, 4]


def test_lines_outside_a_loop_are_flushed_at_once(sink: Sink) -> None:
    log(1, 2)

    assert sink.flushed == [1, 2]


def test_lines_of_a_stopped_loop_are_flushed_by_the_next_loop(sink: Sink) -> None:
    async def log_more() -> None:
        log(2)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.call_soon(log, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    asyncio.run(log_more())

    assert sink.flushed == [2]


@pytest.mark.anyio
async def test_a_closed_log_pipe_raises_no_error(sink: Sink) -> None:
    def broken() -> None:
        raise BrokenPipeError

    sink.flush = broken  # type: ignore[method-assign]
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))

    log(1)
    await asyncio.sleep(0)

    assert not failed
