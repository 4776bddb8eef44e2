"""What one transaction reads and writes, and what happens if it fails."""

import asyncio

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import DeliveryStatus, DeliveryTask
from service.domain.jobs.job import Status
from service.transactions.change_set import ChangeSet, RawResponse, Snapshot
from service.transactions.store_protocols import Idempotency, Store
from tests.support.factories import (
    T0,
    a_callback,
    a_delivery,
    a_new_job,
    a_subscription,
    an_event,
    an_update,
)
from tests.support.store_steps import (
    ALL,
    add_delivery,
    claim,
    insert_job,
    put_subscription,
    read_snapshot,
    record_attempts,
)
from tests.support.transactions import SnapshotRecorder, add_jobs, change, update_jobs, write

pytestmark = pytest.mark.anyio


async def test_a_transaction_writes_its_whole_change_set(store: Store) -> None:
    job, subscription = await insert_job(store), await put_subscription(store)
    moved = replace(job, status=Status.RUNNING, provider_task_id="t1", version=2)
    event, callback = an_event(job_id=job.id), a_callback(job)
    delivery = a_delivery(event_id=event.id, subscription_id=subscription.id, job_id=job.id)

    changes = await change(
        store,
        [job.ref],
        write(
            jobs={job.id: moved},
            events=[event],
            callbacks=[callback],
            delivery_tasks=[DeliveryTask(delivery, subscription, event.payload)],
            responses=[RawResponse(ref=job.ref, at=T0, status_code=200, body=b"\x00raw")],
        ),
    )

    assert changes.repeated_callbacks == set()
    assert await store.jobs.get("acme", job.id) == moved
    assert await store.callbacks.get("acme", callback.id) == callback
    assert [e.id for e in await store.events.find("acme", {}, ALL)] == [event.id]
    assert await store.deliveries.find("acme", {}, ALL) == [delivery]


async def test_a_snapshot_contains_the_reply_subscription_of_a_new_and_of_a_stored_job(
    store: Store,
) -> None:
    reply, recorder = a_subscription(kind="per_job", event_types=()), SnapshotRecorder()

    new = replace(a_new_job(), reply_subscription=reply)
    (job,), _ = await add_jobs(store, [new], None, recorder)
    await change(store, [job.ref], recorder)

    of_new, of_stored = recorder.snapshots
    assert of_new.per_job == of_stored.per_job == {reply.id: reply}
    assert of_stored.jobs == {job.ref: job}


async def test_an_unknown_ref_is_not_in_the_snapshot(store: Store) -> None:
    job = await insert_job(store)

    snapshot = await read_snapshot(store, job.ref, "unknown")

    assert snapshot.jobs == {job.ref: job}


async def test_a_snapshot_contains_the_newest_pending_sequence_of_each_subscription(
    store: Store,
) -> None:
    job, subscription = await insert_job(store), await put_subscription(store)
    delivery = await add_delivery(store, subscription, job_id=job.id)

    before = await read_snapshot(store, job.ref)
    (task,) = await claim(store)
    delivered = replace(task.delivery, status=DeliveryStatus.DELIVERED, settled_at=T0)
    await record_attempts(store, an_update(delivered))
    after = await read_snapshot(store, job.ref)

    assert task.delivery.id == delivery.id
    assert before.pending == {(job.id, subscription.id): delivery.sequence}
    assert after.pending == {}


async def test_a_snapshot_contains_the_current_permanent_subscriptions(store: Store) -> None:
    job = await insert_job(store)
    before = (await read_snapshot(store, job.ref)).permanent

    subscription = await put_subscription(store)
    await put_subscription(store, kind="per_job", event_types=())
    other = await put_subscription(store, tenant="other")
    created = (await read_snapshot(store, job.ref)).permanent
    disabled = await store.subscriptions.change(
        "acme", subscription.id, lambda s: replace(s, enabled=False)
    )
    changed = (await read_snapshot(store, job.ref)).permanent
    await store.subscriptions.delete("acme", subscription.id, T0)
    deleted = (await read_snapshot(store, job.ref)).permanent

    assert before == {}
    assert created == {"acme": [subscription], "other": [other]}
    assert changed == {"acme": [disabled], "other": [other]}
    assert deleted == {"other": [other]}


async def test_the_snapshot_of_a_new_job_contains_the_permanent_subscriptions(store: Store) -> None:
    subscription, recorder = await put_subscription(store), SnapshotRecorder()

    await add_jobs(store, [a_new_job()], None, recorder)

    assert recorder.snapshots[0].permanent == {"acme": [subscription]}


async def test_concurrent_changes_of_one_job_are_all_applied(store: Store) -> None:
    job = await insert_job(store)

    def increment_version(snapshot: Snapshot) -> ChangeSet:
        current = snapshot.jobs[job.ref]
        return ChangeSet(jobs={job.id: replace(current, version=current.version + 1)})

    await asyncio.gather(*(change(store, [job.ref], increment_version) for _ in range(20)))

    assert (await store.jobs.get("acme", job.id)).version == 21


async def test_a_failed_transaction_changes_nothing(store: Store) -> None:
    job, event = await insert_job(store), an_event()
    await change(store, [], write(events=[event]))
    duplicate_event = write(jobs={job.id: replace(job, status=Status.RUNNING)}, events=[event])

    def fail(_snapshot: Snapshot) -> ChangeSet:
        raise LookupError

    with pytest.raises(LookupError):
        await change(store, [job.ref], fail)
    with pytest.raises(LookupError):
        await add_jobs(store, [a_new_job()], Idempotency(name="k1", digest="d1"), fail)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await change(store, [job.ref], duplicate_event)

    assert await store.jobs.find("acme", {}, ALL) == [job]
    await change(store, [job.ref], update_jobs(status=Status.RUNNING))
    assert (await store.jobs.get("acme", job.id)).status is Status.RUNNING


@pytest.mark.parametrize("loop_turns", range(0, 24, 3))
async def test_the_store_stays_usable_after_a_cancellation_inside_a_transaction(
    store: Store, loop_turns: int
) -> None:
    job = await insert_job(store)
    task = asyncio.create_task(change(store, [job.ref], update_jobs(version=2)))
    for _ in range(loop_turns):
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await store.jobs.get("acme", job.id)).version in (1, 2)
    await change(store, [job.ref], update_jobs(version=3))
    assert (await store.jobs.get("acme", job.id)).version == 3


async def test_a_cancellation_before_the_commit_writes_nothing(store: Store) -> None:
    job = await insert_job(store)

    def cancel(_snapshot: Snapshot) -> ChangeSet:
        task.cancel()
        return ChangeSet(jobs={job.id: replace(job, version=2)})

    task = asyncio.create_task(change(store, [job.ref], cancel))
    await asyncio.gather(task, return_exceptions=True)

    assert task.cancelled()
    assert await store.jobs.get("acme", job.id) == job
