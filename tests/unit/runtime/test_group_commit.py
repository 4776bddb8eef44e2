import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from service.domain.primitives.errors import Unavailable
from service.runtime.group_commit import GroupCommitter

pytestmark = pytest.mark.anyio


class Ledger:
    """Commits numbers once *open* is set; refuses negative ones, and all while *away*.

    It goes *away* by itself after the group *last*.
    """

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.away = False
        self.last: list[int] = []

    async def commit(self, group: Sequence[int]) -> Sequence[str]:
        await self.open.wait()
        self.groups.append(list(group))
        self.away = self.away or self.groups[-2:-1] == [self.last]
        if self.away:
            raise Unavailable
        if any(number < 0 for number in group):
            raise ValueError("a negative number")
        return [f"<{number}>" for number in group]


@asynccontextmanager
async def running(batches: GroupCommitter[int, str]) -> AsyncIterator[None]:
    task = asyncio.create_task(batches.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def put_all(
    batches: GroupCommitter[int, str], ledger: Ledger, *numbers: int
) -> list[str | BaseException]:
    """Put *numbers* while nobody commits yet, so that they wait together."""
    waiting = [asyncio.ensure_future(batches.put(number)) for number in numbers]
    await asyncio.sleep(0)
    async with running(batches):
        ledger.open.set()
        return await asyncio.gather(*waiting, return_exceptions=True)


async def test_whoever_waits_shares_one_commit_and_gets_their_own_answer() -> None:
    ledger = Ledger()
    batches = GroupCommitter(ledger.commit, limit=10)

    answers = await put_all(batches, ledger, 1, 2, 3)

    assert answers == ["<1>", "<2>", "<3>"]
    assert ledger.groups == [[1, 2, 3]]


async def test_a_group_has_a_limit_and_the_rest_follows() -> None:
    ledger = Ledger()
    batches = GroupCommitter(ledger.commit, limit=2)

    answers = await put_all(batches, ledger, 1, 2, 3, 4, 5)

    assert answers == ["<1>", "<2>", "<3>", "<4>", "<5>"]
    assert ledger.groups == [[1, 2], [3, 4], [5]]


async def test_what_comes_during_a_commit_goes_with_the_next() -> None:
    ledger = Ledger()
    batches = GroupCommitter(ledger.commit, limit=10)

    async with running(batches):
        first = asyncio.ensure_future(batches.put(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(batches.put(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        ledger.open.set()
        await asyncio.gather(first, *others)

    assert ledger.groups == [[1], [2, 3]]


async def test_a_bad_one_harms_no_other() -> None:
    ledger = Ledger()
    batches = GroupCommitter(ledger.commit, limit=10)

    first, bad, last = await put_all(batches, ledger, 1, -2, 3)

    assert (first, last) == ("<1>", "<3>")
    assert isinstance(bad, ValueError)
    assert ledger.groups == [[1, -2, 3], [1], [-2], [3]]


async def test_a_store_that_is_away_is_told_to_all_without_trying_each_alone() -> None:
    ledger = Ledger()
    ledger.away = True
    batches = GroupCommitter(ledger.commit, limit=10)

    answers = await put_all(batches, ledger, 1, 2)

    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert ledger.groups == [[1, 2]]


async def test_what_waits_behind_a_store_that_is_away_is_told_at_once() -> None:
    ledger = Ledger()
    ledger.away = True
    batches = GroupCommitter(ledger.commit, limit=2)

    answers = await put_all(batches, ledger, 1, 2, 3, 4, 5)

    assert [type(answer) for answer in answers] == [Unavailable] * 5
    assert ledger.groups == [[1, 2]]


async def test_a_store_that_goes_away_between_single_tries_is_told_to_the_rest_at_once() -> None:
    ledger = Ledger()
    ledger.last = [-2]
    batches = GroupCommitter(ledger.commit, limit=4)

    answers = await put_all(batches, ledger, 1, -2, 3, 4, 5)

    assert [type(answer) for answer in answers] == [str, ValueError, *[Unavailable] * 3]
    assert ledger.groups == [[1, -2, 3, 4], [1], [-2], [3]]


async def test_it_goes_on_after_a_failure() -> None:
    ledger = Ledger()
    ledger.open.set()
    batches = GroupCommitter(ledger.commit, limit=10)

    async with running(batches):
        with pytest.raises(ValueError, match="negative"):
            await batches.put(-1)
        answer = await batches.put(2)

    assert answer == "<2>"


@pytest.mark.parametrize("others", [(2, 3), (-2, 3)])
async def test_a_waiter_that_is_cancelled_harms_nobody(others: tuple[int, int]) -> None:
    ledger = Ledger()
    batches = GroupCommitter(ledger.commit, limit=10)
    leaver = asyncio.ensure_future(batches.put(1))
    await asyncio.sleep(0)
    leaver.cancel()

    answers = await put_all(batches, ledger, *others)

    assert leaver.cancelled()
    assert answers[-1] == "<3>"
