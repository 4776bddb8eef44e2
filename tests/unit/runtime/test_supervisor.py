import asyncio
from functools import partial
from itertools import pairwise
from operator import ge

import pytest
from structlog.testing import capture_logs

from service.runtime.tasks import Supervisor
from tests.support.service_harness import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.anyio


class Worker:
    """A loop that fails *failures* times and then runs until it is cancelled."""

    def __init__(self, name: str, order: list[str], failures: int = 0) -> None:
        self.name, self.order, self.failures = name, order, failures
        self.working = asyncio.Event()

    async def run(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise ValueError("oops")
        self.working.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.order.append(self.name)


async def test_loops_are_stopped_at_the_same_time() -> None:
    supervisor, together = Supervisor(), asyncio.Barrier(2)
    working = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def run(name: str) -> None:
        try:
            working[name].set()
            await asyncio.Event().wait()
        finally:
            await together.wait()  # passes only when both are ending

    for name, event in working.items():
        supervisor.start(name, partial(run, name))
        await event.wait()
    async with asyncio.timeout(5):
        await supervisor.stop()

    assert supervisor.dead == set()


async def test_a_loop_that_failed_is_dead_until_it_has_run_for_a_while() -> None:
    supervisor = Supervisor(first_pause_seconds=0.05)
    worker = Worker("dispatcher", [], failures=1)

    with capture_logs() as logs:
        supervisor.start("dispatcher", worker.run)
        await worker.working.wait()
        at_its_restart = set(supervisor.dead)
        await eventually(lambda: none_is_dead(supervisor))
    await supervisor.stop()

    assert at_its_restart == {"dispatcher"}
    assert [(line["event"], line["loop"]) for line in logs] == [("loop.died", "dispatcher")]


async def none_is_dead(supervisor: Supervisor) -> bool:
    return not supervisor.dead


async def test_a_loop_that_keeps_failing_stays_dead_and_pauses_longer_each_time() -> None:
    supervisor = Supervisor(first_pause_seconds=0.02, max_pause_seconds=0.08)
    starts, over = list[tuple[float, bool]](), asyncio.Event()

    async def run() -> None:
        starts.append((asyncio.get_running_loop().time(), "dispatcher" in supervisor.dead))
        if len(starts) == 6:
            over.set()
        raise ValueError("oops")

    with capture_logs():
        supervisor.start("dispatcher", run)
        await over.wait()
        await supervisor.stop()

    times = [at for at, _ in starts]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [dead for _, dead in starts] == [False, *[True] * 5]
    assert all(map(ge, pauses, (0.019, 0.039, 0.079, 0.079, 0.079)))


async def test_after_a_long_run_the_first_pause_applies_again() -> None:
    supervisor = Supervisor(first_pause_seconds=0.01, max_pause_seconds=3600, healthy_seconds=0)
    worker = Worker("dispatcher", [], failures=30)

    with capture_logs():
        supervisor.start("dispatcher", worker.run)
        async with asyncio.timeout(PATIENCE_SECONDS):  # the doubled pauses add up to 12 hours
            await worker.working.wait()
    await supervisor.stop()

    assert worker.failures == 0


async def test_a_loop_that_fails_does_not_affect_the_others() -> None:
    supervisor = Supervisor()
    broken, sound = Worker("broken", [], failures=9), Worker("sound", [])

    with capture_logs():
        supervisor.start("broken", broken.run)
        supervisor.start("sound", sound.run)
        await sound.working.wait()
        await supervisor.stop()

    assert supervisor.dead == {"broken"}
    assert sound.order == ["sound"]


async def test_a_supervisor_without_loops_can_be_stopped() -> None:
    await Supervisor().stop()
