from collections.abc import Callable, Sequence

import msgspec
import pytest
from msgspec.structs import replace

from service.deliveries import LEASE, Hand
from service.errors import NotFound
from service.jobs import Job, Status
from service.moves import Mover, Moves, Take
from service.ports import Changes, Idempotency, Page, Snapshot
from service.subscriptions import Subscription
from store import open_store
from tests.makers import NOON, Chance, Clock, a_job, a_new_job, a_subscription

pytestmark = pytest.mark.anyio
HOOK = a_subscription()


def leave(_subscription: Subscription, _job: str | None, _behind: bool) -> Hand:  # noqa: FBT001
    """Take nothing, as a process without a courier does."""
    return Hand.LEFT


def a_snapshot(
    *jobs: Job, standing: Sequence[Subscription] = (HOOK,), owed: Sequence[tuple[str, str]] = ()
) -> Snapshot:
    by_ref = {job.ref: job for job in jobs}
    return Snapshot(jobs=by_ref, standing={"acme": standing}, owed=frozenset(owed))


def the_moves(snapshot: Snapshot, take: Take = leave) -> Moves:
    return Moves(snapshot, NOON, Chance().new_id, take)


def to(status: Status) -> Callable[[Job], Job]:
    return lambda job: replace(job, status=status, version=job.version + 1)


def test_a_move_brings_the_job_its_event_and_what_is_owed() -> None:
    job = a_job(status=Status.SUBMITTED, sequence=2)
    moves = the_moves(a_snapshot(job))

    after = moves.move(job, to(Status.RUNNING)(job))

    (event,), (parcel,) = moves.changes.events, moves.changes.parcels
    assert moves.changes.jobs == {job.id: after}
    assert (after.sequence, event.sequence, event.type) == (3, 3, "job.running")
    assert (parcel.delivery.event_id, parcel.subscription) == (event.id, HOOK)
    assert parcel.payload == event.payload


def test_a_move_that_is_only_ours_is_told_to_nobody() -> None:
    job = a_job(sequence=1)
    moves = the_moves(a_snapshot(job))

    after = moves.move(job, to(Status.SUBMITTING)(job))

    assert (after.sequence, moves.changes.jobs) == (1, {job.id: after})
    assert (moves.changes.events, moves.changes.parcels) == ([], [])


def test_a_job_may_move_more_than_once_in_one_transaction() -> None:
    job = a_job(status=Status.SUBMITTED, sequence=1)
    moves = the_moves(a_snapshot(job))

    running = moves.move(job, to(Status.RUNNING)(job))
    moves.move(running, to(Status.SUCCEEDED)(running))

    assert [event.type for event in moves.changes.events] == ["job.running", "job.succeeded"]
    assert [event.sequence for event in moves.changes.events] == [2, 3]
    assert [parcel.behind for parcel in moves.changes.parcels] == [False, True]
    assert moves.changes.jobs[job.id].status is Status.SUCCEEDED


def test_a_job_is_seen_as_it_stands_after_its_moves() -> None:
    job = a_job(status=Status.SUBMITTED)
    moves = the_moves(a_snapshot(job))

    after = moves.move(job, to(Status.RUNNING)(job))

    assert moves.job(job.ref) == after
    assert moves.job("another ref") is None


def test_an_event_behind_one_that_is_owed_says_so() -> None:
    job, other = a_job(status=Status.SUBMITTED), a_subscription()
    moves = the_moves(a_snapshot(job, standing=(HOOK, other), owed=[(job.id, HOOK.id)]))

    moves.move(job, to(Status.RUNNING)(job))

    assert [parcel.behind for parcel in moves.changes.parcels] == [True, False]


def test_what_the_courier_takes_is_under_its_lease_at_once() -> None:
    asked: list[tuple[str, str | None, bool]] = []

    def take(subscription: Subscription, job: str | None, behind: bool) -> Hand:  # noqa: FBT001
        asked.append((subscription.id, job, behind))
        return Hand.LEFT if behind else Hand.TAKEN

    job = a_job(status=Status.SUBMITTED)
    moves = the_moves(a_snapshot(job), take)
    running = moves.move(job, to(Status.RUNNING)(job))
    moves.move(running, to(Status.SUCCEEDED)(running))

    first, second = (parcel.delivery for parcel in moves.changes.parcels)
    assert asked == [(HOOK.id, job.id, False), (HOOK.id, job.id, True)]
    assert (first.claims, first.due_at) == (1, NOON + LEASE)
    assert (second.claims, second.due_at) == (0, NOON)


def test_a_reply_url_is_owed_what_its_job_asks_for() -> None:
    reply = a_subscription(kind="reply", events=())
    job = a_job(status=Status.SUBMITTED, reply_to=reply.id, reply_events=("job.succeeded",))
    snapshot = replace(a_snapshot(job, standing=()), replies={reply.id: reply})
    moves = the_moves(snapshot)

    running = moves.move(job, to(Status.RUNNING)(job))
    moves.move(running, to(Status.SUCCEEDED)(running))

    assert [parcel.delivery.type for parcel in moves.changes.parcels] == ["job.succeeded"]


def test_another_tenants_subscription_is_owed_nothing() -> None:
    job = a_job(status=Status.SUBMITTED, tenant="other")
    moves = the_moves(a_snapshot(job))

    moves.move(job, to(Status.RUNNING)(job))

    assert len(moves.changes.events) == 1
    assert moves.changes.parcels == []


async def test_a_mover_tells_its_listeners_what_is_on_disk(database_url: str) -> None:
    store = await open_store(database_url, NOON)
    told: list[Changes] = []
    mover = Mover(store, Clock(), Chance().new_id, leave)
    mover.listeners.append(told.append)
    new = a_new_job()

    (job,), fresh = await mover.add([new], None)
    await mover.change([job.ref], lambda moves: _move(moves, job.ref, to(Status.SUBMITTED)))
    events = await store.events("acme", {}, Page(limit=9))
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
    store = await open_store(database_url, NOON)
    told: list[Changes] = []
    mover = Mover(store, Clock(), Chance().new_id, leave)
    mover.listeners.append(told.append)
    key = Idempotency(name="k1", digest="d1")

    first, fresh = await mover.add([a_new_job()], key)
    again, fresh_again = await mover.add([a_new_job()], key)
    await store.close()

    assert again == first
    assert (fresh, fresh_again, len(told)) == (True, False, 1)


async def test_a_change_that_fails_is_told_to_nobody(database_url: str) -> None:
    store = await open_store(database_url, NOON)
    told: list[Changes] = []
    mover = Mover(store, Clock(), Chance().new_id, leave)
    (job,), _ = await mover.add([a_new_job()], None)
    mover.listeners.append(told.append)

    def fail(moves: Moves) -> None:
        _move(moves, job.ref, to(Status.SUBMITTED))
        raise NotFound("as a bug would")

    with pytest.raises(NotFound):
        await mover.change([job.ref], fail)
    stored = await store.job("acme", job.id)
    await store.close()

    assert told == []
    assert stored == job


def _move(moves: Moves, ref: str, change: Callable[[Job], Job]) -> None:
    job = moves.job(ref)
    assert job is not None
    moves.move(job, change(job))
