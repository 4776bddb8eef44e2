import asyncio

import pytest

from service.runtime.wakeups import Feed, Nudge

pytestmark = pytest.mark.anyio


async def test_a_wake_up_ends_every_wait() -> None:
    feed = Feed()
    waits = [asyncio.ensure_future(feed.wait(feed.ticket("acme"))) for _ in range(3)]
    await asyncio.sleep(0)

    feed.wake(["acme"])

    assert await asyncio.gather(*waits) == [True, True, True]


async def test_a_wake_up_between_ticket_and_wait_is_not_lost() -> None:
    feed = Feed()
    ticket = feed.ticket("acme")

    feed.wake(["other", "acme"])

    assert await feed.wait(ticket, timeout_seconds=0.001)


async def test_a_wake_up_before_the_ticket_is_old_news() -> None:
    feed = Feed()
    feed.wake(["acme"])

    assert not await feed.wait(feed.ticket("acme"), timeout_seconds=0.001)


async def test_a_wake_up_of_other_tenants_ends_no_wait() -> None:
    feed = Feed()
    ticket = feed.ticket("acme")

    feed.wake(["other"])

    assert not await feed.wait(ticket, timeout_seconds=0.001)


async def test_a_wait_ends_with_its_time() -> None:
    feed = Feed()

    assert not await feed.wait(feed.ticket("acme"), timeout_seconds=0.001)


async def test_closing_ends_every_wait_now_and_later() -> None:
    feed = Feed()
    now = asyncio.ensure_future(feed.wait(feed.ticket("acme")))
    await asyncio.sleep(0)

    feed.close()

    assert await now
    assert await feed.wait(feed.ticket("acme"))
    assert await feed.wait(feed.ticket("other"))
    assert feed.closed


async def test_a_wait_that_is_cancelled_harms_no_other() -> None:
    feed = Feed()
    leaver, stayer = (asyncio.ensure_future(feed.wait(feed.ticket("acme"))) for _ in range(2))
    await asyncio.sleep(0)

    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    feed.wake(["acme"])

    assert await stayer


async def test_a_feed_without_waiters_can_be_woken() -> None:
    feed = Feed()

    feed.wake(["acme"])
    feed.wake(["acme"])

    assert not feed.closed


async def test_a_nudge_that_comes_before_the_wait_is_not_lost() -> None:
    nudge = Nudge()
    nudge.give()

    await nudge.wait(3600)


async def test_a_nudge_is_waited_for_no_longer_than_was_said() -> None:
    nudge = Nudge()
    nudge.give()
    nudge.forget()

    began = asyncio.get_running_loop().time()
    await nudge.wait(0.01)

    assert asyncio.get_running_loop().time() >= began + 0.01
