import asyncio

import pytest
from structlog.testing import capture_logs

from service.runtime.tasks import TaskSet

pytestmark = pytest.mark.anyio


async def test_what_is_under_way_is_awaited() -> None:
    hands, go, done = TaskSet(), asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(1)

    hands.spawn(work())
    hands.spawn(work())
    asyncio.get_running_loop().call_soon(go.set)
    await hands.finish(5)

    assert done == [1, 1]


async def test_what_follows_from_what_is_under_way_is_awaited_too() -> None:
    hands, done = TaskSet(), []

    async def last() -> None:
        await asyncio.sleep(0)
        done.append("last")

    async def first() -> None:
        await asyncio.sleep(0)
        hands.spawn(last())

    hands.spawn(first())
    await hands.finish(5)

    assert done == ["last"]


async def test_what_takes_too_long_is_cancelled() -> None:
    hands = TaskSet()
    forever = hands.spawn(asyncio.Event().wait())

    await hands.finish(0)

    assert forever.cancelled()


async def test_there_may_be_nothing_to_finish() -> None:
    await TaskSet().finish(5)


async def test_a_task_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert await TaskSet().spawn(work()) == 7


async def test_a_task_that_fails_is_logged_and_harms_no_other() -> None:
    hands = TaskSet()

    async def fail() -> None:
        raise ValueError("oops")

    async def work() -> int:
        return 7

    with capture_logs() as logs:
        hands.spawn(fail())
        other = hands.spawn(work())
        await hands.finish(5)

    assert other.result() == 7
    assert [line["event"] for line in logs] == ["task.failed"]


async def test_a_task_that_is_cancelled_is_no_failure() -> None:
    hands = TaskSet()

    with capture_logs() as logs:
        hands.spawn(asyncio.Event().wait()).cancel()
        await hands.finish(5)

    assert logs == []
