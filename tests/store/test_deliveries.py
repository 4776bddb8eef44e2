"""Deliveries: claims, attempts, redelivery and lists."""

import asyncio

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE, DeliveryStatus
from service.domain.primitives.errors import Conflict
from service.transactions.store_protocols import Page, Store
from tests.support.factories import T0, a_result, an_update
from tests.support.store_steps import (
    ALL,
    LATER,
    add_delivery,
    claim,
    claim_ids,
    insert_job,
    put_subscription,
    read_snapshot,
    record_attempts,
)

pytestmark = pytest.mark.anyio


# Claims


async def test_a_delivery_is_claimed_with_its_subscription_and_payload(store: Store) -> None:
    subscription = await put_subscription(store)
    delivery = await add_delivery(store, subscription)

    (task,) = await claim(store)

    assert task.delivery == replace(delivery, lease_version=1, due_at=T0 + LEASE)
    assert (task.subscription, task.payload) == (subscription, b'{"type":"job.succeeded"}')
    assert not task.earlier_pending


async def test_a_leased_delivery_is_claimed_again_only_when_its_lease_ends(store: Store) -> None:
    delivery = await add_delivery(store, await put_subscription(store))

    first = await claim_ids(store)
    during = await claim_ids(store, T0 + LEASE - 1)
    (task,) = await claim(store, T0 + LEASE)

    assert (first, during) == ([delivery.id], [])
    assert (task.delivery.id, task.delivery.lease_version) == (delivery.id, 2)


async def test_concurrent_claims_never_return_the_same_delivery(store: Store) -> None:
    subscription = await put_subscription(store)
    deliveries = [await add_delivery(store, subscription, job_id=f"job_{n}") for n in range(6)]

    claims = await asyncio.gather(*(claim_ids(store, limit=2) for _ in range(5)))

    assert sorted(claimed for ids in claims for claimed in ids) == [one.id for one in deliveries]


async def test_the_events_of_one_job_are_claimed_one_after_the_other(store: Store) -> None:
    subscription = await put_subscription(store)
    second = await add_delivery(store, subscription, sequence=2)
    first = await add_delivery(store, subscription, sequence=1)

    (task,) = await claim(store)
    while_first_is_leased = await claim_ids(store)
    await record_attempts(store, an_update(replace(task.delivery, status=DeliveryStatus.DEAD)))

    assert task.delivery.id == first.id
    assert while_first_is_leased == []
    assert await claim_ids(store) == [second.id]


async def test_a_later_event_waits_for_the_retry_of_an_earlier_one(store: Store) -> None:
    subscription = await put_subscription(store)
    first, _second = [await add_delivery(store, subscription, sequence=n) for n in (1, 2)]
    (task,) = await claim(store)
    retry = replace(task.delivery, tries=1, due_at=LATER)

    await record_attempts(store, an_update(retry, result=a_result(500)))

    assert await claim_ids(store, LATER - 1) == []
    assert await claim_ids(store, LATER) == [first.id]


async def test_events_of_other_jobs_and_receivers_do_not_wait(store: Store) -> None:
    one, two = [await put_subscription(store) for _ in range(2)]
    deliveries = [
        await add_delivery(store, one, job_id="job_1", sequence=1),
        await add_delivery(store, one, job_id="job_2", sequence=2),
        await add_delivery(store, two, job_id="job_1", sequence=2),
        await add_delivery(store, one, job_id=None, sequence=0),
        await add_delivery(store, one, job_id=None, sequence=0),
    ]

    assert await claim_ids(store) == [delivery.id for delivery in deliveries]


async def test_a_claim_takes_the_oldest_due_deliveries_up_to_its_limit(store: Store) -> None:
    subscription = await put_subscription(store)
    due_later = await add_delivery(store, subscription, job_id="job_1", due_at=T0 - 1)
    due_first = await add_delivery(store, subscription, job_id="job_2", due_at=T0 - 2)
    await add_delivery(store, subscription, job_id="job_3", due_at=T0 + 1)

    assert await claim_ids(store, limit=1) == [due_first.id]
    assert await claim_ids(store) == [due_later.id]
    assert await store.deliveries.next_due() == T0 + 1


async def test_deliveries_of_full_queues_and_disabled_subscriptions_are_not_claimed(
    store: Store,
) -> None:
    full, other = [await put_subscription(store) for _ in range(2)]
    disabled = await put_subscription(store, enabled=False)
    to_full = await add_delivery(store, full)
    to_other = await add_delivery(store, other)
    to_disabled = await add_delivery(store, disabled)

    assert await claim_ids(store, full=[full.id]) == [to_other.id]
    assert await claim_ids(store) == [to_full.id]
    await store.subscriptions.change("acme", disabled.id, lambda s: replace(s, enabled=True))
    assert await claim_ids(store) == [to_disabled.id]


async def test_a_delivery_that_is_leased_when_it_is_inserted_is_not_claimed(store: Store) -> None:
    subscription = await put_subscription(store)
    delivery = await add_delivery(store, subscription, lease_version=1, due_at=T0 + LEASE)

    assert await claim_ids(store) == []
    delivered = replace(delivery, status=DeliveryStatus.DELIVERED, tries=1, settled_at=LATER)
    await record_attempts(store, an_update(delivered))
    assert (await store.deliveries.get("acme", delivery.id))[0] == delivered


async def test_a_rate_limit_slot_in_the_far_future_is_ignored(store: Store) -> None:
    subscription = await put_subscription(store, rate_limit=1)
    for n in range(2):
        await add_delivery(store, subscription, job_id=f"job_{n}")
    await claim_ids(store, LATER)

    assert len(await claim_ids(store, T0)) == 1


# Attempts


async def test_every_attempt_is_stored_with_its_number(store: Store) -> None:
    delivery = await add_delivery(store, await put_subscription(store))
    results = [
        a_result(None, error="TLS: bad certificate", duration_ms=1.5),
        a_result(500, excerpt="oops"),
    ]

    for n, result in enumerate(results):
        (task,) = await claim(store, T0 + n)
        retry = replace(task.delivery, tries=n + 1, due_at=T0 + n + 1)
        await record_attempts(store, an_update(retry, result=result))

    stored, attempts = await store.deliveries.get("acme", delivery.id)
    assert (stored.tries, stored.due_at, stored.status) == (2, T0 + 2, DeliveryStatus.PENDING)
    assert attempts == list(enumerate(results, start=1))


async def test_an_attempt_under_an_expired_lease_does_not_change_the_delivery(store: Store) -> None:
    await add_delivery(store, await put_subscription(store))
    (first,) = await claim(store)
    (second,) = await claim(store, T0 + LEASE)

    await record_attempts(store, an_update(replace(first.delivery, status=DeliveryStatus.DEAD)))
    await store.deliveries.release([first.delivery], T0)

    stored, _ = await store.deliveries.get("acme", second.delivery.id)
    assert stored == second.delivery


async def test_a_settled_delivery_is_not_changed_by_a_later_attempt(store: Store) -> None:
    await add_delivery(store, await put_subscription(store))
    (task,) = await claim(store)
    delivered = replace(task.delivery, status=DeliveryStatus.DELIVERED, settled_at=T0)

    await record_attempts(store, an_update(delivered))
    await record_attempts(store, an_update(replace(task.delivery, status=DeliveryStatus.DEAD)))

    assert (await store.deliveries.get("acme", delivered.id))[0] == delivered
    assert await store.deliveries.next_due() is None


async def test_a_released_delivery_is_due_at_once(store: Store) -> None:
    await add_delivery(store, await put_subscription(store))
    (task,) = await claim(store)

    await store.deliveries.release([task.delivery], T0 + 1)

    assert await store.deliveries.next_due() == T0 + 1
    assert await claim_ids(store, T0 + 1) == [task.delivery.id]


async def test_an_attempt_may_disable_the_subscription(store: Store) -> None:
    job, subscription = await insert_job(store), await put_subscription(store)
    await add_delivery(store, subscription, job_id=job.id)
    (task,) = await claim(store)
    dead = replace(task.delivery, status=DeliveryStatus.DEAD, settled_at=T0)

    await record_attempts(store, an_update(dead, disable="Gone.", result=a_result(410, at=LATER)))

    disabled = replace(subscription, enabled=False, disabled_reason="Gone.", updated_at=LATER)
    assert await store.subscriptions.get("acme", subscription.id) == disabled
    assert (await read_snapshot(store, job.ref)).permanent == {"acme": [disabled]}


# Redelivery and lists


@pytest.mark.parametrize("status", ["delivered", "dead", "superseded", "canceled"])
async def test_a_finished_delivery_can_be_sent_again_with_all_tries(
    store: Store, status: str
) -> None:
    delivery = await add_delivery(store, await put_subscription(store))
    (task,) = await claim(store)
    finished = replace(task.delivery, status=DeliveryStatus(status), tries=9, settled_at=T0)
    await record_attempts(store, an_update(finished))

    redelivered = await store.deliveries.redeliver("acme", delivery.id, LATER)

    assert redelivered.status is DeliveryStatus.PENDING
    assert (redelivered.tries, redelivered.due_at) == (0, LATER)
    assert redelivered.settled_at is None
    assert await claim_ids(store, LATER) == [delivery.id]


async def test_a_delivery_of_a_disabled_or_deleted_subscription_cannot_be_sent_again(
    store: Store,
) -> None:
    disabled, deleted = [await put_subscription(store) for _ in range(2)]
    deliveries = [await add_delivery(store, disabled), await add_delivery(store, deleted)]
    await store.subscriptions.change("acme", disabled.id, lambda s: replace(s, enabled=False))
    await store.subscriptions.delete("acme", deleted.id, T0)

    for delivery in deliveries:
        with pytest.raises(Conflict):
            await store.deliveries.redeliver("acme", delivery.id, LATER)


async def test_an_event_is_resent_once_to_a_subscription(store: Store) -> None:
    subscription, another = await put_subscription(store), await put_subscription(store)
    delivery = await add_delivery(store, another)
    event_id = delivery.event_id

    first = await store.deliveries.resend("acme", event_id, subscription, "dlv_new", T0 + 5)
    again = await store.deliveries.resend("acme", event_id, subscription, "dlv_newer", T0 + 9)

    assert (first.id, first.due_at) == ("dlv_new", T0 + 5)
    assert (again.id, again.due_at) == ("dlv_new", T0 + 9)


async def test_nothing_is_resent_to_a_subscription_that_was_just_deleted(store: Store) -> None:
    subscription, another = await put_subscription(store), await put_subscription(store)
    delivery = await add_delivery(store, another)
    await store.subscriptions.delete("acme", subscription.id, T0)

    with pytest.raises(Conflict):
        await store.deliveries.resend("acme", delivery.event_id, subscription, "dlv_new", T0)


@pytest.mark.parametrize("name", ["subscription", "status", "event", "job"])
async def test_deliveries_are_found_by_each_filter(store: Store, name: str) -> None:
    one, two = [await put_subscription(store) for _ in range(2)]
    other = await add_delivery(store, one, job_id="job_1")
    delivery = await add_delivery(store, two, job_id="job_2")
    (task,) = await claim(store, full=[one.id])
    dead = replace(task.delivery, status=DeliveryStatus.DEAD)
    await record_attempts(store, an_update(dead))
    filters = {
        "subscription": two.id,
        "status": "dead",
        "event": delivery.event_id,
        "job": "job_2",
    }

    assert await store.deliveries.find("acme", {name: filters[name]}, ALL) == [dead]
    assert await store.deliveries.find("acme", filters, ALL) == [dead]
    (older,) = await store.deliveries.find("acme", {}, Page(limit=1, cursor=dead.id))
    assert older == replace(other, due_at=None), "parked, because its queue is full"


async def test_pending_and_finished_deliveries_of_a_subscription_are_one_list(store: Store) -> None:
    subscription = await put_subscription(store)
    deliveries = [await add_delivery(store, subscription, job_id=f"job_{n}") for n in range(6)]
    to_finish = {one.id for one in deliveries[::2]}
    finished = [
        replace(task.delivery, status=DeliveryStatus.DELIVERED)
        for task in await claim(store)
        if task.delivery.id in to_finish
    ]
    await record_attempts(store, *map(an_update, finished))

    found: list[str] = []
    while page := await store.deliveries.find(
        "acme",
        {"subscription": subscription.id},
        Page(limit=4, cursor=found[-1] if found else None),
    ):
        found += [one.id for one in page]

    assert found == [one.id for one in deliveries[::-1]]
