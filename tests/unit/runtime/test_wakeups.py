import asyncio

import pytest

from service.runtime.wakeups import WakeupEvent, Wakeups

pytestmark = pytest.mark.anyio


async def test_a_wake_up_ends_every_wait() -> None:
    wakeups = Wakeups()
    waits = [asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme"))) for _ in range(3)]
    await asyncio.sleep(0)

    wakeups.wake_tenants(["acme"])

    assert await asyncio.gather(*waits) == [True, True, True]


async def test_a_wake_up_between_ticket_and_wait_is_not_lost() -> None:
    wakeups = Wakeups()
    ticket = wakeups.next_wakeup("acme")

    wakeups.wake_tenants(["other", "acme"])

    assert await wakeups.wait(ticket, timeout_seconds=0.001)


async def test_a_wake_up_before_the_ticket_is_old_news() -> None:
    wakeups = Wakeups()
    wakeups.wake_tenants(["acme"])

    assert not await wakeups.wait(wakeups.next_wakeup("acme"), timeout_seconds=0.001)


async def test_a_wake_up_of_other_tenants_ends_no_wait() -> None:
    wakeups = Wakeups()
    ticket = wakeups.next_wakeup("acme")

    wakeups.wake_tenants(["other"])

    assert not await wakeups.wait(ticket, timeout_seconds=0.001)


async def test_a_wait_ends_with_its_time() -> None:
    wakeups = Wakeups()

    assert not await wakeups.wait(wakeups.next_wakeup("acme"), timeout_seconds=0.001)


async def test_closing_ends_every_wait_now_and_later() -> None:
    wakeups = Wakeups()
    now = asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme")))
    await asyncio.sleep(0)

    wakeups.close()

    assert await now
    assert await wakeups.wait(wakeups.next_wakeup("acme"))
    assert await wakeups.wait(wakeups.next_wakeup("other"))
    assert wakeups.closed


async def test_a_wait_that_is_cancelled_harms_no_other() -> None:
    wakeups = Wakeups()
    leaver, stayer = (
        asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme"))) for _ in range(2)
    )
    await asyncio.sleep(0)

    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    wakeups.wake_tenants(["acme"])

    assert await stayer


async def test_a_feed_without_waiters_can_be_woken() -> None:
    wakeups = Wakeups()

    wakeups.wake_tenants(["acme"])
    wakeups.wake_tenants(["acme"])

    assert not wakeups.closed


async def test_a_nudge_that_comes_before_the_wait_is_not_lost() -> None:
    nudge = WakeupEvent()
    nudge.set()

    await nudge.wait(3600)


async def test_a_nudge_is_waited_for_no_longer_than_was_said() -> None:
    nudge = WakeupEvent()
    nudge.set()
    nudge.clear()

    began = asyncio.get_running_loop().time()
    await nudge.wait(0.01)

    assert asyncio.get_running_loop().time() >= began + 0.01
