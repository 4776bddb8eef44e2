import asyncio
from functools import partial

import pytest
from structlog.testing import capture_logs

from service.loops import Loops

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
    loops, together = Loops(), asyncio.Barrier(2)
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


async def test_a_loop_that_died_is_named_until_it_runs_again() -> None:
    loops, worker = Loops(), Worker("courier", [], deaths=1)

    with capture_logs() as logs:
        loops.start("courier", worker.run)
        await asyncio.sleep(0)
        while_dead = set(loops.dead)
        await worker.working.wait()
    while_alive = set(loops.dead)
    await loops.stop()

    assert (while_dead, while_alive) == ({"courier"}, set())
    assert [(line["event"], line["loop"]) for line in logs] == [("loop.died", "courier")]


async def test_a_loop_that_died_harms_no_other() -> None:
    loops = Loops()
    broken, sound = Worker("broken", [], deaths=9), Worker("sound", [])

    with capture_logs():
        loops.start("broken", broken.run)
        loops.start("sound", sound.run)
        await sound.working.wait()
        await loops.stop()

    assert loops.dead == {"broken"}
    assert sound.order == ["sound"]


async def test_nothing_started_is_nothing_to_stop() -> None:
    await Loops().stop()
