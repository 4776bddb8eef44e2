"""The contract that every store keeps, whatever its database."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.callbacks import Verdict
from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import DeliveryUpdate, after_attempt
from service.domain.events import PAGE_BYTES, Event
from service.domain.jobs.job import QUEUE_LIMIT, Job, ReconcileReason, Status
from service.domain.jobs.results import Artifact, Output
from service.domain.primitives.errors import Conflict, Invalid, NotFound, StartError
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import AccountHold, ChangeSet, RawResponse, Snapshot
from service.transactions.receiver_health import update_health
from service.transactions.slots import AccountQueue, Admission
from service.transactions.store_protocols import Idempotency, NewJob, Page, Store
from service.transactions.unit_of_work import UnitOfWork
from store import open_store
from store.engine.sqlite import CHECKPOINT_EVERY
from tests.support.factories import (
    IDS,
    NO_QUEUES,
    T0,
    a_callback,
    a_claim,
    a_delivery,
    a_key,
    a_new_job,
    a_result,
    a_subscription,
    an_event,
    an_update,
    build_job,
)
from tests.support.transactions import add_jobs, becoming, change, nothing, writing

pytestmark = pytest.mark.anyio
ALL = Page(limit=100)
LATER = T0 + 60 * SECOND
KEY = Idempotency(name="k1", digest="d1")
JOB, EVENT, SUB, DLV, CB = "job_none", "evt_none", "sub_none", "dlv_none", "cb_none"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url, T0)
    yield store
    await store.close()


async def added(store: Store, *new: NewJob) -> Sequence[Job]:
    jobs, _ = await add_jobs(store, new, None, nothing)
    return jobs


async def a_stored_job(store: Store, **changes: Any) -> Job:
    (job,) = await added(store, a_new_job(**changes))
    return job


async def seen(store: Store, *refs: str) -> Snapshot:
    """Look at what a transaction on *refs* is given to decide by."""
    found: list[Snapshot] = []

    def look(snapshot: Snapshot) -> ChangeSet:
        found.append(replace(snapshot, permanent=dict(snapshot.permanent)))
        return ChangeSet()

    await change(store, refs, look)
    return found[0]


async def a_stored_subscription(store: Store, **changes: Any) -> Subscription:
    subscription = a_subscription(**changes)
    await store.subscriptions.put(subscription)
    return subscription


async def owed(store: Store, subscription: Subscription, **changes: Any) -> Delivery:
    event = an_event(tenant=subscription.tenant)
    made = {"event_id": event.id, "subscription_id": subscription.id, "tenant": event.tenant}
    delivery = a_delivery(**{**made, **changes})
    task = DeliveryTask(delivery, subscription, event.payload)
    await change(store, [], writing(events=[event], delivery_tasks=[task]))
    return delivery


async def claimed(
    store: Store, at: int = T0, limit: int = 100, full: Sequence[str] = ()
) -> list[DeliveryTask]:
    return list((await store.deliveries.claim(a_claim(at, limit=limit, full=full))).tasks)


async def settled(store: Store, *settlements: DeliveryUpdate) -> None:
    """Settle as the courier does, with what that says of the receivers."""

    async with store.record_attempts(settlements) as opened:
        uow = UnitOfWork(opened, settlements[0].result.at, IDS.new_id, NO_QUEUES)
        update_health(uow, settlements)


async def ids_claimed(store: Store, at: int = T0, **how: Any) -> list[str]:
    return [task.delivery.id for task in await claimed(store, at, **how)]


# Jobs


async def test_a_job_is_stored_with_what_was_decided(store: Store) -> None:
    new, event = a_new_job(tags=("sea",), metadata={"n": [1]}), an_event()

    def decide(snapshot: Snapshot) -> ChangeSet:
        (job,) = snapshot.jobs.values()
        return ChangeSet(jobs={job.id: replace(job, sequence=1)}, events=[event])

    jobs, changes = await add_jobs(store, [new], None, decide)

    assert changes is not None
    assert jobs == [replace(new.job, sequence=1)]
    assert await store.jobs.get("acme", new.job.id) == jobs[0]
    assert await store.jobs.inputs([new.job.id]) == {new.job.id: new.input}
    assert (await store.events.get("acme", event.id)).payload == event.payload


async def test_a_job_of_many_parts_is_read_as_it_was_written(store: Store) -> None:
    output = Output(artifacts=(Artifact(kind="image", bytes=2**40),), data=[{"n": 1.5}, "x"])
    job = build_job(
        expected_parts=2,
        received_parts=("1",),
        output=output,
        tags=("a", "b"),
        progress=0.5,
        cost_usd=0.1,
    )

    await added(store, NewJob(job=job, input=b"{}"))

    assert await store.jobs.get("acme", job.id) == job


async def test_one_key_makes_jobs_once(store: Store) -> None:
    first, _ = await add_jobs(store, [a_new_job(), a_new_job()], KEY, nothing)

    again, changes = await add_jobs(store, [a_new_job(), a_new_job()], KEY, nothing)

    assert (again, changes) == (first, None)
    assert len(await store.jobs.find("acme", {}, ALL)) == 2


async def test_a_key_with_another_body_is_refused(store: Store) -> None:
    await add_jobs(store, [a_new_job()], KEY, nothing)

    with pytest.raises(Invalid) as caught:
        await add_jobs(store, [a_new_job()], replace(KEY, digest="d2"), nothing)

    assert caught.value.reason == "idempotency_reused"
    assert len(await store.jobs.find("acme", {}, ALL)) == 1


async def test_each_tenant_has_keys_of_its_own(store: Store) -> None:
    await add_jobs(store, [a_new_job()], KEY, nothing)

    _, changes = await add_jobs(store, [a_new_job(tenant="other")], KEY, nothing)

    assert changes is not None


async def test_two_requests_with_one_key_at_once_make_one_job(store: Store) -> None:
    requests = [add_jobs(store, [a_new_job()], KEY, nothing) for _ in range(5)]

    answers = await asyncio.gather(*requests)

    assert len({jobs[0].id for jobs, _ in answers}) == 1
    assert [changes is None for _, changes in answers].count(False) == 1


async def test_two_tenants_may_use_one_task_uuid(store: Store) -> None:
    await added(store, replace(a_new_job(), task_uuid="u1"))

    (other,) = await added(store, replace(a_new_job(tenant="other"), task_uuid="u1"))

    assert await store.jobs.find("other", {"ref": "U1"}, ALL) == [other]


async def test_a_repeated_request_shows_its_jobs_as_they_stand_now(store: Store) -> None:
    (job,), _ = await add_jobs(store, [a_new_job()], KEY, nothing)
    await change(store, [job.ref], becoming(status=Status.RUNNING))

    (again,), _ = await add_jobs(store, [a_new_job()], KEY, nothing)

    assert again.status is Status.RUNNING


async def test_a_task_uuid_that_is_in_use_is_refused_and_nothing_is_stored(store: Store) -> None:
    (job,) = await added(store, replace(a_new_job(), task_uuid="u1"))
    again = replace(a_new_job(), task_uuid="u1")

    with pytest.raises(Invalid) as caught:
        await add_jobs(store, [a_new_job(), again], KEY, nothing)

    assert [fault.path for fault in caught.value.errors] == ["[1].input.taskUUID"]
    assert await store.jobs.find("acme", {}, ALL) == [job]
    _, changes = await add_jobs(store, [a_new_job()], KEY, nothing)
    assert changes is not None


async def test_jobs_with_one_reply_url_share_one_subscription(store: Store) -> None:
    replies = [a_subscription(kind="per_job", event_types=()) for _ in range(3)]
    new = [replace(a_new_job(), reply_subscription=reply) for reply in replies]

    jobs = [*await added(store, *new[:2]), *await added(store, new[2])]

    assert {job.reply_subscription_id for job in jobs} == {replies[0].id}
    assert await store.subscriptions.find("acme", {"kind": "per_job"}, ALL) == [replies[0]]


async def test_a_reply_is_in_sight_when_its_job_is_made_and_when_it_moves(store: Store) -> None:
    reply = a_subscription(kind="per_job", event_types=())
    found: list[Snapshot] = []

    def look(snapshot: Snapshot) -> ChangeSet:
        found.append(snapshot)
        return ChangeSet()

    new = replace(a_new_job(), reply_subscription=reply)
    (job,), _ = await add_jobs(store, [new], None, look)
    await change(store, [job.ref], look)

    assert [snapshot.per_job for snapshot in found] == [{reply.id: reply}] * 2
    assert found[1].jobs == {job.ref: job}


async def test_a_change_writes_all_that_was_decided(store: Store) -> None:
    job, hook = await a_stored_job(store), await a_stored_subscription(store)
    moved = replace(job, status=Status.RUNNING, provider_task_id="t1", version=2)
    event, callback = an_event(job_id=job.id), a_callback(job)
    delivery = a_delivery(event_id=event.id, subscription_id=hook.id, job_id=job.id)

    changes = await change(
        store,
        [job.ref],
        writing(
            jobs={job.id: moved},
            events=[event],
            callbacks=[callback],
            delivery_tasks=[DeliveryTask(delivery, hook, event.payload)],
            responses=[RawResponse(ref=job.ref, at=T0, status_code=200, body=b"\x00raw")],
        ),
    )

    assert changes.repeated_callbacks == set()
    assert await store.jobs.get("acme", job.id) == moved
    assert await store.callbacks.get("acme", callback.id) == callback
    assert [e.id for e in await store.events.find("acme", {}, ALL)] == [event.id]
    assert await store.deliveries.find("acme", {}, ALL) == [delivery]


async def test_a_ref_that_nobody_knows_is_not_in_the_snapshot(store: Store) -> None:
    job = await a_stored_job(store)

    snapshot = await seen(store, job.ref, "nobody's")

    assert snapshot.jobs == {job.ref: job}


async def test_a_snapshot_names_who_is_still_owed_an_earlier_event(store: Store) -> None:
    job, hook = await a_stored_job(store), await a_stored_subscription(store)
    delivery = await owed(store, hook, job_id=job.id)

    before = await seen(store, job.ref)
    (task,) = await claimed(store)
    delivered = replace(task.delivery, status=DeliveryStatus.DELIVERED, settled_at=T0)
    await settled(store, an_update(delivered))
    after = await seen(store, job.ref)

    assert task.delivery.id == delivery.id
    assert before.pending == {(job.id, hook.id): delivery.sequence}
    assert after.pending == {}


async def test_changes_of_one_job_at_once_lose_nothing(store: Store) -> None:
    job = await a_stored_job(store)

    def bump(snapshot: Snapshot) -> ChangeSet:
        found = snapshot.jobs[job.ref]
        return ChangeSet(jobs={job.id: replace(found, version=found.version + 1)})

    await asyncio.gather(*(change(store, [job.ref], bump) for _ in range(20)))

    assert (await store.jobs.get("acme", job.id)).version == 21


async def test_a_decision_that_fails_leaves_everything_as_it_was(store: Store) -> None:
    job, event = await a_stored_job(store), an_event()
    await change(store, [], writing(events=[event]))
    again = writing(jobs={job.id: replace(job, status=Status.RUNNING)}, events=[event])

    def fail(_snapshot: Snapshot) -> ChangeSet:
        raise LookupError("as a bug would")

    with pytest.raises(LookupError):
        await change(store, [job.ref], fail)
    with pytest.raises(LookupError):
        await add_jobs(store, [a_new_job()], KEY, fail)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await change(store, [job.ref], again)

    assert await store.jobs.find("acme", {}, ALL) == [job]
    await change(store, [job.ref], becoming(status=Status.RUNNING))
    assert (await store.jobs.get("acme", job.id)).status is Status.RUNNING


@pytest.mark.parametrize("turns", range(0, 24, 3))
async def test_a_task_cancelled_inside_a_transaction_leaves_the_store_usable(
    store: Store, turns: int
) -> None:
    job = await a_stored_job(store)
    task = asyncio.create_task(change(store, [job.ref], becoming(version=2)))
    for _ in range(turns):
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await store.jobs.get("acme", job.id)).version in (1, 2)
    await change(store, [job.ref], becoming(version=3))
    assert (await store.jobs.get("acme", job.id)).version == 3


async def test_a_cancel_before_the_write_writes_nothing(store: Store) -> None:
    job = await a_stored_job(store)

    def leave(_snapshot: Snapshot) -> ChangeSet:
        task.cancel()
        return ChangeSet(jobs={job.id: replace(job, version=2)})

    task = asyncio.create_task(change(store, [job.ref], leave))
    await asyncio.gather(task, return_exceptions=True)

    assert task.cancelled()
    assert await store.jobs.get("acme", job.id) == job


# Jobs in the queue


async def test_the_queues_show_who_waits_at_each_account_oldest_first(store: Store) -> None:
    first, second = [await a_stored_job(store) for _ in range(2)]
    pinned = await a_stored_job(store, account="useapi:ann@example.com")
    await a_stored_job(store, status=Status.RUNNING)
    await a_stored_job(store, status=Status.SUCCEEDED)

    queues = await queues_of(store)

    assert queues == {
        "useapi": AccountQueue(account="useapi", used=1, slots=None, jobs=[first, second]),
        pinned.account: AccountQueue(account=pinned.account, used=0, slots=None, jobs=[pinned]),
    }


def admission(*jobs: Job) -> Admission:
    return Admission(jobs=jobs, waiting=True, paused=frozenset())


async def queues_of(store: Store, at: int = T0) -> dict[str, AccountQueue]:
    found: list[AccountQueue] = []

    def look(queues: Sequence[AccountQueue]) -> Admission:
        found.extend(queues)
        return admission()

    await store.jobs.claim(at, look)
    return {queue.account: queue for queue in found}


async def test_what_is_chosen_is_written_and_leaves_the_queue(store: Store) -> None:
    first, second = [await a_stored_job(store) for _ in range(2)]
    taken = replace(first, status=Status.SUBMITTING, due_at=LATER)

    claimed_jobs = await store.jobs.claim(T0, lambda _: admission(taken))

    assert claimed_jobs.jobs == (taken,)
    assert await store.jobs.get("acme", first.id) == taken
    queue = (await queues_of(store))["useapi"]
    assert (queue.used, queue.jobs) == (1, [second])


async def test_a_job_that_is_due_later_waits(store: Store) -> None:
    job = await a_stored_job(store, due_at=LATER)

    before, after = await queues_of(store), await queues_of(store, LATER)

    assert before["useapi"].jobs == []
    assert after["useapi"].jobs == [job]
    assert await store.jobs.next_due(T0) == LATER


@pytest.mark.parametrize(("strict", "slots"), [(True, 0), (False, 2)])
async def test_a_hold_leaves_no_slots_or_those_in_use(
    store: Store, *, strict: bool, slots: int
) -> None:
    await a_stored_job(store)
    for status in (Status.RUNNING, Status.SUBMITTED, Status.SUCCEEDED):
        await a_stored_job(store, status=status)

    await change(store, [], writing(holds={"useapi": AccountHold(until=LATER, strict=strict)}))

    assert (await queues_of(store))["useapi"].slots == slots
    assert (await queues_of(store, LATER))["useapi"].slots is None
    assert await store.jobs.next_due(T0) == LATER
    assert await store.jobs.next_due(LATER) is None


async def test_the_latest_hold_counts(store: Store) -> None:
    await a_stored_job(store)
    await change(
        store, [], writing(holds={"useapi": AccountHold(until=LATER + SECOND, strict=True)})
    )

    await change(store, [], writing(holds={"useapi": AccountHold(until=LATER, strict=True)}))

    assert await store.jobs.next_due(T0) == LATER


async def test_a_job_whose_sender_died_is_in_doubt_once_a_lease(store: Store) -> None:
    job = await a_stored_job(store, status=Status.SUBMITTING, due_at=LATER)
    await a_stored_job(store, status=Status.SUBMITTING, due_at=None)

    early = await store.jobs.claim_unanswered(LATER - 1, LATER)
    found = await store.jobs.claim_unanswered(LATER, LATER + LEASE)
    again = await store.jobs.claim_unanswered(LATER, LATER + LEASE)

    assert (early, again) == ([], [])
    assert found == [replace(job, due_at=LATER + LEASE)]
    assert await store.jobs.next_due(T0) == LATER + LEASE


async def test_jobs_are_claimed_for_a_look_when_it_is_time_and_by_one_only(store: Store) -> None:
    under_way = (Status.SUBMITTING, Status.SUBMITTED, Status.RUNNING)
    jobs = [
        await a_stored_job(store, status=status, deadline_at=LATER - n)
        for n, status in enumerate(under_way)
    ]
    await a_stored_job(store, status=Status.SUCCEEDED, deadline_at=T0)
    doubted = await a_stored_job(
        store,
        status=Status.SUCCEEDED,
        reconcile_reason=ReconcileReason.SECOND_END,
        reconcile_at=LATER + 1,
    )
    await a_stored_job(store, status=Status.SUBMITTED, deadline_at=LATER + LEASE)

    assert await store.jobs.next_check(LATER) == LATER - 2
    assert await checked(store, LATER - 2) == jobs[2:]
    assert await checked(store, LATER, 1) == jobs[1:2]
    assert await checked(store, LATER + 1) == [jobs[0], doubted]
    assert await store.jobs.next_check(LATER) == LATER + LEASE


async def checked(store: Store, at: int, limit: int = 9) -> list[Job]:
    """Lease what must be looked at, until LATER and a lease."""
    return [one.job for one in await store.jobs.claim_checks(at, LATER + LEASE, limit)]


async def test_a_job_that_a_callback_moves_while_its_provider_is_asked_is_not_asked_about_twice(
    store: Store,
) -> None:
    job = await a_stored_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (lease,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)

    running = replace(job, status=Status.RUNNING)
    await change(store, [job.ref], lambda _: ChangeSet(jobs={job.id: running}))
    during = await store.jobs.claim_checks(LATER + 1, LATER + LEASE, 9)
    waiting = await store.jobs.next_check(LATER + 1)
    after = await checked(store, LATER + LEASE)

    assert lease.job == job
    assert (during, waiting) == ([], None)
    assert [one.id for one in after] == [job.id]


async def test_a_look_that_is_over_makes_room_for_the_next_one(store: Store) -> None:
    job = await a_stored_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (lease,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)

    await change(store, [job.ref], lambda _: ChangeSet(finished_checks=[lease]))

    assert await checked(store, LATER + 1) == [job]


async def test_a_look_that_was_taken_over_is_not_ended_by_the_first_one(store: Store) -> None:
    job = await a_stored_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (first,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)
    await store.jobs.claim_checks(LATER + LEASE, LATER + 2 * LEASE, 9)

    await change(store, [job.ref], lambda _: ChangeSet(finished_checks=[first]))

    assert await checked(store, LATER + LEASE + 1) == []


async def test_a_job_may_wait_a_week_for_a_slot(store: Store) -> None:
    job = await a_stored_job(store)

    assert await store.jobs.next_check(LATER) == job.created_at + QUEUE_LIMIT
    assert await store.jobs.next_due(T0) is None


# Lists


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": "running"},
        {"provider": "runware"},
        {"operation": "imageCaption"},
        {"tag": "sea"},
        {"ref": "the client's"},
        {"ref": "the provider's"},
        {"ref": "1dd4d0bd-4b8a-4b9f-a2ad-9a3d2d9a0a01"},
        {"status": "running", "provider": "runware", "tag": "sky"},
        {"status": "running", "provider": "runware", "tag": "sky", "ref": "the client's"},
    ],
)
async def test_jobs_are_found_by_each_filter(store: Store, wanted: dict[str, str]) -> None:
    job = await a_stored_job(
        store,
        provider="runware",
        operation="imageCaption",
        status=Status.RUNNING,
        tags=("sea", "sky"),
        ref="1dd4d0bd-4b8a-4b9f-a2ad-9a3d2d9a0a01",
        reply_ref="the client's",
        provider_task_id="the provider's",
    )
    await a_stored_job(store, tags=("land",), reply_ref="x", provider_task_id="y")

    assert await store.jobs.find("acme", wanted, ALL) == [job]


async def test_filters_must_all_match(store: Store) -> None:
    await a_stored_job(store, tags=("sea",))

    assert await store.jobs.find("acme", {"tag": "sea", "status": "running"}, ALL) == []


async def test_a_list_is_read_page_by_page_newest_first(store: Store) -> None:
    jobs = [await a_stored_job(store) for _ in range(5)]

    first = await store.jobs.find("acme", {}, Page(limit=2))
    second = await store.jobs.find("acme", {}, Page(limit=2, cursor=first[-1].id))
    third = await store.jobs.find("acme", {}, Page(limit=2, cursor=second[-1].id))

    assert first + second + third == jobs[::-1]
    assert len(third) == 1


async def test_inputs_are_read_for_those_that_are_there(store: Store) -> None:
    one, two = [await a_stored_job(store) for _ in range(2)]

    found = await store.jobs.inputs([one.id, two.id, JOB])

    assert found.keys() == {one.id, two.id}
    assert await store.jobs.inputs([]) == {}


# Callbacks


async def test_the_same_bytes_for_the_same_submission_are_one_callback_counted(
    store: Store,
) -> None:
    job = await a_stored_job(store)
    first, second, third = [a_callback(job, verdict=Verdict.LATE) for _ in range(3)]

    changes = [
        await change(store, [job.ref], writing(callbacks=[callback]))
        for callback in (first, second, third)
    ]

    assert [one.repeated_callbacks for one in changes] == [set(), {second.id}, {third.id}]
    (kept,) = await store.callbacks.find("acme", {}, ALL)
    assert (kept.id, kept.repeats) == (first.id, 2)


async def test_a_repetition_in_one_transaction_is_counted_too(store: Store) -> None:
    job = await a_stored_job(store)
    moved, repeated = a_callback(job), a_callback(job, verdict=Verdict.LATE)

    changes = await change(store, [job.ref], writing(callbacks=[moved, repeated]))

    assert changes.repeated_callbacks == {repeated.id}
    assert (await store.callbacks.get("acme", moved.id)).repeats == 1


async def test_other_bytes_or_another_job_are_another_callback(store: Store) -> None:
    one, two = [await a_stored_job(store) for _ in range(2)]
    callbacks = [a_callback(one), a_callback(one, digest="d2"), a_callback(two)]

    await change(store, [one.ref, two.ref], writing(callbacks=callbacks))

    assert len(await store.callbacks.find("acme", {}, ALL)) == 3


async def test_callbacks_are_listed_without_bodies_by_verdict_and_job(store: Store) -> None:
    one, two = [await a_stored_job(store) for _ in range(2)]
    accepted = a_callback(one)
    late, unreadable = (
        a_callback(one, digest="d2", verdict=Verdict.LATE),
        a_callback(two, verdict=Verdict.UNREADABLE),
    )
    await change(store, [], writing(callbacks=[accepted, late, unreadable]))

    listed = await store.callbacks.find("acme", {"job": one.id}, ALL)
    by_verdict = await store.callbacks.find("acme", {"verdict": "unreadable"}, ALL)
    next_page = await store.callbacks.find("acme", {}, Page(limit=9, cursor=late.id))

    assert [(one.id, one.body) for one in listed] == [(late.id, b""), (accepted.id, b"")]
    assert [one.id for one in by_verdict] == [unreadable.id]
    assert [one.id for one in next_page] == [accepted.id]


async def test_the_last_word_of_a_provider_is_its_latest_callback_or_else_its_answer(
    store: Store,
) -> None:
    job = await a_stored_job(store)
    answer = RawResponse(ref=job.ref, at=T0, status_code=200, body=b"answer")

    before = await store.jobs.last_body(job.id)
    await change(store, [job.ref], writing(responses=[answer]))
    answered = await store.jobs.last_body(job.id)
    for n, verdict in enumerate(("accepted", "late", "unreadable", "mismatched")):
        callback = a_callback(job, digest=f"d{n}", body=verdict.encode(), verdict=Verdict(verdict))
        await change(store, [job.ref], writing(callbacks=[callback]))

    assert (before, answered) == (None, b"answer")
    assert await store.jobs.last_body(job.id) == b"late"


# Events


async def a_log(store: Store, *events: Event) -> list[Event]:
    """Write *events* and give them back with their places in the log."""
    await change(store, [], writing(events=list(events)))
    return [await store.events.get(event.tenant, event.id) for event in events]


async def test_the_log_is_read_on_in_its_order(store: Store) -> None:
    one, two, three = await a_log(store, an_event(), an_event(), an_event())

    assert one.seq < two.seq < three.seq
    assert await store.events.after("acme", 0, 9) == [one, two, three]
    assert await store.events.after("acme", one.seq, 1) == [two]
    assert await store.events.after("acme", three.seq, 9) == []
    assert await store.events.last_seq() == three.seq


@pytest.mark.parametrize(
    ("sizes", "read"),
    [
        ((9_000, 9_000, 9_000), 3),
        ((PAGE_BYTES // 2, PAGE_BYTES // 2, 1), 2),
        ((PAGE_BYTES // 2, PAGE_BYTES // 2 - 1, 1), 3),
        ((PAGE_BYTES * 3, 1), 1),
        ((1, PAGE_BYTES * 3, 1), 2),
    ],
)
async def test_a_page_of_the_log_ends_with_the_event_that_fills_it(
    sizes: tuple[int, ...], read: int, store: Store
) -> None:
    log = await a_log(store, *(an_event(payload=b"x" * size) for size in sizes))

    assert await store.events.after("acme", 0, 9) == log[:read]
    assert await store.events.after("acme", 0, 9, "job_1") == log[:read]


async def test_page_by_page_the_whole_log_is_read(store: Store) -> None:
    log = await a_log(store, *(an_event(payload=b"x" * (n % 7) * 4_000) for n in range(30)))

    read: list[Event] = []
    while page := await store.events.after("acme", read[-1].seq if read else 0, 4):
        read += page

    assert read == log


async def test_tenants_with_new_events_are_found_with_the_last_of_each(store: Store) -> None:
    names = ("acme", "other", "acme", "third")
    one, two, three, four = await a_log(store, *(an_event(tenant=name) for name in names))

    assert await store.events.tenants_after(0) == {
        "acme": three.seq,
        "other": two.seq,
        "third": four.seq,
    }
    assert await store.events.tenants_after(one.seq) == await store.events.tenants_after(0)
    assert await store.events.tenants_after(two.seq) == {"acme": three.seq, "third": four.seq}
    assert await store.events.tenants_after(four.seq) == {}


async def test_an_empty_log_stands_at_nought(store: Store) -> None:
    assert await store.events.last_seq() == 0


async def test_the_log_of_one_job_is_read_on(store: Store) -> None:
    one, _ = await a_log(store, an_event(job_id="job_1"), an_event(job_id="job_2"))

    assert await store.events.after("acme", 0, 9, "job_1") == [one]


async def test_an_event_is_read_byte_for_byte(store: Store) -> None:
    event = an_event(payload=b'{"\x00\xff":1}', tags=("sea", "ü"), job_id=None, provider=None)

    (stored,) = await a_log(store, event)

    assert stored == replace(event, seq=stored.seq)


@pytest.mark.parametrize(
    "wanted",
    [
        {"event_types": ["job.failed", "job.expired"]},
        {"job": "job_2"},
        {"provider": "runware"},
        {"job": "job_2", "event_types": ["job.failed", "job.expired"]},
    ],
)
async def test_events_are_found_by_each_filter(store: Store, wanted: dict[str, Any]) -> None:
    event = an_event(type="job.failed", job_id="job_2", provider="runware")
    stored, _ = await a_log(store, event, an_event())

    assert await store.events.find("acme", wanted, ALL) == [stored]


async def test_events_are_listed_newest_first_from_a_seq(store: Store) -> None:
    one, two, three = await a_log(store, an_event(), an_event(), an_event())

    assert await store.events.find("acme", {}, Page(limit=2)) == [three, two]
    assert await store.events.find("acme", {}, Page(limit=2, cursor=str(two.seq))) == [one]


# Subscriptions


async def test_a_subscription_is_read_as_it_was_written(store: Store) -> None:
    hook = await a_stored_subscription(store, headers={"x": "y"}, metadata={"n": None})

    assert await store.subscriptions.get("acme", hook.id) == hook


async def test_a_subscription_is_changed_in_one_transaction(store: Store) -> None:
    hook = await a_stored_subscription(store)

    def bump(found: Subscription) -> Subscription:
        return replace(found, max_in_flight=found.max_in_flight + 1)

    await asyncio.gather(*(store.subscriptions.change("acme", hook.id, bump) for _ in range(9)))

    stored = await store.subscriptions.get("acme", hook.id)
    assert stored == replace(hook, max_in_flight=hook.max_in_flight + 9)


async def test_subscriptions_are_found_by_kind_and_url(store: Store) -> None:
    hook = await a_stored_subscription(store)
    reply = await a_stored_subscription(
        store, kind="per_job", event_types=(), url="https://other.example"
    )

    assert await store.subscriptions.find("acme", {}, ALL) == [reply, hook]
    assert await store.subscriptions.find("acme", {"kind": "per_job"}, ALL) == [reply]
    assert await store.subscriptions.find("acme", {"url": hook.url}, ALL) == [hook]
    assert await store.subscriptions.find("acme", {}, Page(limit=1)) == [reply]
    assert await store.subscriptions.find("acme", {}, Page(limit=1, cursor=reply.id)) == [hook]


async def test_a_snapshot_has_the_standing_subscriptions_of_now(store: Store) -> None:
    job = await a_stored_job(store)
    none = (await seen(store, job.ref)).permanent

    hook = await a_stored_subscription(store)
    await a_stored_subscription(store, kind="per_job", event_types=())
    other = await a_stored_subscription(store, tenant="other")
    made = (await seen(store, job.ref)).permanent
    off = await store.subscriptions.change("acme", hook.id, lambda s: replace(s, enabled=False))
    changed = (await seen(store, job.ref)).permanent
    await store.subscriptions.delete("acme", hook.id, T0)
    deleted = (await seen(store, job.ref)).permanent

    assert none == {}
    assert made == {"acme": [hook], "other": [other]}
    assert changed == {"acme": [off], "other": [other]}
    assert deleted == {"other": [other]}


async def test_a_new_job_sees_the_standing_subscriptions_too(store: Store) -> None:
    hook = await a_stored_subscription(store)
    found: list[Snapshot] = []

    def look(snapshot: Snapshot) -> ChangeSet:
        found.append(snapshot)
        return ChangeSet()

    await add_jobs(store, [a_new_job()], None, look)

    assert found[0].permanent == {"acme": [hook]}


async def test_deleting_a_subscription_cancels_what_it_was_owed(store: Store) -> None:
    hook, other = [await a_stored_subscription(store) for _ in range(2)]
    canceled, kept = await owed(store, hook), await owed(store, other)

    await store.subscriptions.delete("acme", hook.id, LATER)

    with pytest.raises(NotFound):
        await store.subscriptions.get("acme", hook.id)
    delivery, _ = await store.deliveries.get("acme", canceled.id)
    assert (delivery.status, delivery.settled_at) == (DeliveryStatus.CANCELED, LATER)
    assert await ids_claimed(store) == [kept.id]


# Deliveries


async def test_what_is_due_is_claimed_with_all_that_a_courier_needs(store: Store) -> None:
    hook = await a_stored_subscription(store)
    delivery = await owed(store, hook)

    (task,) = await claimed(store)

    assert task.delivery == replace(delivery, lease_version=1, due_at=T0 + LEASE)
    assert (task.subscription, task.payload) == (hook, b'{"type":"job.succeeded"}')
    assert not task.earlier_pending


async def test_a_lease_keeps_others_away_until_it_ends(store: Store) -> None:
    delivery = await owed(store, await a_stored_subscription(store))

    first = await ids_claimed(store)
    during = await ids_claimed(store, T0 + LEASE - 1)
    (task,) = await claimed(store, T0 + LEASE)

    assert (first, during) == ([delivery.id], [])
    assert (task.delivery.id, task.delivery.lease_version) == (delivery.id, 2)


async def test_two_couriers_never_claim_one_delivery(store: Store) -> None:
    hook = await a_stored_subscription(store)
    made = [await owed(store, hook, job_id=f"job_{n}") for n in range(6)]

    found = await asyncio.gather(*(ids_claimed(store, limit=2) for _ in range(5)))

    assert sorted(one for ids in found for one in ids) == [delivery.id for delivery in made]


async def test_the_events_of_a_job_are_claimed_one_after_the_other(store: Store) -> None:
    hook = await a_stored_subscription(store)
    second = await owed(store, hook, sequence=2)
    first = await owed(store, hook, sequence=1)

    (task,) = await claimed(store)
    while_first_is_under_way = await ids_claimed(store)
    await settled(store, an_update(replace(task.delivery, status=DeliveryStatus.DEAD)))

    assert task.delivery.id == first.id
    assert while_first_is_under_way == []
    assert await ids_claimed(store) == [second.id]


async def test_a_retry_of_an_earlier_event_holds_back_the_later(store: Store) -> None:
    hook = await a_stored_subscription(store)
    first, _second = [await owed(store, hook, sequence=n) for n in (1, 2)]
    (task,) = await claimed(store)
    retry = replace(task.delivery, tries=1, due_at=LATER)

    await settled(store, an_update(retry, result=a_result(500)))

    assert await ids_claimed(store, LATER - 1) == []
    assert await ids_claimed(store, LATER) == [first.id]


async def test_other_jobs_and_other_receivers_need_not_wait(store: Store) -> None:
    one, two = [await a_stored_subscription(store) for _ in range(2)]
    made = [
        await owed(store, one, job_id="job_1", sequence=1),
        await owed(store, one, job_id="job_2", sequence=2),
        await owed(store, two, job_id="job_1", sequence=2),
        await owed(store, one, job_id=None, sequence=0),
        await owed(store, one, job_id=None, sequence=0),
    ]

    assert await ids_claimed(store) == [delivery.id for delivery in made]


async def test_a_claim_has_a_limit_and_takes_the_longest_due(store: Store) -> None:
    hook = await a_stored_subscription(store)
    late = await owed(store, hook, job_id="job_1", due_at=T0 - 1)
    later = await owed(store, hook, job_id="job_2", due_at=T0 - 2)
    await owed(store, hook, job_id="job_3", due_at=T0 + 1)

    assert await ids_claimed(store, limit=1) == [later.id]
    assert await ids_claimed(store) == [late.id]
    assert await store.deliveries.next_due() == T0 + 1


async def test_full_lanes_and_disabled_subscriptions_are_left_out(store: Store) -> None:
    full, other = [await a_stored_subscription(store) for _ in range(2)]
    off = await a_stored_subscription(store, enabled=False)
    held, free, kept = [await owed(store, one) for one in (full, other, off)]

    assert await ids_claimed(store, full=[full.id]) == [free.id]
    assert await ids_claimed(store) == [held.id]
    await store.subscriptions.change("acme", off.id, lambda s: replace(s, enabled=True))
    assert await ids_claimed(store) == [kept.id]


async def test_what_a_courier_took_at_the_commit_is_under_its_lease(store: Store) -> None:
    hook = await a_stored_subscription(store)
    delivery = await owed(store, hook, lease_version=1, due_at=T0 + LEASE)

    assert await ids_claimed(store) == []
    delivered = replace(delivery, status=DeliveryStatus.DELIVERED, tries=1, settled_at=LATER)
    await settled(store, an_update(delivered))
    assert (await store.deliveries.get("acme", delivery.id))[0] == delivered


async def test_each_attempt_is_kept_beside_its_delivery(store: Store) -> None:
    delivery = await owed(store, await a_stored_subscription(store))
    outcomes = [
        a_result(None, error="TLS: bad certificate", duration_ms=1.5),
        a_result(500, excerpt="oops"),
    ]

    for n, outcome in enumerate(outcomes):
        (task,) = await claimed(store, T0 + n)
        retry = replace(task.delivery, tries=n + 1, due_at=T0 + n + 1)
        await settled(store, an_update(retry, result=outcome))

    stored, attempts = await store.deliveries.get("acme", delivery.id)
    assert (stored.tries, stored.due_at, stored.status) == (2, T0 + 2, DeliveryStatus.PENDING)
    assert attempts == list(enumerate(outcomes, start=1))


async def test_a_courier_whose_lease_was_taken_over_cannot_settle(store: Store) -> None:
    await owed(store, await a_stored_subscription(store))
    (slow,) = await claimed(store)
    (quick,) = await claimed(store, T0 + LEASE)

    await settled(store, an_update(replace(slow.delivery, status=DeliveryStatus.DEAD)))
    await store.deliveries.release([slow.delivery], T0)

    stored, _ = await store.deliveries.get("acme", quick.delivery.id)
    assert stored == quick.delivery


async def test_what_is_settled_stays_settled(store: Store) -> None:
    await owed(store, await a_stored_subscription(store))
    (task,) = await claimed(store)
    delivered = replace(task.delivery, status=DeliveryStatus.DELIVERED, settled_at=T0)

    await settled(store, an_update(delivered))
    await settled(store, an_update(replace(task.delivery, status=DeliveryStatus.DEAD)))

    assert (await store.deliveries.get("acme", delivered.id))[0] == delivered
    assert await store.deliveries.next_due() is None


async def test_what_is_released_is_due_at_once(store: Store) -> None:
    await owed(store, await a_stored_subscription(store))
    (task,) = await claimed(store)

    await store.deliveries.release([task.delivery], T0 + 1)

    assert await store.deliveries.next_due() == T0 + 1
    assert await ids_claimed(store, T0 + 1) == [task.delivery.id]


async def test_a_settlement_may_disable_its_subscription(store: Store) -> None:
    job, hook = await a_stored_job(store), await a_stored_subscription(store)
    await owed(store, hook, job_id=job.id)
    (task,) = await claimed(store)
    dead = replace(task.delivery, status=DeliveryStatus.DEAD, settled_at=T0)

    await settled(store, an_update(dead, disable="Gone.", result=a_result(410, at=LATER)))

    off = replace(hook, enabled=False, disabled_reason="Gone.", updated_at=LATER)
    assert await store.subscriptions.get("acme", hook.id) == off
    assert (await seen(store, job.ref)).permanent == {"acme": [off]}


@pytest.mark.parametrize("status", ["delivered", "dead", "superseded", "canceled"])
async def test_whatever_became_of_it_is_owed_again_from_the_first_try(
    store: Store, status: str
) -> None:
    delivery = await owed(store, await a_stored_subscription(store))
    (task,) = await claimed(store)
    ended = replace(task.delivery, status=DeliveryStatus(status), tries=9, settled_at=T0)
    await settled(store, an_update(ended))

    again = await store.deliveries.redeliver("acme", delivery.id, LATER)

    assert (again.status, again.tries, again.due_at) == (DeliveryStatus.PENDING, 0, LATER)
    assert again.settled_at is None
    assert await ids_claimed(store, LATER) == [delivery.id]


async def test_nothing_is_owed_again_where_nobody_takes_it(store: Store) -> None:
    off, gone = [await a_stored_subscription(store) for _ in range(2)]
    one, two = await owed(store, off), await owed(store, gone)
    await store.subscriptions.change("acme", off.id, lambda s: replace(s, enabled=False))
    await store.subscriptions.delete("acme", gone.id, T0)

    for delivery in (one, two):
        with pytest.raises(Conflict):
            await store.deliveries.redeliver("acme", delivery.id, LATER)


@pytest.mark.parametrize("name", ["subscription", "status", "event", "job"])
async def test_deliveries_are_found_by_each_filter(store: Store, name: str) -> None:
    one, two = [await a_stored_subscription(store) for _ in range(2)]
    other, delivery = await owed(store, one, job_id="job_1"), await owed(store, two, job_id="job_2")
    (task,) = await claimed(store, full=[one.id])
    dead = replace(task.delivery, status=DeliveryStatus.DEAD)
    await settled(store, an_update(dead))
    wanted = {
        "subscription": two.id,
        "status": "dead",
        "event": delivery.event_id,
        "job": "job_2",
    }

    assert await store.deliveries.find("acme", {name: wanted[name]}, ALL) == [dead]
    assert await store.deliveries.find("acme", wanted, ALL) == [dead]
    (older,) = await store.deliveries.find("acme", {}, Page(limit=1, cursor=dead.id))
    assert older == replace(other, due_at=None), "it is parked while its lane is full"


async def test_what_a_subscription_is_owed_and_what_is_over_are_one_list(store: Store) -> None:
    hook = await a_stored_subscription(store)
    deliveries = [await owed(store, hook, job_id=f"job_{n}") for n in range(6)]
    done = {one.id for one in deliveries[::2]}
    over = [
        replace(task.delivery, status=DeliveryStatus.DELIVERED)
        for task in await claimed(store)
        if task.delivery.id in done
    ]
    await settled(store, *map(an_update, over))

    found: list[str] = []
    while page := await store.deliveries.find(
        "acme", {"subscription": hook.id}, Page(limit=4, cursor=found[-1] if found else None)
    ):
        found += [one.id for one in page]

    assert found == [one.id for one in deliveries[::-1]]


# Keys


async def test_a_key_is_found_by_its_hash_until_it_is_deleted(store: Store) -> None:
    key = a_key(scopes=("jobs:read", "admin"), name="ci")
    before = await store.api_keys.is_empty()
    await store.api_keys.put(key)

    assert (before, await store.api_keys.is_empty()) == (True, False)
    assert await store.api_keys.by_hash(key.hash) == key
    assert await store.api_keys.by_hash("another") is None
    assert await store.api_keys.exists(key.id)
    await store.api_keys.delete(key.id)
    assert await store.api_keys.by_hash(key.hash) is None
    assert not await store.api_keys.exists(key.id)


async def test_a_key_that_is_there_already_stays_as_it_is(store: Store) -> None:
    key = a_key()
    await store.api_keys.put(key)

    await store.api_keys.put(a_key(hash=key.hash, name="again"))

    assert await store.api_keys.find(ALL) == [key]


async def test_keys_are_listed_newest_first(store: Store) -> None:
    keys = [a_key(hash=f"hash {n}") for n in range(3)]
    for key in keys:
        await store.api_keys.put(key)

    assert await store.api_keys.find(Page(limit=2)) == [keys[2], keys[1]]
    assert await store.api_keys.find(Page(limit=2, cursor=keys[1].id)) == [keys[0]]


async def test_a_key_that_is_not_there_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.api_keys.delete("key_none")


# Tenants, and what is not there

Ask = Callable[[Store, str], Awaitable[object]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store, tenant: store.jobs.get(tenant, JOB),
        lambda store, tenant: store.events.get(tenant, EVENT),
        lambda store, tenant: store.callbacks.get(tenant, CB),
        lambda store, tenant: store.subscriptions.get(tenant, SUB),
        lambda store, tenant: store.subscriptions.change(tenant, SUB, lambda found: found),
        lambda store, tenant: store.subscriptions.delete(tenant, SUB, T0),
        lambda store, tenant: store.deliveries.get(tenant, DLV),
        lambda store, tenant: store.deliveries.redeliver(tenant, DLV, T0),
    ],
    ids=["job", "event", "callback", "subscription", "change", "delete", "delivery", "redeliver"],
)
async def test_what_belongs_to_another_tenant_is_not_there(store: Store, ask: Ask) -> None:
    job, hook = build_job(id=JOB), a_subscription(id=SUB)
    event, callback = an_event(id=EVENT, job_id=JOB), a_callback(job, id=CB)
    delivery = a_delivery(id=DLV, event_id=EVENT, subscription_id=SUB, job_id=JOB)

    with pytest.raises(NotFound):
        await ask(store, "acme")
    await added(store, NewJob(job=job, input=b"{}"))
    await store.subscriptions.put(hook)
    tasks = [DeliveryTask(delivery, hook, event.payload)]
    await change(store, [], writing(events=[event], callbacks=[callback], delivery_tasks=tasks))

    with pytest.raises(NotFound):
        await ask(store, "other")
    await ask(store, "acme")


async def test_no_list_shows_another_tenants_rows(store: Store) -> None:
    job = await a_stored_job(store, tags=("sea",), reply_ref="r", provider_task_id="t")
    hook = await a_stored_subscription(store)
    delivery = await owed(store, hook, job_id=job.id)
    await change(store, [], writing(callbacks=[a_callback(job)]))
    about = {"subscription": hook.id, "event": delivery.event_id, "job": job.id}

    lists = [
        await store.jobs.find("other", {}, ALL),
        await store.jobs.find("other", {"tag": "sea"}, ALL),
        *[await store.jobs.find("other", {"ref": ref}, ALL) for ref in (job.ref, "r", "t")],
        await store.events.find("other", {}, ALL),
        await store.events.after("other", 0, 9),
        await store.callbacks.find("other", {}, ALL),
        await store.callbacks.find("other", {"job": job.id}, ALL),
        await store.subscriptions.find("other", {}, ALL),
        await store.deliveries.find("other", {}, ALL),
        *[await store.deliveries.find("other", {name: about[name]}, ALL) for name in about],
    ]

    assert lists == [[]] * len(lists)


async def test_a_store_proves_that_it_can_be_written(store: Store) -> None:
    await store.check()


async def test_what_is_stored_is_there_after_a_restart(database_url: str) -> None:
    store = await open_store(database_url, T0)
    job = await a_stored_job(store)
    await store.close()

    store = await open_store(database_url, T0)
    found = await store.jobs.get("acme", job.id)
    await store.close()

    assert found == job


# What only one process at a time may do


async def test_a_process_that_is_alone_takes_over_what_an_earlier_one_held(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)
    hook = await a_stored_subscription(store)
    held, _later = await owed(store, hook), await owed(store, hook, job_id="job_2", due_at=LATER)
    await claimed(store)
    job = await a_stored_job(store, status=Status.SUBMITTING, due_at=LATER)
    await store.close()

    store = await open_store(url, T0 + 1)
    deliveries = await ids_claimed(store, T0 + 1)
    doubts = await store.jobs.claim_unanswered(T0 + 1, LATER)
    await store.close()

    assert deliveries == [held.id]
    assert [doubt.id for doubt in doubts] == [job.id]


async def test_leases_of_a_process_that_is_gone_are_void_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, LATER)
    hook = await a_stored_subscription(store)
    held = await owed(store, hook)
    await claimed(store, LATER)
    job = await a_stored_job(store, status=Status.SUBMITTED, deadline_at=T0)
    await store.jobs.claim_checks(LATER, LATER + LEASE, 9)
    await store.close()

    store = await open_store(url, T0)
    deliveries, jobs = await ids_claimed(store, T0), await checked(store, T0)
    await store.close()

    assert deliveries == [held.id]
    assert jobs == [job]


async def test_a_receiver_that_asked_for_time_gets_it_though_the_process_starts_again(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)
    hook = await a_stored_subscription(store)
    await owed(store, hook)
    (task,) = await claimed(store)
    busy = a_result(429, retry_after_seconds=30)
    await settled(store, after_attempt(task.delivery, busy, 0))
    await store.close()

    store = await open_store(url, T0 + SECOND)
    early = await ids_claimed(store, T0 + SECOND)
    due = await ids_claimed(store, T0 + 30 * SECOND)
    await store.close()

    assert (early, due) == ([], [task.delivery.id])


async def test_a_turn_from_before_the_clock_was_set_back_does_not_count(store: Store) -> None:
    hook = await a_stored_subscription(store, rate_limit=1)
    for n in range(2):
        await owed(store, hook, job_id=f"job_{n}")
    await ids_claimed(store, LATER)

    assert len(await ids_claimed(store, T0)) == 1


async def test_a_second_process_on_one_file_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)

    with pytest.raises(StartError, match="another process"):
        await open_store(url, T0)
    await store.close()


async def test_the_log_is_copied_into_the_file_while_the_process_lives(tmp_path: Path) -> None:
    file = tmp_path / "belfry.db"
    store = await open_store(f"sqlite:///{file}", T0)
    for _ in range(2 * CHECKPOINT_EVERY - 1):
        await store.subscriptions.put(a_subscription())

    alone = shutil.copy(file, tmp_path / "alone.db")  # without the log
    with closing(sqlite3.connect(alone)) as copied:
        ((count,),) = copied.execute("SELECT COUNT(*) FROM subscriptions")
    await store.close()

    assert count >= CHECKPOINT_EVERY


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="BELFRY_DATABASE_URL"):
        await open_store(f"sqlite:///{tmp_path}/nowhere/belfry.db", T0)
