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
    """A loop that dies as often as it has *deaths*, and then works until it is cancelled."""

    def __init__(self, name: str, order: list[str], deaths: int = 0) -> None:
        self.name, self.order, self.deaths = name, order, deaths
        self.working = asyncio.Event()

    async def run(self) -> None:
        if self.deaths > 0:
            self.deaths -= 1
            raise ValueError("oops")
        self.working.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.order.append(self.name)


async def test_loops_are_stopped_together_so_that_their_grace_does_not_add_up() -> None:
    loops, together = Supervisor(), asyncio.Barrier(2)
    working = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def run(name: str) -> None:
        try:
            working[name].set()
            await asyncio.Event().wait()
        finally:
            await together.wait()  # passes only when both are ending

    for name, event in working.items():
        loops.start(name, partial(run, name))
        await event.wait()
    async with asyncio.timeout(5):
        await loops.stop()

    assert loops.dead == set()


async def test_a_loop_that_died_is_named_until_it_has_run_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.runtime.tasks.PAUSE_SECONDS", 0.05)
    loops, worker = Supervisor(), Worker("courier", [], deaths=1)

    with capture_logs() as logs:
        loops.start("courier", worker.run)
        await worker.working.wait()
        at_its_restart = set(loops.dead)
        await eventually(lambda: is_well(loops))
    await loops.stop()

    assert at_its_restart == {"courier"}
    assert [(line["event"], line["loop"]) for line in logs] == [("loop.died", "courier")]


async def is_well(loops: Supervisor) -> bool:
    return not loops.dead


async def test_a_loop_that_dies_again_and_again_stays_dead_and_pauses_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.runtime.tasks.PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("service.runtime.tasks.MAX_PAUSE_SECONDS", 0.08)
    loops, starts, over = Supervisor(), list[tuple[float, bool]](), asyncio.Event()

    async def run() -> None:
        starts.append((asyncio.get_running_loop().time(), "courier" in loops.dead))
        if len(starts) == 6:
            over.set()
        raise ValueError("oops")

    with capture_logs():
        loops.start("courier", run)
        await over.wait()
        await loops.stop()

    times = [at for at, _ in starts]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [dead for _, dead in starts] == [False, *[True] * 5]
    assert all(map(ge, pauses, (0.019, 0.039, 0.079, 0.079, 0.079)))


async def test_a_loop_that_ran_for_long_begins_with_the_first_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.runtime.tasks.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("service.runtime.tasks.MAX_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr("service.runtime.tasks.HEALTHY_SECONDS", 0.0)
    loops, worker = Supervisor(), Worker("courier", [], deaths=30)

    with capture_logs():
        loops.start("courier", worker.run)
        async with asyncio.timeout(PATIENCE_SECONDS):  # doubled each time it would be months
            await worker.working.wait()
    await loops.stop()

    assert worker.deaths == 0


async def test_a_loop_that_died_harms_no_other() -> None:
    loops = Supervisor()
    broken, sound = Worker("broken", [], deaths=9), Worker("sound", [])

    with capture_logs():
        loops.start("broken", broken.run)
        loops.start("sound", sound.run)
        await sound.working.wait()
        await loops.stop()

    assert loops.dead == {"broken"}
    assert sound.order == ["sound"]


async def test_nothing_started_is_nothing_to_stop() -> None:
    await Supervisor().stop()
