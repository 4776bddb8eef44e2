from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE
from service.domain.deliveries.send_queue import SendQueues
from service.domain.jobs.job import Job, Status
from service.domain.primitives.errors import NotFound
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Snapshot
from service.transactions.store_protocols import Idempotency, Page
from service.transactions.unit_of_work import PlacementPolicy, Transactions, UnitOfWork
from store import open_store
from tests.support.factories import (
    NO_QUEUES,
    T0,
    Clock,
    CountingIds,
    a_new_job,
    a_subscription,
    a_task,
    build_job,
)
from tests.support.transactions import unit_of_work

pytestmark = pytest.mark.anyio
HOOK = a_subscription()


def a_snapshot(
    *jobs: Job,
    standing: Sequence[Subscription] = (HOOK,),
    owed: Mapping[tuple[str, str], int] | None = None,
) -> Snapshot:
    by_ref = {job.ref: job for job in jobs}
    return Snapshot(jobs=by_ref, permanent={"acme": standing}, pending=owed or {})


def sending() -> SendQueues:
    """The placement of a process that sends, and is alone."""
    queues = SendQueues(9, alone=True)
    queues.accepts_work = True
    return queues


def the_moves(snapshot: Snapshot, placement: PlacementPolicy = NO_QUEUES) -> UnitOfWork:
    return unit_of_work(snapshot, T0, placement)


def to(status: Status) -> Callable[[Job], Job]:
    return lambda job: replace(job, status=status, version=job.version + 1)


def test_a_move_brings_the_job_its_event_and_what_is_owed() -> None:
    job = build_job(status=Status.SUBMITTED, sequence=2)
    uow = the_moves(a_snapshot(job))

    after = uow.transition(job, to(Status.RUNNING)(job))

    (event,), (task,) = uow.changes.events, uow.changes.delivery_tasks
    assert uow.changes.jobs == {job.id: after}
    assert (after.sequence, event.sequence, event.type) == (3, 3, "job.running")
    assert (task.delivery.event_id, task.subscription) == (event.id, HOOK)
    assert task.payload == event.payload


def test_a_move_that_is_only_ours_is_told_to_nobody() -> None:
    job = build_job(sequence=1)
    uow = the_moves(a_snapshot(job))

    after = uow.transition(job, to(Status.SUBMITTING)(job))

    assert (after.sequence, uow.changes.jobs) == (1, {job.id: after})
    assert (uow.changes.events, uow.changes.delivery_tasks) == ([], [])


def test_a_job_may_move_more_than_once_in_one_transaction() -> None:
    job = build_job(status=Status.SUBMITTED, sequence=1)
    uow = the_moves(a_snapshot(job))

    running = uow.transition(job, to(Status.RUNNING)(job))
    uow.transition(running, to(Status.SUCCEEDED)(running))

    assert [event.type for event in uow.changes.events] == ["job.running", "job.succeeded"]
    assert [event.sequence for event in uow.changes.events] == [2, 3]
    assert [task.earlier_pending for task in uow.changes.delivery_tasks] == [0, 2]
    assert uow.changes.jobs[job.id].status is Status.SUCCEEDED


def test_a_job_is_seen_as_it_stands_after_its_moves() -> None:
    job = build_job(status=Status.SUBMITTED)
    uow = the_moves(a_snapshot(job))

    after = uow.transition(job, to(Status.RUNNING)(job))

    assert uow.job(job.ref) == after
    assert uow.job("another ref") is None


def test_an_event_behind_one_that_is_owed_says_so() -> None:
    job, other = build_job(status=Status.SUBMITTED), a_subscription()
    uow = the_moves(a_snapshot(job, standing=(HOOK, other), owed={(job.id, HOOK.id): 7}))

    uow.transition(job, to(Status.RUNNING)(job))

    assert [task.earlier_pending for task in uow.changes.delivery_tasks] == [7, 0]


def test_events_that_are_committed_together_are_taken_together() -> None:
    job = build_job(status=Status.SUBMITTED)
    uow = the_moves(a_snapshot(job), sending())

    running = uow.transition(job, to(Status.RUNNING)(job))
    uow.transition(running, to(Status.SUCCEEDED)(running))

    first, second = (task.delivery for task in uow.changes.delivery_tasks)
    assert (first.lease_version, first.due_at) == (1, T0 + LEASE)
    assert (second.lease_version, second.due_at) == (1, T0 + LEASE)


def test_an_event_is_left_while_an_earlier_one_lies_in_the_store() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), sending()
    queues.put([a_task(HOOK, job_id=job.id, sequence=1)])
    uow = the_moves(a_snapshot(job, owed={(job.id, HOOK.id): 2}), queues)

    uow.transition(job, to(Status.RUNNING)(job))

    (task,) = uow.changes.delivery_tasks
    assert (task.earlier_pending, task.delivery.lease_version) == (2, 0)


def test_an_event_joins_the_chain_that_holds_the_one_before_it() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), sending()
    queues.put([a_task(HOOK, job_id=job.id, sequence=2)])
    uow = the_moves(a_snapshot(job, owed={(job.id, HOOK.id): 2}), queues)

    uow.transition(job, to(Status.RUNNING)(job))

    (task,) = uow.changes.delivery_tasks
    assert (task.earlier_pending, task.delivery.lease_version) == (2, 1)


def test_progress_that_waits_in_this_process_is_superseded_with_the_newer_event() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), sending()
    under_way = a_task(HOOK, job_id=job.id, sequence=1, type="job.progress")
    waiting = a_task(HOOK, job_id=job.id, sequence=2, type="job.progress", earlier=1)
    queues.put([under_way, waiting])
    queues.start()
    uow = the_moves(a_snapshot(job, owed={(job.id, HOOK.id): 2}), queues)

    uow.transition(job, to(Status.RUNNING)(job))

    assert [one.id for one in uow.changes.superseded] == [waiting.delivery.id]


def test_a_receiver_of_every_event_loses_none() -> None:
    every, job, queues = a_subscription(delivery="every"), build_job(sequence=2), sending()
    first, second = (
        a_task(every, job_id=job.id, sequence=n, type="job.progress", earlier=n - 1) for n in (1, 2)
    )
    queues.put([first, second])
    owed = {(job.id, every.id): 2}
    uow = the_moves(a_snapshot(job, standing=(every,), owed=owed), queues)

    uow.transition(job, to(Status.RUNNING)(job))

    assert (uow.changes.supersede_ranges, uow.changes.superseded) == ([], [])


def test_a_reply_url_is_owed_what_its_job_asks_for() -> None:
    reply = a_subscription(kind="per_job", event_types=())
    job = build_job(
        status=Status.SUBMITTED,
        reply_subscription_id=reply.id,
        reply_event_types=("job.succeeded",),
    )
    snapshot = replace(a_snapshot(job, standing=()), per_job={reply.id: reply})
    uow = the_moves(snapshot)

    running = uow.transition(job, to(Status.RUNNING)(job))
    uow.transition(running, to(Status.SUCCEEDED)(running))

    assert [task.delivery.type for task in uow.changes.delivery_tasks] == ["job.succeeded"]


def test_another_tenants_subscription_is_owed_nothing() -> None:
    job = build_job(status=Status.SUBMITTED, tenant="other")
    uow = the_moves(a_snapshot(job))

    uow.transition(job, to(Status.RUNNING)(job))

    assert len(uow.changes.events) == 1
    assert uow.changes.delivery_tasks == []


async def test_a_mover_tells_its_listeners_what_is_on_disk(database_url: str) -> None:
    store = await open_store(database_url, T0)
    told: list[ChangeSet] = []
    transactions = Transactions(store, Clock(), CountingIds().new_id, NO_QUEUES, (told.append,))
    new = a_new_job()

    (job,), fresh = await transactions.add_jobs([new], None)
    async with transactions.begin([job.ref]) as uow:
        _move(uow, job.ref, to(Status.SUBMITTED))
    events = await store.events.find("acme", {}, Page(limit=9))
    await store.close()

    assert fresh
    assert [event.type for changes in told for event in changes.events] == [
        "job.queued",
        "job.submitted",
    ]
    assert [(event.type, event.sequence) for event in events] == [
        ("job.submitted", 2),
        ("job.queued", 1),
    ]
    assert msgspec.json.decode(events[0].payload)["data"]["status"] == "submitted"


async def test_a_request_that_is_repeated_is_told_to_nobody_again(database_url: str) -> None:
    store = await open_store(database_url, T0)
    told: list[ChangeSet] = []
    transactions = Transactions(store, Clock(), CountingIds().new_id, NO_QUEUES, (told.append,))
    key = Idempotency(name="k1", digest="d1")

    first, fresh = await transactions.add_jobs([a_new_job()], key)
    again, fresh_again = await transactions.add_jobs([a_new_job()], key)
    await store.close()

    assert again == first
    assert (fresh, fresh_again, len(told)) == (True, False, 1)


async def test_a_change_that_fails_is_told_to_nobody(database_url: str) -> None:
    store = await open_store(database_url, T0)
    told: list[ChangeSet] = []
    transactions = Transactions(store, Clock(), CountingIds().new_id, NO_QUEUES, (told.append,))
    (job,), _ = await transactions.add_jobs([a_new_job()], None)
    told.clear()

    async def fail() -> None:
        async with transactions.begin([job.ref]) as uow:
            _move(uow, job.ref, to(Status.SUBMITTED))
            raise NotFound("as a bug would")

    with pytest.raises(NotFound):
        await fail()
    stored = await store.jobs.get("acme", job.id)
    await store.close()

    assert told == []
    assert stored == job


def _move(uow: UnitOfWork, ref: str, change: Callable[[Job], Job]) -> None:
    job = uow.job(ref)
    assert job is not None
    uow.transition(job, change(job))
