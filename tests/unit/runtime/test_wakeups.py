import asyncio

import pytest

from service.runtime.wakeups import WakeupEvent, Wakeups

pytestmark = pytest.mark.anyio


async def test_a_wakeup_ends_every_wait() -> None:
    wakeups = Wakeups()
    waits = [asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme"))) for _ in range(3)]
    await asyncio.sleep(0)

    wakeups.wake_tenants(["acme"])

    assert await asyncio.gather(*waits) == [True, True, True]


async def test_a_wakeup_before_the_wait_is_not_lost() -> None:
    wakeups = Wakeups()
    wakeup = wakeups.next_wakeup("acme")

    wakeups.wake_tenants(["other", "acme"])

    assert await wakeups.wait(wakeup, timeout_seconds=0.001)


async def test_a_wakeup_from_before_next_wakeup_does_not_count() -> None:
    wakeups = Wakeups()
    wakeups.wake_tenants(["acme"])

    assert not await wakeups.wait(wakeups.next_wakeup("acme"), timeout_seconds=0.001)


async def test_a_wakeup_of_another_tenant_ends_no_wait() -> None:
    wakeups = Wakeups()
    wakeup = wakeups.next_wakeup("acme")

    wakeups.wake_tenants(["other"])

    assert not await wakeups.wait(wakeup, timeout_seconds=0.001)


async def test_a_wait_ends_after_its_timeout() -> None:
    wakeups = Wakeups()

    assert not await wakeups.wait(wakeups.next_wakeup("acme"), timeout_seconds=0.001)


async def test_close_ends_all_current_and_future_waits() -> None:
    wakeups = Wakeups()
    now = asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme")))
    await asyncio.sleep(0)

    wakeups.close()

    assert await now
    assert await wakeups.wait(wakeups.next_wakeup("acme"))
    assert await wakeups.wait(wakeups.next_wakeup("other"))
    assert wakeups.closed


async def test_a_cancelled_wait_does_not_affect_the_others() -> None:
    wakeups = Wakeups()
    cancelled, other = (
        asyncio.ensure_future(wakeups.wait(wakeups.next_wakeup("acme"))) for _ in range(2)
    )
    await asyncio.sleep(0)

    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    wakeups.wake_tenants(["acme"])

    assert await other


async def test_a_tenant_without_waits_can_be_woken() -> None:
    wakeups = Wakeups()

    wakeups.wake_tenants(["acme"])
    wakeups.wake_tenants(["acme"])

    assert not wakeups.closed


async def test_an_event_set_before_the_wait_is_not_lost() -> None:
    event = WakeupEvent()
    event.set()

    await event.wait(3600)


async def test_a_wait_for_an_event_ends_after_its_timeout() -> None:
    event = WakeupEvent()
    event.set()
    event.clear()

    began = asyncio.get_running_loop().time()
    await event.wait(0.01)

    assert asyncio.get_running_loop().time() >= began + 0.01
