"""Jobs: claimed for sending and checking, and found again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.transactions.change_set import CheckLease
from service.transactions.slots import (
    AccountPause,
    AccountUse,
    Admission,
    JobQueue,
    SlotRules,
    Slots,
)
from service.transactions.store_protocols import Filters, Page
from store.engine.session import Session
from store.repositories.repository import Repository
from store.rows import decode_job, decode_pause, decode_queue, encode_job, encode_queue

CLAIM_LIMIT: Final = 100


class JobRepository(Repository):
    async def claim(self, at: int, rules: SlotRules, start: Callable[[Job], Job]) -> Admission:
        async with self._database.writing() as session:
            await session.queue("lock_accounts")
            queues = [decode_queue(row) for row in await session.fetch("queues_waiting")]
            use = await _account_use(session, at) if queues else AccountUse()
            slots = Slots(rules, use, at)
            queued: list[Job] = []
            for queue in queues:
                if free := slots.free(queue):
                    queued += await _oldest_jobs(session, queue, at, min(free, CLAIM_LIMIT))
            admitted = slots.admit(sorted(queued, key=lambda job: job.id))
            jobs = [start(job) for job in admitted]
            await session.queue_many("update_job", map(encode_job, jobs))
        return Admission(jobs=jobs, waiting=bool(queues))

    async def put_linked_accounts(self, provider: str, limits: Mapping[str, int]) -> None:
        prefix = f"{provider}:"
        accounts = {prefix + suffix: limit for suffix, limit in limits.items()}
        others = {"prefix": prefix, "accounts": list(accounts)}
        rows = [{"account": one, "max_jobs": limit} for one, limit in sorted(accounts.items())]
        async with self._database.writing() as session:
            await session.queue("lock_accounts")
            await session.queue("delete_unlinked_pauses", **others)
            await session.queue("unlink_accounts", **others)
            await session.queue_many("put_linked_account", rows)

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

    async def account_pauses(self) -> list[AccountPause]:
        async with self._database.reading() as session:
            return [decode_pause(row) for row in await session.fetch("account_pauses")]

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


async def _account_use(session: Session, at: int) -> AccountUse:
    found = await session.fetch_all(jobs_under_way={}, account_limits={"at": at}, account_pauses={})
    limits = found["account_limits"]
    use = AccountUse(
        held={row["account"]: row["slots"] for row in limits if row["slots"] is not None},
        linked={row["account"]: row["max_jobs"] for row in limits if row["max_jobs"] is not None},
        pauses=[decode_pause(row) for row in found["account_pauses"]],
    )
    for row in found["jobs_under_way"]:
        queue = decode_queue(row)
        use.used[queue.account] += row["used"]
        use.sending[queue] += row["sending"]
    return use


async def _oldest_jobs(session: Session, queue: JobQueue, at: int, limit: int) -> list[Job]:
    rows = await session.fetch("jobs_queued", queue=encode_queue(queue), at=at, limit=limit)
    return [decode_job(row) for row in rows]
