"""Rows of one tenant are invisible to every other tenant."""

from collections.abc import Awaitable, Callable

import pytest

from service.domain.deliveries.delivery import DeliveryTask
from service.domain.primitives.errors import NotFound
from service.transactions.store_protocols import NewJob, Store
from tests.support.factories import (
    T0,
    a_callback,
    a_delivery,
    a_subscription,
    an_asset,
    an_event,
    build_job,
)
from tests.support.store_steps import ALL, add_delivery, insert_job, insert_jobs, put_subscription
from tests.support.transactions import change, write

pytestmark = pytest.mark.anyio
JOB, EVENT, SUB, DLV, CB = "job_none", "evt_none", "sub_none", "dlv_none", "cb_none"
AST = "ast_none"
Query = Callable[[Store, str], Awaitable[object]]


@pytest.mark.parametrize(
    "query",
    [
        lambda store, tenant: store.jobs.get(tenant, JOB),
        lambda store, tenant: store.events.get(tenant, EVENT),
        lambda store, tenant: store.callbacks.get(tenant, CB),
        lambda store, tenant: store.subscriptions.get(tenant, SUB),
        lambda store, tenant: store.subscriptions.change(tenant, SUB, lambda found: found),
        lambda store, tenant: store.subscriptions.delete(tenant, SUB, T0),
        lambda store, tenant: store.deliveries.get(tenant, DLV),
        lambda store, tenant: store.deliveries.redeliver(tenant, DLV, T0),
        lambda store, tenant: store.assets.get(tenant, AST),
        lambda store, tenant: store.assets.delete(tenant, AST),
    ],
    ids=[
        "job",
        "event",
        "callback",
        "subscription",
        "change",
        "delete",
        "delivery",
        "redeliver",
        "asset",
        "delete-asset",
    ],
)
async def test_a_row_of_another_tenant_is_not_found(store: Store, query: Query) -> None:
    job, subscription = build_job(id=JOB), a_subscription(id=SUB)
    event, callback = an_event(id=EVENT, job_id=JOB), a_callback(job, id=CB)
    delivery = a_delivery(id=DLV, event_id=EVENT, subscription_id=SUB, job_id=JOB)

    with pytest.raises(NotFound):
        await query(store, "acme")
    await insert_jobs(store, NewJob(job=job, input=b"{}"))
    await store.subscriptions.put(subscription)
    await store.assets.add(an_asset(id=AST))
    tasks = [DeliveryTask(delivery, subscription, event.payload)]
    await change(store, [], write(events=[event], callbacks=[callback], delivery_tasks=tasks))

    with pytest.raises(NotFound):
        await query(store, "other")
    await query(store, "acme")


async def test_no_list_contains_rows_of_another_tenant(store: Store) -> None:
    job = await insert_job(store, tags=("sea",), reply_ref="r", provider_task_id="t")
    subscription = await put_subscription(store)
    delivery = await add_delivery(store, subscription, job_id=job.id)
    await change(store, [], write(callbacks=[a_callback(job)]))
    await store.assets.add(an_asset())
    filters = {"subscription": subscription.id, "event": delivery.event_id, "job": job.id}

    lists = [
        await store.jobs.find("other", {}, ALL),
        await store.jobs.find("other", {"tag": "sea"}, ALL),
        *[await store.jobs.find("other", {"ref": ref}, ALL) for ref in (job.ref, "r", "t")],
        await store.events.find("other", {}, ALL),
        await store.events.after("other", 0, 9),
        await store.callbacks.find("other", {}, ALL),
        await store.callbacks.find("other", {"job": job.id}, ALL),
        await store.subscriptions.find("other", {}, ALL),
        await store.assets.find("other", "useapi", 9),
        await store.deliveries.find("other", {}, ALL),
        *[
            await store.deliveries.find("other", {name: value}, ALL)
            for name, value in filters.items()
        ],
    ]

    assert lists == [[]] * len(lists)
