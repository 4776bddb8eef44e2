"""Retention: which jobs are deleted, with everything that belongs to them."""

import pytest

from service.domain.jobs.job import Status
from service.domain.primitives.errors import NotFound
from service.transactions.store_protocols import Store
from tests.support.factories import T0, a_callback, an_event
from tests.support.store_steps import (
    ALL,
    LATER,
    add_delivery,
    append_events,
    insert_job,
    put_subscription,
)
from tests.support.transactions import change, write

pytestmark = pytest.mark.anyio


async def test_an_old_ended_job_is_deleted_with_its_events_and_callbacks(store: Store) -> None:
    job = await insert_job(store, status=Status.SUCCEEDED, tags=("sea",))
    await append_events(store, an_event(job_id=job.id))
    await change(store, [], write(callbacks=[a_callback(job)]))

    deleted, after = await store.retention.prune(LATER, 9, "")

    assert (deleted, after) == (1, "")
    with pytest.raises(NotFound):
        await store.jobs.get("acme", job.id)
    assert await store.jobs.find("acme", {"tag": "sea"}, ALL) == []
    assert await store.jobs.inputs([job.id]) == {}
    assert await store.events.find("acme", {}, ALL) == []
    assert await store.callbacks.find("acme", {}, ALL) == []


async def test_recent_running_and_undelivered_jobs_are_kept(store: Store) -> None:
    running = await insert_job(store, status=Status.RUNNING)
    undelivered = await insert_job(store, status=Status.SUCCEEDED)
    await add_delivery(store, await put_subscription(store), job_id=undelivered.id)

    deleted, _ = await store.retention.prune(LATER, 9, "")
    await insert_job(store, status=Status.SUCCEEDED)
    deleted_recent, _ = await store.retention.prune(T0, 9, "")

    assert (deleted, deleted_recent) == (0, 0)
    found = await store.jobs.find("acme", {}, ALL)
    assert {running.id, undelivered.id} <= {job.id for job in found}
    assert len(found) == 3


async def test_jobs_are_deleted_in_batches_from_the_returned_position(store: Store) -> None:
    jobs = [await insert_job(store, status=Status.SUCCEEDED) for _ in range(3)]

    first, after = await store.retention.prune(LATER, 2, "")
    second, end = await store.retention.prune(LATER, 2, after)

    assert (first, second) == (2, 1)
    assert (after, end) == (jobs[1].id, "")
    assert await store.jobs.find("acme", {}, ALL) == []


async def test_an_old_system_event_is_deleted(store: Store) -> None:
    await append_events(store, an_event(job_id=None, type="subscription.disabled"))

    await store.retention.prune(LATER, 9, "")

    assert await store.events.find("acme", {}, ALL) == []
