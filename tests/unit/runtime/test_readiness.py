import asyncio

import pytest

from service.domain.primitives.errors import Unavailable
from service.runtime.observability.readiness import BAD_SECONDS, GOOD_SECONDS, WriteCheck

pytestmark = pytest.mark.anyio


class Store:
    """Counts its writes; they wait until *open* is set and fail while *full* is True."""

    def __init__(self) -> None:
        self.writes, self.full, self.now = 0, False, 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.check = WriteCheck(self.write, lambda: self.now)

    async def write(self) -> None:
        self.writes += 1
        await self.open.wait()
        if self.full:
            raise Unavailable("the disk is full")


async def test_concurrent_probes_share_one_write() -> None:
    store = Store()
    store.open.clear()

    probes = [asyncio.create_task(store.check.problem()) for _ in range(50)]
    await asyncio.sleep(0)
    store.open.set()

    assert await asyncio.gather(*probes) == [None] * 50
    assert store.writes == 1


@pytest.mark.parametrize(
    ("full", "seconds", "problem"),
    [(False, GOOD_SECONDS, None), (True, BAD_SECONDS, "the disk is full")],
)
async def test_a_result_is_reused_for_a_short_time(
    full: bool,  # noqa: FBT001
    seconds: float,
    problem: str | None,
) -> None:
    store = Store()
    store.full = full

    first = await store.check.problem()
    store.full, store.now = not full, seconds - 0.01
    within = await store.check.problem()
    store.now = seconds
    after = await store.check.problem()

    assert (first, within) == (problem, problem)
    assert after != problem
    assert store.writes == 2


async def test_a_cancelled_probe_does_not_affect_the_others() -> None:
    store = Store()
    store.open.clear()
    first, second = (asyncio.create_task(store.check.problem()) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.open.set()

    assert await second is None
    assert store.writes == 1


async def test_a_check_that_raises_another_error_is_repeated() -> None:
    failures = [ValueError("a defect")]

    async def write() -> None:
        if failures:
            raise failures.pop()

    check = WriteCheck(write)

    with pytest.raises(ValueError, match="a defect"):
        await check.problem()
    assert await check.problem() is None
