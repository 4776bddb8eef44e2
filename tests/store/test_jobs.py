"""Jobs: insertion, account queues, checks and lists."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE
from service.domain.jobs.job import QUEUE_LIMIT, Job, ReconcileReason, Status
from service.domain.jobs.results import Artifact, Output
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.errors import Invalid
from service.domain.primitives.timestamps import SECOND
from service.providers.refusals import RefusalScope
from service.transactions.change_set import AccountHold, ChangeSet, Snapshot
from service.transactions.slots import SlotRules
from service.transactions.store_protocols import Idempotency, NewJob, Page, Store
from tests.support.factories import T0, a_new_job, a_pause, a_subscription, an_event, build_job
from tests.support.store_steps import ALL, LATER, insert_job, insert_jobs
from tests.support.transactions import (
    SnapshotRecorder,
    add_jobs,
    change,
    no_changes,
    update_jobs,
    write,
)

pytestmark = pytest.mark.anyio
UNKNOWN = "job_none"
KEY = Idempotency(name="k1", digest="d1")


async def claim_checks(store: Store, at: int, limit: int = 9) -> list[Job]:
    """Lease the checks that are due, until LATER + LEASE."""
    return [lease.job for lease in await store.jobs.claim_checks(at, LATER + LEASE, limit)]


async def claim(
    store: Store, at: int = T0, limit: int = 100, start: Callable[[Job], Job] = lambda job: job
) -> list[Job]:
    """The jobs that a claim takes; unless *start* changes them, they stay queued."""
    return (await store.jobs.claim(at, SlotRules(limits={"useapi": limit}), start)).jobs


async def test_a_job_is_inserted_with_its_input_and_its_first_event(store: Store) -> None:
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


async def test_every_field_of_a_job_is_read_as_it_was_written(store: Store) -> None:
    output = Output(artifacts=(Artifact(kind="image", bytes=2**40),), data=[{"n": 1.5}, "x"])
    job = build_job(
        expected_parts=2,
        received_parts=("1",),
        output=output,
        tags=("a", "b"),
        progress=0.5,
        cost_usd=0.1,
    )

    await insert_jobs(store, NewJob(job=job, input=b"{}"))

    assert await store.jobs.get("acme", job.id) == job


async def test_an_idempotency_key_creates_its_jobs_once(store: Store) -> None:
    first, _ = await add_jobs(store, [a_new_job(), a_new_job()], KEY, no_changes)

    repeated, changes = await add_jobs(store, [a_new_job(), a_new_job()], KEY, no_changes)

    assert (repeated, changes) == (first, None)
    assert len(await store.jobs.find("acme", {}, ALL)) == 2


async def test_an_idempotency_key_with_another_body_is_rejected(store: Store) -> None:
    await add_jobs(store, [a_new_job()], KEY, no_changes)

    with pytest.raises(Invalid) as raised:
        await add_jobs(store, [a_new_job()], replace(KEY, digest="d2"), no_changes)

    assert raised.value.reason == "idempotency_reused"
    assert len(await store.jobs.find("acme", {}, ALL)) == 1


async def test_two_tenants_may_use_the_same_idempotency_key(store: Store) -> None:
    await add_jobs(store, [a_new_job()], KEY, no_changes)

    _, changes = await add_jobs(store, [a_new_job(tenant="other")], KEY, no_changes)

    assert changes is not None


async def test_concurrent_requests_with_one_idempotency_key_create_one_job(store: Store) -> None:
    requests = [add_jobs(store, [a_new_job()], KEY, no_changes) for _ in range(5)]

    results = await asyncio.gather(*requests)

    assert len({jobs[0].id for jobs, _ in results}) == 1
    assert [changes is None for _, changes in results].count(False) == 1


async def test_a_repeated_request_returns_the_current_state_of_its_jobs(store: Store) -> None:
    (job,), _ = await add_jobs(store, [a_new_job()], KEY, no_changes)
    await change(store, [job.ref], update_jobs(status=Status.RUNNING))

    (repeated,), _ = await add_jobs(store, [a_new_job()], KEY, no_changes)

    assert repeated.status is Status.RUNNING


async def test_two_tenants_may_use_the_same_task_uuid(store: Store) -> None:
    await insert_jobs(store, replace(a_new_job(), task_uuid="u1"))

    (other,) = await insert_jobs(store, replace(a_new_job(tenant="other"), task_uuid="u1"))

    assert await store.jobs.find("other", {"ref": "U1"}, ALL) == [other]


async def test_a_used_task_uuid_is_rejected_and_nothing_is_stored(store: Store) -> None:
    (job,) = await insert_jobs(store, replace(a_new_job(), task_uuid="u1"))
    duplicate = replace(a_new_job(), task_uuid="u1")

    with pytest.raises(Invalid) as raised:
        await add_jobs(store, [a_new_job(), duplicate], KEY, no_changes)

    assert [error.path for error in raised.value.errors] == ["[1].input.taskUUID"]
    assert await store.jobs.find("acme", {}, ALL) == [job]
    _, changes = await add_jobs(store, [a_new_job()], KEY, no_changes)
    assert changes is not None


async def test_jobs_with_one_reply_url_share_one_subscription(store: Store) -> None:
    replies = [a_subscription(kind="per_job", event_types=()) for _ in range(3)]
    new = [replace(a_new_job(), reply_subscription=reply) for reply in replies]

    jobs = [*await insert_jobs(store, *new[:2]), *await insert_jobs(store, new[2])]

    assert {job.reply_subscription_id for job in jobs} == {replies[0].id}
    assert [job.created_reply_subscription for job in jobs] == [True, False, False]
    assert await store.subscriptions.find("acme", {"kind": "per_job"}, ALL) == [replies[0]]


# Account queues


async def test_each_account_gets_its_oldest_jobs(store: Store) -> None:
    first, second, _ = [await insert_job(store) for _ in range(3)]
    named_account = await insert_job(store, account="useapi:ann@example.com")
    await insert_job(store, status=Status.RUNNING)
    await insert_job(store, status=Status.SUCCEEDED)

    assert await claim(store, limit=1) == [named_account]
    assert await claim(store, limit=3) == [first, second, named_account]


async def test_jobs_that_wait_for_their_own_limit_do_not_hide_those_behind_them(
    store: Store,
) -> None:
    await insert_job(store, status=Status.RUNNING)
    await insert_jobs(store, *(a_new_job(max_jobs=1) for _ in range(150)))
    behind = [await insert_job(store, max_jobs=2), await insert_job(store)]

    assert await claim(store) == behind


async def test_jobs_of_several_limits_are_claimed_in_the_order_of_their_age(store: Store) -> None:
    jobs = [await insert_job(store, max_jobs=most) for most in (9, None, 8, None)]

    assert await claim(store) == jobs
    assert await claim(store, limit=3) == jobs[:3]


async def test_an_admitted_job_is_written_and_leaves_the_queue(store: Store) -> None:
    first, second = [await insert_job(store) for _ in range(2)]

    (admitted,) = await claim(
        store, limit=1, start=lambda job: replace(job, status=Status.SUBMITTING, due_at=LATER)
    )

    assert admitted == replace(first, status=Status.SUBMITTING, due_at=LATER)
    assert await store.jobs.get("acme", first.id) == admitted
    assert await claim(store, limit=1) == []
    assert await claim(store, limit=2) == [second]


async def test_a_job_that_is_due_later_is_not_in_the_queue(store: Store) -> None:
    job = await insert_job(store, due_at=LATER)

    before, after = await claim(store), await claim(store, LATER)

    assert (before, after) == ([], [job])
    assert await store.jobs.next_due(T0) == LATER


@pytest.mark.parametrize("strict", [True, False])
async def test_a_held_account_has_no_slots_if_strict_or_else_those_in_use(
    store: Store, *, strict: bool
) -> None:
    job = await insert_job(store)
    under_way = [
        await insert_job(store, status=status) for status in (Status.RUNNING, Status.SUBMITTED)
    ]

    await change(store, [], write(holds={"useapi": AccountHold(until=LATER, strict=strict)}))
    held = await claim(store)
    await change(store, [under_way[0].ref], update_jobs(status=Status.SUCCEEDED))

    assert held == []
    assert await claim(store) == ([] if strict else [job])
    assert await claim(store, LATER) == [job]
    assert await store.jobs.next_due(T0) == LATER
    assert await store.jobs.next_due(LATER) is None


async def test_the_latest_hold_of_an_account_replaces_the_earlier_one(store: Store) -> None:
    await insert_job(store)
    await change(store, [], write(holds={"useapi": AccountHold(until=LATER + SECOND, strict=True)}))

    await change(store, [], write(holds={"useapi": AccountHold(until=LATER, strict=True)}))

    assert await store.jobs.next_due(T0) == LATER


async def test_a_pause_is_read_with_the_jobs_that_it_may_concern_until_it_ends(
    store: Store,
) -> None:
    pause = a_pause(RefusalScope.CREDITS, retry_at=LATER)
    key, seen = (pause.account, pause.scope), SnapshotRecorder()
    mine = await insert_job(store, account="useapi:ann@example.com")
    other = await insert_job(store, provider="runware", account="runware")
    await change(store, [], write(pauses={key: pause}))

    for job in (mine, other):
        await change(store, [job.ref], seen)
    await change(store, [other.ref], seen, accounts=True)
    paused, due = await store.jobs.account_pauses(), await store.jobs.next_due(T0)
    await change(store, [], write(pauses={key: None}))

    assert [snapshot.pauses for snapshot in seen.snapshots] == [{key: pause}, {}, {key: pause}]
    assert (paused, due) == ([pause], LATER)
    assert (await store.jobs.account_pauses(), await store.jobs.next_due(T0)) == ([], None)


async def test_a_repeated_refusal_changes_the_pause(store: Store) -> None:
    pause = a_pause(RefusalScope.ACCOUNT)
    longer = replace(pause, retry_at=LATER, refusals=2, reason="still no")

    for one in (pause, longer):
        await change(store, [], write(pauses={(one.account, one.scope): one}))

    assert await store.jobs.account_pauses() == [longer]


async def test_jobs_that_wait_for_credits_do_not_hide_those_behind_them(store: Store) -> None:
    pause = a_pause(RefusalScope.CREDITS)
    await insert_jobs(store, *(a_new_job() for _ in range(150)))
    behind = await insert_job(store, uses_credits=False)
    await change(store, [], write(pauses={(pause.account, pause.scope): pause}))

    assert await claim(store) == [behind]


async def test_an_account_is_tried_with_one_job_at_a_time(store: Store) -> None:
    pause = a_pause(RefusalScope.ACCOUNT, retry_at=T0)
    first, second = [await insert_job(store) for _ in range(2)]
    await change(store, [], write(pauses={(pause.account, pause.scope): pause}))

    tried = await claim(
        store, start=lambda job: replace(job, status=Status.SUBMITTING, due_at=LATER)
    )
    meanwhile = await claim(store)
    await change(store, [first.ref], update_jobs(status=Status.SUBMITTED, due_at=None))

    assert [job.id for job in tried] == [first.id]
    assert meanwhile == []
    assert await claim(store) == [second]


async def test_a_job_of_any_account_is_claimed_for_a_linked_one_until_its_slots_are_used(
    store: Store,
) -> None:
    await insert_jobs(store, *(a_new_job(any_account=True) for _ in range(150)))
    await insert_jobs(store, *(a_new_job() for _ in range(150)))
    await store.jobs.put_linked_accounts("useapi", {"ann@example.com": 2, "bob@example.com": 1})

    claimed = await claim(store, limit=0, start=lambda job: admitted(job, T0, LATER))
    again = await claim(store, limit=0)

    accounts = ["useapi:ann@example.com", "useapi:ann@example.com", "useapi:bob@example.com"]
    assert [job.account for job in claimed] == accounts
    assert [(await store.jobs.get("acme", job.id)).account for job in claimed] == accounts
    assert again == []


async def test_accounts_that_are_no_longer_linked_get_no_jobs_and_their_pauses_end(
    store: Store,
) -> None:
    await insert_jobs(store, *(a_new_job(any_account=True) for _ in range(9)))
    ann = a_pause(RefusalScope.ACCOUNT, account="useapi:ann@example.com")
    other = a_pause(RefusalScope.ACCOUNT, account="useapi:typed@example.com")
    await store.jobs.put_linked_accounts("useapi", {"ann@example.com": 2, "bob@example.com": 1})
    pauses = {(pause.account, pause.scope): pause for pause in (ann, other)}
    await change(store, [], write(pauses=pauses))

    await store.jobs.put_linked_accounts("other", {})
    unchanged = await store.jobs.account_pauses()
    await store.jobs.put_linked_accounts("useapi", {"bob@example.com": 2})
    linked = await claim(store, limit=1, start=lambda job: admitted(job, T0, LATER))
    left = await store.jobs.account_pauses()
    await store.jobs.put_linked_accounts("useapi", {})

    assert unchanged == [ann, other]
    assert [job.account for job in linked] == ["useapi:bob@example.com"] * 2
    assert left == [other]
    assert [job.account for job in await claim(store, limit=1)] == ["useapi"]


async def test_a_busy_linked_account_is_held_and_keeps_its_limit(store: Store) -> None:
    account = "useapi:ann@example.com"
    await insert_jobs(store, *(a_new_job(any_account=True) for _ in range(9)))
    await store.jobs.put_linked_accounts("useapi", {"ann@example.com": 3})
    await change(store, [], write(holds={account: AccountHold(until=LATER, strict=True)}))
    await store.jobs.put_linked_accounts("useapi", {"ann@example.com": 2})

    assert await claim(store) == []
    assert len(await claim(store, LATER)) == 2


async def test_a_queued_job_is_checked_after_a_week(store: Store) -> None:
    job = await insert_job(store)

    assert await store.jobs.next_check(LATER) == job.created_at + QUEUE_LIMIT
    assert await store.jobs.next_due(T0) is None


# Leases and checks


async def test_an_unanswered_job_is_claimed_once_per_lease(store: Store) -> None:
    job = await insert_job(store, status=Status.SUBMITTING, due_at=LATER)
    await insert_job(store, status=Status.SUBMITTING, due_at=None)

    before = await store.jobs.claim_unanswered(LATER - 1, LATER)
    claimed = await store.jobs.claim_unanswered(LATER, LATER + LEASE)
    during_lease = await store.jobs.claim_unanswered(LATER, LATER + LEASE)

    assert (before, during_lease) == ([], [])
    assert claimed == [replace(job, due_at=LATER + LEASE)]
    assert await store.jobs.next_due(T0) == LATER + LEASE


async def test_a_job_is_claimed_for_a_check_once_when_the_check_is_due(store: Store) -> None:
    under_way = (Status.SUBMITTING, Status.SUBMITTED, Status.RUNNING)
    jobs = [
        await insert_job(store, status=status, deadline_at=LATER - n)
        for n, status in enumerate(under_way)
    ]
    await insert_job(store, status=Status.SUCCEEDED, deadline_at=T0)
    contradicted = await insert_job(
        store,
        status=Status.SUCCEEDED,
        reconcile_reason=ReconcileReason.SECOND_END,
        reconcile_at=LATER + 1,
    )
    await insert_job(store, status=Status.SUBMITTED, deadline_at=LATER + LEASE)

    assert await store.jobs.next_check(LATER) == LATER - 2
    assert await claim_checks(store, LATER - 2) == jobs[2:]
    assert await claim_checks(store, LATER, 1) == jobs[1:2]
    assert await claim_checks(store, LATER + 1) == [jobs[0], contradicted]
    assert await store.jobs.next_check(LATER) == LATER + LEASE


async def test_the_lease_of_a_check_survives_an_update_of_the_job(store: Store) -> None:
    job = await insert_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (lease,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)

    running = replace(job, status=Status.RUNNING)
    await change(store, [job.ref], write(jobs={job.id: running}))
    during = await store.jobs.claim_checks(LATER + 1, LATER + LEASE, 9)
    next_check = await store.jobs.next_check(LATER + 1)
    after = await claim_checks(store, LATER + LEASE)

    assert lease.job == job
    assert (during, next_check) == ([], None)
    assert [one.id for one in after] == [job.id]


async def test_a_finished_check_ends_its_lease(store: Store) -> None:
    job = await insert_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (lease,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)

    await change(store, [job.ref], write(finished_checks=[lease]))

    assert await claim_checks(store, LATER + 1) == [job]


async def test_a_finished_check_does_not_end_the_lease_of_a_later_claim(store: Store) -> None:
    job = await insert_job(store, status=Status.SUBMITTED, deadline_at=LATER)
    (first,) = await store.jobs.claim_checks(LATER, LATER + LEASE, 9)
    await store.jobs.claim_checks(LATER + LEASE, LATER + 2 * LEASE, 9)

    await change(store, [job.ref], write(finished_checks=[first]))

    assert await claim_checks(store, LATER + LEASE + 1) == []


# Lists


@pytest.mark.parametrize(
    "filters",
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
async def test_jobs_are_found_by_each_filter(store: Store, filters: dict[str, str]) -> None:
    job = await insert_job(
        store,
        provider="runware",
        operation="imageCaption",
        status=Status.RUNNING,
        tags=("sea", "sky"),
        ref="1dd4d0bd-4b8a-4b9f-a2ad-9a3d2d9a0a01",
        reply_ref="the client's",
        provider_task_id="the provider's",
    )
    await insert_job(store, tags=("land",), reply_ref="x", provider_task_id="y")

    assert await store.jobs.find("acme", filters, ALL) == [job]


async def test_all_filters_must_match(store: Store) -> None:
    await insert_job(store, tags=("sea",))

    assert await store.jobs.find("acme", {"tag": "sea", "status": "running"}, ALL) == []


async def test_jobs_are_listed_page_by_page_newest_first(store: Store) -> None:
    jobs = [await insert_job(store) for _ in range(5)]

    first = await store.jobs.find("acme", {}, Page(limit=2))
    second = await store.jobs.find("acme", {}, Page(limit=2, cursor=first[-1].id))
    third = await store.jobs.find("acme", {}, Page(limit=2, cursor=second[-1].id))

    assert first + second + third == jobs[::-1]
    assert len(third) == 1


async def test_inputs_of_unknown_jobs_are_left_out(store: Store) -> None:
    one, two = [await insert_job(store) for _ in range(2)]

    found = await store.jobs.inputs([one.id, two.id, UNKNOWN])

    assert found.keys() == {one.id, two.id}
    assert await store.jobs.inputs([]) == {}
