import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from service.domain.primitives.errors import Unavailable
from service.runtime.group_commit import GroupCommitter

pytestmark = pytest.mark.anyio


class Ledger:
    """Commits numbers once *open* is set; fails for negative ones, and for all if *unavailable*.

    It becomes *unavailable* after the group *last*.
    """

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.unavailable = False
        self.last: list[int] = []

    async def commit(self, group: Sequence[int]) -> Sequence[str]:
        await self.open.wait()
        self.groups.append(list(group))
        self.unavailable = self.unavailable or self.groups[-2:-1] == [self.last]
        if self.unavailable:
            raise Unavailable
        if any(number < 0 for number in group):
            raise ValueError("a negative number")
        return [f"<{number}>" for number in group]


@asynccontextmanager
async def running(committer: GroupCommitter[int, str]) -> AsyncIterator[None]:
    task = asyncio.create_task(committer.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def put_all(
    committer: GroupCommitter[int, str], ledger: Ledger, *numbers: int
) -> list[str | BaseException]:
    """Put *numbers* before the committer runs, so that they wait together."""
    waiting = [asyncio.ensure_future(committer.put(number)) for number in numbers]
    await asyncio.sleep(0)
    async with running(committer):
        ledger.open.set()
        return await asyncio.gather(*waiting, return_exceptions=True)


async def test_waiting_items_share_one_commit_and_each_gets_its_result() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.commit, limit=10)

    results = await put_all(committer, ledger, 1, 2, 3)

    assert results == ["<1>", "<2>", "<3>"]
    assert ledger.groups == [[1, 2, 3]]


async def test_a_group_has_a_limit_and_the_other_items_follow() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.commit, limit=2)

    results = await put_all(committer, ledger, 1, 2, 3, 4, 5)

    assert results == ["<1>", "<2>", "<3>", "<4>", "<5>"]
    assert ledger.groups == [[1, 2], [3, 4], [5]]


async def test_items_put_during_a_commit_share_the_next_one() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.commit, limit=10)

    async with running(committer):
        first = asyncio.ensure_future(committer.put(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(committer.put(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        ledger.open.set()
        await asyncio.gather(first, *others)

    assert ledger.groups == [[1], [2, 3]]


async def test_a_bad_item_does_not_affect_the_others() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.commit, limit=10)

    first, bad, last = await put_all(committer, ledger, 1, -2, 3)

    assert (first, last) == ("<1>", "<3>")
    assert isinstance(bad, ValueError)
    assert ledger.groups == [[1, -2, 3], [1], [-2], [3]]


async def test_an_unavailable_store_fails_the_group_without_single_commits() -> None:
    ledger = Ledger()
    ledger.unavailable = True
    committer = GroupCommitter(ledger.commit, limit=10)

    results = await put_all(committer, ledger, 1, 2)

    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert ledger.groups == [[1, 2]]


async def test_an_unavailable_store_fails_the_waiting_items_at_once() -> None:
    ledger = Ledger()
    ledger.unavailable = True
    committer = GroupCommitter(ledger.commit, limit=2)

    results = await put_all(committer, ledger, 1, 2, 3, 4, 5)

    assert [type(result) for result in results] == [Unavailable] * 5
    assert ledger.groups == [[1, 2]]


async def test_a_store_that_becomes_unavailable_fails_the_remaining_items_at_once() -> None:
    ledger = Ledger()
    ledger.last = [-2]
    committer = GroupCommitter(ledger.commit, limit=4)

    results = await put_all(committer, ledger, 1, -2, 3, 4, 5)

    assert [type(result) for result in results] == [str, ValueError, *[Unavailable] * 3]
    assert ledger.groups == [[1, -2, 3, 4], [1], [-2], [3]]


async def test_the_committer_continues_after_a_failure() -> None:
    ledger = Ledger()
    ledger.open.set()
    committer = GroupCommitter(ledger.commit, limit=10)

    async with running(committer):
        with pytest.raises(ValueError, match="negative"):
            await committer.put(-1)
        result = await committer.put(2)

    assert result == "<2>"


@pytest.mark.parametrize("others", [(2, 3), (-2, 3)])
async def test_a_cancelled_put_does_not_affect_the_others(others: tuple[int, int]) -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.commit, limit=10)
    cancelled = asyncio.ensure_future(committer.put(1))
    await asyncio.sleep(0)
    cancelled.cancel()

    results = await put_all(committer, ledger, *others)

    assert cancelled.cancelled()
    assert results[-1] == "<3>"
