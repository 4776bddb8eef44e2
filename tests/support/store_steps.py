"""Steps of the tests of the store: insert values, claim deliveries, record attempts."""

from collections.abc import Sequence
from typing import Any

from service.domain.deliveries.delivery import Delivery, DeliveryTask
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import Snapshot
from service.transactions.receiver_health import update_health
from service.transactions.store_protocols import NewJob, Page, Store
from service.transactions.unit_of_work import UnitOfWork
from tests.support.factories import (
    IDS,
    NO_QUEUES,
    T0,
    a_claim,
    a_delivery,
    a_new_job,
    a_subscription,
    an_event,
)
from tests.support.transactions import SnapshotRecorder, add_jobs, change, no_changes, write

ALL = Page(limit=100)
LATER = T0 + 60 * SECOND


async def insert_jobs(store: Store, *new: NewJob) -> Sequence[Job]:
    jobs, _ = await add_jobs(store, new, None, no_changes)
    return jobs


async def insert_job(store: Store, **fields: Any) -> Job:
    (job,) = await insert_jobs(store, a_new_job(**fields))
    return job


async def read_snapshot(store: Store, *refs: str) -> Snapshot:
    """The snapshot that a transaction on *refs* starts with."""
    recorder = SnapshotRecorder()
    await change(store, refs, recorder)
    return recorder.snapshots[0]


async def put_subscription(store: Store, **fields: Any) -> Subscription:
    subscription = a_subscription(**fields)
    await store.subscriptions.put(subscription)
    return subscription


async def append_events(store: Store, *events: Event) -> list[Event]:
    """Write *events* and return them with their `seq`."""
    await change(store, [], write(events=list(events)))
    return [await store.events.get(event.tenant, event.id) for event in events]


async def add_delivery(store: Store, subscription: Subscription, **fields: Any) -> Delivery:
    """Write a new event and its pending delivery to *subscription*."""
    event = an_event(tenant=subscription.tenant)
    defaults = {"event_id": event.id, "subscription_id": subscription.id, "tenant": event.tenant}
    delivery = a_delivery(**{**defaults, **fields})
    task = DeliveryTask(delivery, subscription, event.payload)
    await change(store, [], write(events=[event], delivery_tasks=[task]))
    return delivery


async def claim(
    store: Store, at: int = T0, limit: int = 100, full: Sequence[str] = ()
) -> list[DeliveryTask]:
    return list((await store.deliveries.claim(a_claim(at, limit=limit, full=full))).tasks)


async def claim_ids(store: Store, at: int = T0, **request: Any) -> list[str]:
    return [task.delivery.id for task in await claim(store, at, **request)]


async def record_attempts(store: Store, *updates: DeliveryUpdate) -> None:
    """Record attempts and the health of their receivers, as the dispatcher does."""
    async with store.record_attempts(updates) as opened:
        uow = UnitOfWork(opened, updates[0].result.at, IDS.new_id, NO_QUEUES)
        update_health(uow, updates)
