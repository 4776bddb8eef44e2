import asyncio

import pytest
from structlog.testing import capture_logs

from service.runtime.tasks import TaskSet

pytestmark = pytest.mark.anyio


async def test_running_tasks_are_awaited() -> None:
    tasks, go, done = TaskSet(), asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(1)

    tasks.spawn(work())
    tasks.spawn(work())
    asyncio.get_running_loop().call_soon(go.set)
    await tasks.finish(5)

    assert done == [1, 1]


async def test_tasks_spawned_by_running_tasks_are_awaited_too() -> None:
    tasks, done = TaskSet(), []

    async def last() -> None:
        await asyncio.sleep(0)
        done.append("last")

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(last())

    tasks.spawn(first())
    await tasks.finish(5)

    assert done == ["last"]


async def test_a_task_that_takes_too_long_is_cancelled() -> None:
    tasks = TaskSet()
    forever = tasks.spawn(asyncio.Event().wait())

    await tasks.finish(0)

    assert forever.cancelled()


async def test_an_empty_set_can_be_finished() -> None:
    await TaskSet().finish(5)


async def test_a_task_returns_its_result() -> None:
    async def work() -> int:
        return 7

    assert await TaskSet().spawn(work()) == 7


async def test_a_task_that_fails_is_logged_and_does_not_affect_the_others() -> None:
    tasks = TaskSet()

    async def fail() -> None:
        raise ValueError("oops")

    async def work() -> int:
        return 7

    with capture_logs() as logs:
        tasks.spawn(fail())
        other = tasks.spawn(work())
        await tasks.finish(5)

    assert other.result() == 7
    assert [line["event"] for line in logs] == ["task.failed"]


async def test_a_cancelled_task_is_not_logged_as_a_failure() -> None:
    tasks = TaskSet()

    with capture_logs() as logs:
        tasks.spawn(asyncio.Event().wait()).cancel()
        await tasks.finish(5)

    assert logs == []
