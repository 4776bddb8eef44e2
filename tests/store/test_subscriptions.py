"""Subscriptions."""

import asyncio

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.primitives.errors import NotFound
from service.domain.subscriptions.subscription import Subscription
from service.transactions.store_protocols import Page, Store
from tests.support.store_steps import ALL, LATER, add_delivery, claim_ids, put_subscription

pytestmark = pytest.mark.anyio


async def test_a_subscription_is_read_as_it_was_written(store: Store) -> None:
    subscription = await put_subscription(store, headers={"x": "y"}, metadata={"n": None})

    assert await store.subscriptions.get("acme", subscription.id) == subscription


async def test_several_subscriptions_of_a_tenant_are_read_by_id(store: Store) -> None:
    mine, theirs = await put_subscription(store), await put_subscription(store, tenant="other")

    found = await store.subscriptions.get_many("acme", [mine.id, theirs.id, "sub_none"])

    assert found == {mine.id: mine}


async def test_concurrent_changes_of_one_subscription_are_all_applied(store: Store) -> None:
    subscription = await put_subscription(store)

    def increment(found: Subscription) -> Subscription:
        return replace(found, max_in_flight=found.max_in_flight + 1)

    await asyncio.gather(
        *(store.subscriptions.change("acme", subscription.id, increment) for _ in range(9))
    )

    stored = await store.subscriptions.get("acme", subscription.id)
    assert stored == replace(subscription, max_in_flight=subscription.max_in_flight + 9)


async def test_subscriptions_are_found_by_kind_and_url(store: Store) -> None:
    subscription = await put_subscription(store)
    reply = await put_subscription(
        store, kind="per_job", event_types=(), url="https://other.example"
    )

    assert await store.subscriptions.find("acme", {}, ALL) == [reply, subscription]
    assert await store.subscriptions.find("acme", {"kind": "per_job"}, ALL) == [reply]
    assert await store.subscriptions.find("acme", {"url": subscription.url}, ALL) == [subscription]
    assert await store.subscriptions.find("acme", {}, Page(limit=1)) == [reply]
    assert await store.subscriptions.find("acme", {}, Page(limit=1, cursor=reply.id)) == [
        subscription
    ]


async def test_deleting_a_subscription_cancels_its_pending_deliveries(store: Store) -> None:
    subscription, other = [await put_subscription(store) for _ in range(2)]
    canceled, other_delivery = (
        await add_delivery(store, subscription),
        await add_delivery(store, other),
    )

    await store.subscriptions.delete("acme", subscription.id, LATER)

    with pytest.raises(NotFound):
        await store.subscriptions.get("acme", subscription.id)
    delivery, _ = await store.deliveries.get("acme", canceled.id)
    assert (delivery.status, delivery.settled_at) == (DeliveryStatus.CANCELED, LATER)
    assert await claim_ids(store) == [other_delivery.id]
