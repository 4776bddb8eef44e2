"""Jobs in the store: added, moved, claimed for sending, found again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.domain.primitives.errors import FieldError, Invalid
from service.transactions.change_set import ChangeSet, CheckLease, Decide, Snapshot
from service.transactions.slots import AccountQueue
from service.transactions.store_protocols import Idempotency, NewJob, Page, PausedAccount
from store.engine.session import Row, Session
from store.repositories.repository import Repository, topics_of
from store.rows import job_of, job_row, subscription_of, subscription_row
from store.transaction import replies, snapshot, write, write_events

CLAIM_LIMIT: Final = 100
FILTERS: Final = {
    "status": "status = :status",
    "provider": "provider = :provider",
    "operation": "operation = :operation",
    "tag": (
        "EXISTS (SELECT 1 FROM job_tags t"
        " WHERE t.tenant = :tenant AND t.tag = :tag AND t.job_id = id)"
    ),
    "ref": (
        "id IN (SELECT job_id FROM submissions WHERE ref = :ref"
        " UNION SELECT id FROM jobs WHERE tenant = :tenant AND reply_ref = :ref"
        " UNION SELECT id FROM jobs WHERE tenant = :tenant AND provider_task_id = :ref"
        " UNION SELECT job_id FROM task_uuids WHERE tenant = :tenant AND uuid = LOWER(:ref))"
    ),
}
_LISTS: Final = {"ref": "list_jobs_few", "tag": "list_jobs_tagged", "": "list_jobs"}


class JobRepository(Repository):
    async def add_jobs(
        self, new: Sequence[NewJob], key: Idempotency | None, decide: Decide
    ) -> tuple[list[Job], ChangeSet | None]:
        """Store *new* with what *decide* makes of them; None for changes if *key* was there.

        Invalid when *key* was used with another body, or a taskUUID by another job.
        """
        async with self._database.writing() as session:
            if key is not None and not await _first_use(session, key, new):
                return await _replayed(session, key, new[0].job.tenant), None
            await _claim_task_uuids(session, new)
            await session.queue("share_subscriptions")
            jobs = [await _with_reply(session, one) for one in new]
            revision = await session.fetch("revision")
            standing = await self._standing.at(session, revision[0]["revision"])
            replied = await replies(session, jobs)
            by_ref = {job.ref: job for job in jobs}
            changes = decide(Snapshot(jobs=by_ref, permanent=standing, per_job=replied))
            stored = [changes.jobs.get(job.id, job) for job in jobs]
            await _insert(session, stored, new)
            await write_events(session, changes)
            await self._hint(session, topics_of(changes))
        return stored, changes

    async def change(
        self, refs: Sequence[str], decide: Decide, *, accounts: bool = False
    ) -> ChangeSet:
        """Read the jobs of *refs*, let *decide* say what becomes of them, and write that.

        With *accounts* it also reads, and locks, which of these are paused.
        """
        async with self._database.writing() as session:
            found = await snapshot(session, self._standing, refs)
            if accounts:
                await session.queue("lock_claims")
                paused = await session.fetch("accounts_paused")
                found = replace(found, paused_accounts=frozenset(row["account"] for row in paused))
            changes = decide(found)
            await write(session, changes)
            await self._hint(session, topics_of(changes))
        return changes

    async def claim_jobs(
        self, at: int, choose: Callable[[Sequence[AccountQueue]], Sequence[Job]]
    ) -> list[Job]:
        """Let *choose* take jobs from the queues; what it returns is written and handed out."""
        async with self._database.writing() as session:
            await session.queue("lock_claims")
            chosen = list(choose(await _queues(session, at)))
            await session.queue_many("move_job", [job_row(job) for job in chosen])
        return chosen

    async def jobs_in_doubt(self, at: int, lease_until: int) -> list[Job]:
        """Claim the jobs whose sender died before the answer came."""
        async with self._database.writing() as session:
            rows = await session.fetch("jobs_in_doubt", at=at, limit=CLAIM_LIMIT)
            jobs = [replace(job_of(row), due_at=lease_until) for row in rows]
            await session.queue_many("move_job", [job_row(job) for job in jobs])
        return jobs

    async def claim_checks(self, at: int, lease_until: int, limit: int) -> list[CheckLease]:
        """Lease jobs that must be looked at; they are due again when the lease ends."""
        async with self._database.writing() as session:
            rows = await session.fetch("claim_checks", at=at, lease_until=lease_until, limit=limit)
        return [CheckLease(job=job_of(row), lease_until=lease_until) for row in rows]

    async def paused(self) -> list[PausedAccount]:
        async with self._database.reading() as session:
            return [PausedAccount(**row) for row in await session.fetch("accounts_paused")]

    async def next_job_due(self, at: int) -> int | None:
        """When the submitter has something to do that no event wakes it for."""
        moments = [await self._moment("next_job_due"), await self._moment("next_hold_end", at=at)]
        return min((moment for moment in moments if moment is not None), default=None)

    async def next_check(self, at: int) -> int | None:
        return await self._moment("next_check", at=at)

    async def ended_among(self, job_ids: Sequence[str]) -> list[str]:
        async with self._database.reading() as session:
            return [row["id"] for row in await session.fetch("ended_among", jobs=list(job_ids))]

    async def job(self, tenant: str, job_id: str) -> Job:
        return job_of(await self._one("job", "job", tenant=tenant, id=job_id))

    async def jobs_by_id(self, tenant: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of *job_ids* that are there."""
        async with self._database.reading() as session:
            rows = await session.fetch("jobs_by_id", tenant=tenant, jobs=list(job_ids))
        return {row["id"]: job_of(row) for row in rows}

    async def jobs(self, tenant: str, wanted: Mapping[str, str], page: Page) -> list[Job]:
        rows = await self._list(_LISTS, FILTERS, wanted, page, tenant=tenant)
        return [job_of(row) for row in rows]

    async def inputs(self, job_ids: Sequence[str]) -> dict[str, bytes]:
        async with self._database.reading() as session:
            rows = await session.fetch("inputs", jobs=list(job_ids))
        return {row["job_id"]: row["input"].encode() for row in rows}

    async def last_body(self, job_id: str) -> bytes | None:
        """The provider's own last word on a job, raw: its latest callback, or else its answer."""
        async with self._database.reading() as session:
            if rows := await session.fetch("last_callback", job_id=job_id):
                return bytes(rows[0]["body"])
            rows = await session.fetch("last_answer", job_id=job_id)
        return bytes(rows[0]["answer"]) if rows else None


async def _first_use(session: Session, key: Idempotency, new: Sequence[NewJob]) -> bool:
    ids = msgspec.json.encode([one.job.id for one in new]).decode()
    job = new[0].job
    added = await session.fetch(
        "add_idempotency",
        tenant=job.tenant,
        name=key.name,
        digest=key.digest,
        job_ids=ids,
        created_at=job.created_at,
    )
    return len(added) == 1


async def _replayed(session: Session, key: Idempotency, tenant: str) -> list[Job]:
    used = (await session.fetch("idempotency", tenant=tenant, name=key.name))[0]
    if used["digest"] != key.digest:
        error = FieldError("Idempotency-Key", "came with another body before; make a new key")
        raise Invalid([error], code="idempotency_reused")
    ids = msgspec.json.decode(used["job_ids"], type=list[str])
    rows = await session.fetch("jobs_by_id", tenant=tenant, jobs=ids)
    found = {row["id"]: job_of(row) for row in rows}
    return [found[job_id] for job_id in ids if job_id in found]


async def _claim_task_uuids(session: Session, new: Sequence[NewJob]) -> None:
    """Keep the clients' taskUUIDs; Invalid names each that another job of the tenant has."""
    tenant, ids = new[0].job.tenant, [one.job.id for one in new]
    given = [(n, one.job.id, one.task_uuid) for n, one in enumerate(new) if one.task_uuid]
    if not given:
        return
    rows = [{"tenant": tenant, "uuid": uuid, "job_id": job_id} for _, job_id, uuid in given]
    await session.queue_many("add_task_uuid", rows)
    uuids = [uuid for _, _, uuid in given]
    found = await session.fetch("conflicting_task_uuids", tenant=tenant, uuids=uuids, jobs=ids)
    if taken := {row["uuid"] for row in found}:
        raise Invalid(
            [
                FieldError(
                    _at(n, len(new), "input.taskUUID"), "has been used before; make a new UUIDv4"
                )
                for n, _, uuid in given
                if uuid in taken
            ]
        )


def _at(position: int, count: int, path: str) -> str:
    return path if count == 1 else f"[{position}].{path}"


async def _with_reply(session: Session, one: NewJob) -> Job:
    """Point the job at the subscription of its reply URL, which is made if it is new."""
    if one.reply_subscription is None:
        return one.job
    where = {"tenant": one.reply_subscription.tenant, "url": one.reply_subscription.url}
    rows = await session.fetch("reply_subscription", **where)
    if not rows:
        await session.queue("add_reply_subscription", **subscription_row(one.reply_subscription))
        rows = await session.fetch("reply_subscription", **where)
    return replace(one.job, reply_to=subscription_of(rows[0]).id)


async def _insert(session: Session, jobs: Sequence[Job], new: Sequence[NewJob]) -> None:
    await session.queue_many("add_job", [job_row(job) for job in jobs])
    await session.queue_many(
        "add_submission",
        [{"ref": job.ref, "job_id": job.id, "created_at": job.created_at} for job in jobs],
    )
    await session.queue_many(
        "add_input", [{"job_id": one.job.id, "input": one.input.decode()} for one in new]
    )
    tags = [{"tenant": j.tenant, "tag": tag, "job_id": j.id} for j in jobs for tag in j.tags]
    if tags:
        await session.queue_many("add_tag", tags)


async def _queues(session: Session, at: int) -> list[AccountQueue]:
    waiting = [row["account"] for row in await session.fetch("accounts_waiting")]
    if not waiting:
        return []
    under_way = {row["account"]: row for row in await session.fetch("jobs_under_way")}
    held = {row["account"]: row for row in await session.fetch("accounts_held", at=at)}
    queues = []
    for account in waiting:
        rows = await session.fetch("jobs_queued", account=account, at=at, limit=CLAIM_LIMIT)
        jobs = [job_of(row) for row in rows]
        queues.append(_queue(account, under_way.get(account), held.get(account), jobs))
    return queues


def _queue(
    account: str, under_way: Row | None, held: Row | None, jobs: Sequence[Job]
) -> AccountQueue:
    return AccountQueue(
        account=account,
        used=under_way["used"] if under_way else 0,
        sending=under_way["sending"] if under_way else 0,
        slots=held["slots"] if held else None,
        paused=held is not None and held["paused_for"] is not None,
        jobs=jobs,
    )
