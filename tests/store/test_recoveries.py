"""Recoveries: which deliveries they create, and cancellation."""

from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE, DeliveryStatus
from service.domain.deliveries.recovery import Recovery
from service.domain.primitives.errors import Conflict, NotFound
from service.domain.subscriptions.subscription import Subscription
from service.transactions.store_protocols import Store
from tests.support.factories import IDS, T0, an_event, an_update
from tests.support.store_steps import (
    ALL,
    LATER,
    add_delivery,
    append_events,
    claim,
    put_subscription,
    record_attempts,
)

pytestmark = pytest.mark.anyio


async def add_recovery(store: Store, subscription: Subscription, **fields: Any) -> Recovery:
    defaults = {"since": T0, "until": LATER, "created_at": LATER, "tenant": subscription.tenant}
    recovery = Recovery(
        id=IDS.new_id("rec", LATER), subscription_id=subscription.id, **{**defaults, **fields}
    )
    return await store.recoveries.add(recovery)


async def run_to_end(store: Store) -> Recovery:
    """Process steps until the recovery is done."""
    while True:
        recovery = await store.recoveries.step(LATER, LATER + LEASE, IDS.new_id)
        assert recovery is not None
        if recovery.status == "done":
            return recovery


async def test_dead_and_missed_events_are_sent_again_but_not_delivered_ones(store: Store) -> None:
    subscription = await put_subscription(store)
    dead = await add_delivery(store, subscription, job_id="job_1")
    delivered = await add_delivery(store, subscription, job_id="job_2")
    status = {dead.id: DeliveryStatus.DEAD, delivered.id: DeliveryStatus.DELIVERED}
    updates = [
        an_update(replace(task.delivery, status=status[task.delivery.id], settled_at=T0))
        for task in await claim(store)
    ]
    await record_attempts(store, *updates)
    (missed,) = await append_events(store, an_event(job_id="job_3"))

    await add_recovery(store, subscription)
    done = await run_to_end(store)

    pending = await store.deliveries.find("acme", {"status": "pending"}, ALL)
    assert {one.event_id for one in pending} == {dead.event_id, missed.id}
    assert (done.looked_at, done.sent_again) == (3, 2)
    assert await store.recoveries.get("acme", done.id) == done


async def test_a_canceled_recovery_is_not_processed(store: Store) -> None:
    subscription = await put_subscription(store)
    recovery = await add_recovery(store, subscription)
    await store.recoveries.cancel("acme", recovery.id, LATER)

    assert await store.recoveries.step(LATER, LATER + LEASE, IDS.new_id) is None


async def test_a_recovery_that_is_done_cannot_be_canceled(store: Store) -> None:
    recovery = await add_recovery(store, await put_subscription(store))
    await run_to_end(store)

    with pytest.raises(Conflict):
        await store.recoveries.cancel("acme", recovery.id, LATER)


async def test_a_disabled_subscription_cannot_be_recovered(store: Store) -> None:
    subscription = await put_subscription(store, enabled=False)

    with pytest.raises(Conflict):
        await add_recovery(store, subscription)


async def test_a_recovery_of_another_tenant_is_not_found(store: Store) -> None:
    recovery = await add_recovery(store, await put_subscription(store))

    with pytest.raises(NotFound):
        await store.recoveries.get("other", recovery.id)
    assert await store.recoveries.find("other", ALL) == []
    assert await store.recoveries.find("acme", ALL) == [recovery]
