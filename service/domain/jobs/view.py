"""The job as users see it: over HTTP, and inside every event."""

from typing import Any

import msgspec

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import JobError, Output
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class Progress(msgspec.Struct, frozen=True):
    """How far a job is: *ratio* from 0 to 1."""

    ratio: float | None
    text: str | None


class Cancellation(msgspec.Struct, frozen=True):
    """Whether the provider was told, and what that means."""

    message: str
    provider_told: bool = False


class JobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A job as users see it."""

    id: str
    object: str = "job"
    provider: str
    operation: str
    status: Status
    progress: Progress
    provider_status: str | None
    provider_task_id: str | None
    ref: str
    reply_ref: str | None
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output: Output | None
    error: JobError | None
    cost_usd: float | None
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    version: int
    created_at: str
    submitted_at: str | None
    finished_at: str | None
    deadline_at: str | None
    raw: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    cancellation: Cancellation | msgspec.UnsetType = msgspec.UNSET


def cancellation(before: Job) -> Cancellation:
    """Tell the truth of a cancel: no provider offers one that stops the work or the bill."""
    if before.status is Status.QUEUED:
        return Cancellation("It had not been sent: nothing was begun and nothing is owed.")
    return Cancellation(
        "The provider was not told, because it cannot stop a task: it may finish and bill it. "
        "Its result will be kept with the job, and nobody will be notified.",
    )


def render_job(job: Job) -> JobView:
    """Show *job* without its input, as events carry it."""
    return JobView(
        id=job.id,
        provider=job.provider,
        operation=job.operation,
        status=job.status,
        progress=Progress(job.progress, job.progress_text),
        provider_status=job.provider_status,
        provider_task_id=job.provider_task_id,
        ref=job.ref,
        reply_ref=job.reply_ref,
        output=job.output,
        error=job.error,
        cost_usd=job.cost_usd,
        metadata=job.metadata,
        tags=job.tags,
        version=job.version,
        created_at=rfc3339(job.created_at),
        submitted_at=rfc3339_or_none(job.submitted_at),
        finished_at=rfc3339_or_none(job.finished_at),
        deadline_at=rfc3339_or_none(job.deadline_at),
    )
