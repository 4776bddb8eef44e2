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
SUBSCRIPTION = a_subscription()


def a_snapshot(
    *jobs: Job,
    permanent: Sequence[Subscription] = (SUBSCRIPTION,),
    pending: Mapping[tuple[str, str], int] | None = None,
) -> Snapshot:
    by_ref = {job.ref: job for job in jobs}
    return Snapshot(jobs=by_ref, permanent={"acme": permanent}, pending=pending or {})


def queues_of_a_sole_process() -> SendQueues:
    """The placement policy of the only process, which sends itself."""
    queues = SendQueues(9, alone=True)
    queues.accepts_work = True
    return queues


def a_unit_of_work(snapshot: Snapshot, placement: PlacementPolicy = NO_QUEUES) -> UnitOfWork:
    return unit_of_work(snapshot, T0, placement)


def with_status(status: Status) -> Callable[[Job], Job]:
    return lambda job: replace(job, status=status, version=job.version + 1)


def test_a_transition_records_job_event_and_deliveries() -> None:
    job = build_job(status=Status.SUBMITTED, sequence=2)
    uow = a_unit_of_work(a_snapshot(job))

    after = uow.transition(job, with_status(Status.RUNNING)(job))

    (event,), (task,) = uow.changes.events, uow.changes.delivery_tasks
    assert uow.changes.jobs == {job.id: after}
    assert (after.sequence, event.sequence, event.type) == (3, 3, "job.running")
    assert (task.delivery.event_id, task.subscription) == (event.id, SUBSCRIPTION)
    assert task.payload == event.payload


def test_an_internal_transition_has_no_event() -> None:
    job = build_job(sequence=1)
    uow = a_unit_of_work(a_snapshot(job))

    after = uow.transition(job, with_status(Status.SUBMITTING)(job))

    assert (after.sequence, uow.changes.jobs) == (1, {job.id: after})
    assert (uow.changes.events, uow.changes.delivery_tasks) == ([], [])


def test_a_job_may_have_several_transitions_in_one_transaction() -> None:
    job = build_job(status=Status.SUBMITTED, sequence=1)
    uow = a_unit_of_work(a_snapshot(job))

    running = uow.transition(job, with_status(Status.RUNNING)(job))
    uow.transition(running, with_status(Status.SUCCEEDED)(running))

    assert [event.type for event in uow.changes.events] == ["job.running", "job.succeeded"]
    assert [event.sequence for event in uow.changes.events] == [2, 3]
    assert [task.earlier_pending for task in uow.changes.delivery_tasks] == [0, 2]
    assert uow.changes.jobs[job.id].status is Status.SUCCEEDED


def test_a_job_is_read_with_its_transitions() -> None:
    job = build_job(status=Status.SUBMITTED)
    uow = a_unit_of_work(a_snapshot(job))

    after = uow.transition(job, with_status(Status.RUNNING)(job))

    assert uow.job(job.ref) == after
    assert uow.job("another ref") is None


def test_a_delivery_knows_the_earlier_pending_event() -> None:
    job, other = build_job(status=Status.SUBMITTED), a_subscription()
    uow = a_unit_of_work(
        a_snapshot(job, permanent=(SUBSCRIPTION, other), pending={(job.id, SUBSCRIPTION.id): 7})
    )

    uow.transition(job, with_status(Status.RUNNING)(job))

    assert [task.earlier_pending for task in uow.changes.delivery_tasks] == [7, 0]


def test_events_committed_together_are_leased_together() -> None:
    job = build_job(status=Status.SUBMITTED)
    uow = a_unit_of_work(a_snapshot(job), queues_of_a_sole_process())

    running = uow.transition(job, with_status(Status.RUNNING)(job))
    uow.transition(running, with_status(Status.SUCCEEDED)(running))

    first, second = (task.delivery for task in uow.changes.delivery_tasks)
    assert (first.lease_version, first.due_at) == (1, T0 + LEASE)
    assert (second.lease_version, second.due_at) == (1, T0 + LEASE)


def test_an_event_is_not_leased_while_an_earlier_one_is_pending_elsewhere() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), queues_of_a_sole_process()
    queues.put([a_task(SUBSCRIPTION, job_id=job.id, sequence=1)])
    uow = a_unit_of_work(a_snapshot(job, pending={(job.id, SUBSCRIPTION.id): 2}), queues)

    uow.transition(job, with_status(Status.RUNNING)(job))

    (task,) = uow.changes.delivery_tasks
    assert (task.earlier_pending, task.delivery.lease_version) == (2, 0)


def test_an_event_is_leased_if_the_earlier_one_is_queued_here() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), queues_of_a_sole_process()
    queues.put([a_task(SUBSCRIPTION, job_id=job.id, sequence=2)])
    uow = a_unit_of_work(a_snapshot(job, pending={(job.id, SUBSCRIPTION.id): 2}), queues)

    uow.transition(job, with_status(Status.RUNNING)(job))

    (task,) = uow.changes.delivery_tasks
    assert (task.earlier_pending, task.delivery.lease_version) == (2, 1)


def test_progress_queued_in_this_process_is_superseded_by_a_newer_event() -> None:
    job, queues = build_job(status=Status.SUBMITTED, sequence=2), queues_of_a_sole_process()
    in_flight = a_task(SUBSCRIPTION, job_id=job.id, sequence=1, type="job.progress")
    waiting = a_task(SUBSCRIPTION, job_id=job.id, sequence=2, type="job.progress", earlier=1)
    queues.put([in_flight, waiting])
    queues.start()
    uow = a_unit_of_work(a_snapshot(job, pending={(job.id, SUBSCRIPTION.id): 2}), queues)

    uow.transition(job, with_status(Status.RUNNING)(job))

    assert [one.id for one in uow.changes.superseded] == [waiting.delivery.id]


def test_nothing_is_superseded_for_a_subscription_to_every_event() -> None:
    every, job, queues = (
        a_subscription(delivery="every"),
        build_job(sequence=2),
        queues_of_a_sole_process(),
    )
    first, second = (
        a_task(every, job_id=job.id, sequence=n, type="job.progress", earlier=n - 1) for n in (1, 2)
    )
    queues.put([first, second])
    pending = {(job.id, every.id): 2}
    uow = a_unit_of_work(a_snapshot(job, permanent=(every,), pending=pending), queues)

    uow.transition(job, with_status(Status.RUNNING)(job))

    assert (uow.changes.supersede_ranges, uow.changes.superseded) == ([], [])


def test_a_reply_url_gets_the_event_types_of_its_job() -> None:
    reply = a_subscription(kind="per_job", event_types=())
    job = build_job(
        status=Status.SUBMITTED,
        reply_subscription_id=reply.id,
        reply_event_types=("job.succeeded",),
    )
    snapshot = replace(a_snapshot(job, permanent=()), per_job={reply.id: reply})
    uow = a_unit_of_work(snapshot)

    running = uow.transition(job, with_status(Status.RUNNING)(job))
    uow.transition(running, with_status(Status.SUCCEEDED)(running))

    assert [task.delivery.type for task in uow.changes.delivery_tasks] == ["job.succeeded"]


def test_a_subscription_of_another_tenant_gets_nothing() -> None:
    job = build_job(status=Status.SUBMITTED, tenant="other")
    uow = a_unit_of_work(a_snapshot(job))

    uow.transition(job, with_status(Status.RUNNING)(job))

    assert len(uow.changes.events) == 1
    assert uow.changes.delivery_tasks == []


async def test_hooks_get_what_was_committed(database_url: str) -> None:
    store = await open_store(database_url, T0)
    committed: list[ChangeSet] = []
    transactions = Transactions(
        store, Clock(), CountingIds().new_id, NO_QUEUES, (committed.append,)
    )
    new = a_new_job()

    (job,), fresh = await transactions.add_jobs([new], None)
    async with transactions.begin([job.ref]) as uow:
        _transition(uow, job.ref, with_status(Status.SUBMITTED))
    events = await store.events.find("acme", {}, Page(limit=9))
    await store.close()

    assert fresh
    assert [event.type for changes in committed for event in changes.events] == [
        "job.queued",
        "job.submitted",
    ]
    assert [(event.type, event.sequence) for event in events] == [
        ("job.submitted", 2),
        ("job.queued", 1),
    ]
    assert msgspec.json.decode(events[0].payload)["data"]["status"] == "submitted"


async def test_a_repeated_request_calls_no_hook(database_url: str) -> None:
    store = await open_store(database_url, T0)
    committed: list[ChangeSet] = []
    transactions = Transactions(
        store, Clock(), CountingIds().new_id, NO_QUEUES, (committed.append,)
    )
    key = Idempotency(name="k1", digest="d1")

    first, fresh = await transactions.add_jobs([a_new_job()], key)
    again, fresh_again = await transactions.add_jobs([a_new_job()], key)
    await store.close()

    assert again == first
    assert (fresh, fresh_again, len(committed)) == (True, False, 1)


async def test_a_failed_transaction_calls_no_hook_and_writes_nothing(database_url: str) -> None:
    store = await open_store(database_url, T0)
    committed: list[ChangeSet] = []
    transactions = Transactions(
        store, Clock(), CountingIds().new_id, NO_QUEUES, (committed.append,)
    )
    (job,), _ = await transactions.add_jobs([a_new_job()], None)
    committed.clear()

    async def fail() -> None:
        async with transactions.begin([job.ref]) as uow:
            _transition(uow, job.ref, with_status(Status.SUBMITTED))
            raise NotFound("a bug")

    with pytest.raises(NotFound):
        await fail()
    stored = await store.jobs.get("acme", job.id)
    await store.close()

    assert committed == []
    assert stored == job


def _transition(uow: UnitOfWork, ref: str, change: Callable[[Job], Job]) -> None:
    job = uow.job(ref)
    assert job is not None
    uow.transition(job, change(job))
