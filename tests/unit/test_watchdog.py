import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support.watchdog import LIMIT_SECONDS, LONG, WatchedLoop, unwatched, watched


@pytest.fixture(autouse=True)
def _emptied() -> Iterator[None]:
    yield
    LONG.clear()


async def busy() -> None:
    """Keep the loop for twice as long as it may be kept."""
    await asyncio.sleep(0)
    end = time.thread_time() + 2 * LIMIT_SECONDS
    while time.thread_time() < end:
        pass
    await asyncio.sleep(0)


def run_busy() -> None:
    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(busy())


def test_a_callback_that_keeps_the_loop_is_noted_by_its_name() -> None:
    with watched():
        run_busy()

    (turn,) = LONG
    assert 2 * LIMIT_SECONDS <= turn.seconds < 10 * LIMIT_SECONDS
    assert "> busy" in str(turn)


def test_what_a_loop_does_without_a_service_is_not_noted() -> None:
    run_busy()

    assert not LONG


def test_what_starts_a_service_is_not_noted() -> None:
    async def start() -> None:
        with unwatched():
            await busy()

    with watched(), asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(start())

    assert not LONG


def test_time_that_passes_without_work_is_not_noted() -> None:
    async def wait() -> None:
        time.sleep(2 * LIMIT_SECONDS)  # noqa: ASYNC251 - that others compute meanwhile

    with watched(), asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(wait())

    assert not LONG
