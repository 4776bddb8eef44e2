"""Jobs: claimed for sending and checking, and found again."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.transactions.change_set import CheckLease
from service.transactions.slots import AccountQueue, Admission
from service.transactions.store_protocols import Filters, Page, PausedAccount
from store.engine.session import Session
from store.repositories.repository import Repository
from store.rows import decode, decode_job, encode_job

CLAIM_LIMIT: Final = 100


class JobRepository(Repository):
    async def claim(
        self, at: int, admit: Callable[[Sequence[AccountQueue]], Admission]
    ) -> Admission:
        async with self._database.writing() as session:
            await session.queue("lock_accounts")
            admission = admit(await _account_queues(session, at))
            await session.queue_many("update_job", map(encode_job, admission.jobs))
        return admission

    async def claim_unanswered(self, at: int, lease_until: int) -> list[Job]:
        async with self._database.writing() as session:
            rows = await session.fetch("unanswered_jobs", at=at, limit=CLAIM_LIMIT)
            jobs = [replace(decode_job(row), due_at=lease_until) for row in rows]
            await session.queue_many("update_job", map(encode_job, jobs))
        return jobs

    async def claim_checks(self, at: int, lease_until: int, limit: int) -> list[CheckLease]:
        async with self._database.writing() as session:
            rows = await session.fetch("claim_checks", at=at, lease_until=lease_until, limit=limit)
        return [CheckLease(job=decode_job(row), lease_until=lease_until) for row in rows]

    async def next_due(self, at: int) -> int | None:
        moments = [
            await self._fetch_time("next_job_due"),
            await self._fetch_time("next_hold_end", at=at),
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    async def next_check(self, at: int) -> int | None:
        return await self._fetch_time("next_check", at=at)

    async def paused_accounts(self) -> list[PausedAccount]:
        async with self._database.reading() as session:
            rows = await session.fetch("accounts_paused")
        return [decode(row, PausedAccount) for row in rows]

    async def ended(self, job_ids: Sequence[str]) -> list[str]:
        async with self._database.reading() as session:
            return [row["id"] for row in await session.fetch("ended_jobs", jobs=list(job_ids))]

    async def get(self, tenant: str, job_id: str) -> Job:
        return decode_job(await self._fetch_one("job", "job", tenant=tenant, id=job_id))

    async def get_many(self, tenant: str, job_ids: Sequence[str]) -> dict[str, Job]:
        async with self._database.reading() as session:
            rows = await session.fetch("jobs_by_id", tenant=tenant, jobs=list(job_ids))
        return {row["id"]: decode_job(row) for row in rows}

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Job]:
        query = "list_jobs"
        if "ref" in filters:
            query = "list_jobs_selective"
        elif "tag" in filters:
            query = "list_jobs_tagged"
        rows = await self._list(query, filters, page, tenant=tenant)
        return [decode_job(row) for row in rows]

    async def refs_of_tasks(self, provider: str, task_ids: Sequence[str]) -> list[str]:
        if not task_ids:
            return []
        async with self._database.reading() as session:
            rows = await session.fetch("jobs_of_tasks", provider=provider, task_ids=list(task_ids))
        return [decode_job(row).ref for row in rows]

    async def unanswered_refs(self, provider: str) -> list[str]:
        async with self._database.reading() as session:
            rows = await session.fetch("jobs_submitting", provider=provider, limit=CLAIM_LIMIT)
        return [decode_job(row).ref for row in rows]

    async def inputs(self, job_ids: Sequence[str]) -> dict[str, bytes]:
        async with self._database.reading() as session:
            rows = await session.fetch("inputs", jobs=list(job_ids))
        return {row["job_id"]: row["input"].encode() for row in rows}

    async def last_body(self, job_id: str) -> bytes | None:
        async with self._database.reading() as session:
            if rows := await session.fetch("last_callback", job_id=job_id):
                return bytes(rows[0]["body"])
            rows = await session.fetch("last_response", job_id=job_id)
        return bytes(rows[0]["response"]) if rows else None


async def _account_queues(session: Session, at: int) -> list[AccountQueue]:
    """The accounts with queued jobs, and how many of their slots are used."""
    accounts = [row["account"] for row in await session.fetch("accounts_waiting")]
    if not accounts:
        return []
    found = await session.fetch_all(jobs_under_way={}, accounts_held={"at": at})
    under_way = {row["account"]: row for row in found["jobs_under_way"]}
    held = {row["account"]: row for row in found["accounts_held"]}
    queues = []
    for account in accounts:
        rows = await session.fetch("jobs_queued", account=account, at=at, limit=CLAIM_LIMIT)
        used, hold = under_way.get(account), held.get(account)
        queues.append(
            AccountQueue(
                account=account,
                used=used["used"] if used else 0,
                sending=used["sending"] if used else 0,
                slots=hold["slots"] if hold else None,
                paused=hold is not None and hold["paused_for"] is not None,
                jobs=[decode_job(row) for row in rows],
            )
        )
    return queues
