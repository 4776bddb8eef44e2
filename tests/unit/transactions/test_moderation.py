"""The warning about moderated jobs: counted in the store, told to the operator's tenant once."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorCode, JobError
from service.domain.jobs.state_machine import ended, retried
from service.domain.primitives.timestamps import SECOND
from service.transactions.change_set import ChangeSet, Submission
from service.transactions.store_protocols import Store
from service.transactions.unit_of_work import OnCommit, Transactions
from store import open_store
from tests.support.factories import IDS, NO_QUEUES, T0, Clock, a_new_job
from tests.support.service_harness import Json
from tests.support.store_steps import ALL

pytestmark = pytest.mark.anyio
KIND = "provider.moderation_warning"
MODERATED = JobError(code=ErrorCode.MODERATED, message="Text prompt did not pass moderation")


class Ticking(Clock):
    """Every transaction has its own time."""

    def __call__(self) -> int:
        self.at += 1
        return self.at


def transactions_of(
    store: Store, *on_commit: OnCommit, limit: float | None = 0.1, at: int = T0
) -> Transactions:
    return Transactions(
        store, Ticking(at), IDS.new_id, NO_QUEUES, on_commit, moderation_limit=limit
    )


async def add_jobs(transactions: Transactions, count: int, account: str) -> Sequence[Job]:
    new = [a_new_job(account=account) for _ in range(count)]
    jobs, _ = await transactions.add_jobs(new, None)
    return jobs


async def end(transactions: Transactions, job: Job, error: JobError | None = MODERATED) -> None:
    async with transactions.begin([job.ref]) as uow:
        now = uow.job(job.ref)
        assert now is not None
        status = Status.SUCCEEDED if error is None else Status.FAILED
        uow.transition(now, ended(now, status, error, uow.at))


async def end_jobs(
    transactions: Transactions, moderated: int, others: int = 0, account: str = "useapi"
) -> Sequence[Job]:
    """End new jobs one after the other, the moderated ones last; returns these."""
    jobs = await add_jobs(transactions, moderated + others, account)
    for job in jobs[:others]:
        await end(transactions, job, None)
    for job in jobs[others:]:
        await end(transactions, job)
    return jobs[others:]


async def warnings(store: Store, tenant: str = "default") -> list[Json]:
    events = await store.events.find(tenant, {}, ALL)
    return [msgspec.json.decode(one.payload)["data"] for one in events if one.type == KIND]


async def test_the_operator_is_told_once_which_job_passed_the_limit(store: Store) -> None:
    transactions = transactions_of(store)

    jobs = await end_jobs(transactions, moderated=5, others=18)

    expected = {"provider": "useapi", "share": 0.1429, "window": 21, "job": jobs[2].id}
    assert await warnings(store) == [expected]
    assert await warnings(store, "acme") == []


async def test_without_a_limit_nobody_is_told(store: Store) -> None:
    await end_jobs(transactions_of(store, limit=None), moderated=25)

    assert await warnings(store) == []


async def test_each_account_is_counted_on_its_own(store: Store) -> None:
    transactions = transactions_of(store)

    await end_jobs(transactions, moderated=15, account="useapi:ann@example.com")
    await end_jobs(transactions, moderated=15, account="useapi:bob@example.com")

    assert await warnings(store) == []


async def test_jobs_that_end_in_one_transaction_count_once_each(store: Store) -> None:
    transactions = transactions_of(store)
    await end_jobs(transactions, moderated=0, others=17)
    jobs = await add_jobs(transactions, 4, "useapi")

    async with transactions.begin([job.ref for job in jobs]) as uow:
        for job in jobs:
            uow.transition(job, ended(job, Status.FAILED, MODERATED, uow.at))

    assert await warnings(store) == [
        {"provider": "useapi", "share": 0.15, "window": 20, "job": jobs[2].id}
    ]


async def test_only_accounts_with_a_moderated_job_are_counted(store: Store) -> None:
    committed: list[ChangeSet] = []
    transactions = transactions_of(store, committed.append)
    (moderated,) = await add_jobs(transactions, 1, "useapi")
    (other,) = await add_jobs(transactions, 1, "runware")

    async with transactions.begin([moderated.ref, other.ref]) as uow:
        uow.transition(moderated, ended(moderated, Status.FAILED, MODERATED, uow.at))
        uow.transition(other, ended(other, Status.SUCCEEDED, None, uow.at))

    assert committed[-1].moderation_warned == {"useapi": False}


async def test_a_job_that_is_submitted_again_counts_with_its_latest_end(store: Store) -> None:
    transactions = transactions_of(store)
    (job,) = await end_jobs(transactions, moderated=1, others=18)

    for _ in range(3):
        async with transactions.begin([job.ref]) as uow:
            now = uow.job(job.ref)
            assert now is not None
            new_ref = IDS.new_ref()
            submission = Submission(ref=new_ref, job_id=now.id, created_at=uow.at)
            uow.changes.submissions.append(submission)
            job = uow.transition(now, retried(now, new_ref, uow.at))
        await end(transactions, job)

    assert await warnings(store) == []


async def test_a_restart_neither_forgets_the_jobs_nor_repeats_the_warning(
    database_url: str,
) -> None:
    counts = []
    for n, (moderated, others) in enumerate(((2, 18), (1, 0), (1, 0))):
        store = await open_store(database_url, T0)
        await end_jobs(transactions_of(store, at=T0 + n * SECOND), moderated, others)
        counts.append(len(await warnings(store)))
        await store.close()

    assert counts == [0, 1, 1]


async def test_there_is_a_new_warning_after_the_share_has_fallen_below_half(store: Store) -> None:
    transactions = transactions_of(store)
    await end_jobs(transactions, moderated=3, others=17)
    await end_jobs(transactions, moderated=1, others=80)
    before = len(await warnings(store))

    await end_jobs(transactions, moderated=10)

    assert (before, len(await warnings(store))) == (1, 2)


async def test_two_processes_tell_once(stores: tuple[Store, Store]) -> None:
    both = [transactions_of(store) for store in stores]
    await end_jobs(both[0], moderated=0, others=17)
    jobs = await add_jobs(both[0], 10, "useapi")

    await asyncio.gather(*(end(both[n % 2], job) for n, job in enumerate(jobs)))

    assert [one["window"] for one in await warnings(stores[0])] == [20]


async def test_nothing_is_counted_unless_a_job_is_moderated(store: Store) -> None:
    committed: list[ChangeSet] = []

    await end_jobs(transactions_of(store, committed.append), moderated=1, others=2)

    _, *ends = committed
    assert [changes.moderation_warned for changes in ends] == [{}, {}, {"useapi": False}]
