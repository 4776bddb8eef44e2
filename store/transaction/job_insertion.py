"""Inserting jobs, with their idempotency keys, taskUUIDs and reply URLs."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.domain.primitives.errors import FieldError, Invalid
from service.transactions.store_protocols import Idempotency, NewJob
from store.engine.session import Session
from store.rows import decode_job, decode_subscription, encode_job, encode_subscription


async def claim_key(session: Session, key: Idempotency, new: Sequence[NewJob]) -> list[Job] | None:
    """Store *key* for *new*; if it is taken, return the jobs of its first request.

    Invalid if that request had another body.
    """
    job = new[0].job
    job_ids = msgspec.json.encode([one.job.id for one in new]).decode()
    inserted = await session.fetch(
        "add_idempotency",
        tenant=job.tenant,
        name=key.name,
        digest=key.digest,
        job_ids=job_ids,
        created_at=job.created_at,
    )
    if inserted:
        return None
    first = (await session.fetch("idempotency", tenant=job.tenant, name=key.name))[0]
    if first["digest"] != key.digest:
        error = FieldError("Idempotency-Key", "was used with another body; use a new key")
        raise Invalid([error], code="idempotency_reused")
    ids = msgspec.json.decode(first["job_ids"], type=list[str])
    rows = await session.fetch("jobs_by_id", tenant=job.tenant, jobs=ids)
    found = {row["id"]: decode_job(row) for row in rows}
    return [found[job_id] for job_id in ids if job_id in found]


async def claim_task_uuids(session: Session, new: Sequence[NewJob]) -> None:
    """Store the clients' taskUUIDs; Invalid names each that another job of the tenant has."""
    tenant = new[0].job.tenant
    rows = [
        {"tenant": tenant, "uuid": one.task_uuid, "job_id": one.job.id}
        for one in new
        if one.task_uuid
    ]
    if not rows:
        return
    await session.queue_many("add_task_uuid", rows)
    conflicts = await session.fetch(
        "conflicting_task_uuids",
        tenant=tenant,
        uuids=[row["uuid"] for row in rows],
        jobs=[one.job.id for one in new],
    )
    taken = {row["uuid"] for row in conflicts}
    errors = [
        FieldError(
            "input.taskUUID" if len(new) == 1 else f"[{n}].input.taskUUID",
            "was used before; use a new UUIDv4",
        )
        for n, one in enumerate(new)
        if one.task_uuid in taken
    ]
    if errors:
        raise Invalid(errors)


async def with_reply_subscription(session: Session, new: NewJob) -> Job:
    """The job with the id of its reply URL's subscription, which is inserted if it is new."""
    reply = new.reply_subscription
    if reply is None:
        return new.job
    rows = await session.fetch("reply_subscription", tenant=reply.tenant, url=reply.url)
    if not rows:
        await session.queue("add_reply_subscription", **encode_subscription(reply))
        rows = await session.fetch("reply_subscription", tenant=reply.tenant, url=reply.url)
    stored = decode_subscription(rows[0])
    return replace(
        new.job,
        reply_subscription_id=stored.id,
        created_reply_subscription=stored.id == reply.id,
    )


async def write_new_jobs(session: Session, jobs: Sequence[Job], new: Sequence[NewJob]) -> None:
    """Insert *jobs*, with the inputs of *new*."""
    submissions = [{"ref": job.ref, "job_id": job.id, "created_at": job.created_at} for job in jobs]
    inputs = [{"job_id": one.job.id, "input": one.input.decode()} for one in new]
    tags = [
        {"tenant": job.tenant, "tag": tag, "job_id": job.id} for job in jobs for tag in job.tags
    ]
    await session.queue_many("add_job", map(encode_job, jobs))
    await session.queue_many("add_submission", submissions)
    await session.queue_many("add_input", inputs)
    if tags:
        await session.queue_many("add_tag", tags)
