"""The public form of a job: in the HTTP API and in every job event."""

from typing import Any

import msgspec

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import JobError, Output
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class Progress(msgspec.Struct, frozen=True):
    """The progress of a job: *ratio* from 0 to 1, and the provider's own *text*."""

    ratio: float | None
    text: str | None


class Cancellation(msgspec.Struct, frozen=True):
    """Whether the provider was told about the cancel, and what that means for its work and bill."""

    message: str
    provider_told: bool = False


class JobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A job; times are RFC 3339 in UTC. *raw* is the provider's last body, if it was requested.

    *provider_info* are facts that only its provider reports, by the provider's own names; at most
    4 KiB as JSON.

    *reply_subscription_id* is the subscription of its reply URL, which all jobs of the tenant with
    that URL share. *reply_secret* signs the webhooks to it: only the response to the submit that
    created the subscription contains it, and a repetition with the same `Idempotency-Key`.
    """

    id: str
    object: str = "job"
    provider: str
    operation: str
    status: Status
    progress: Progress
    provider_status: str | None
    provider_task_id: str | None
    provider_info: dict[str, Any] | None
    ref: str
    reply_ref: str | None
    reply_subscription_id: str | None
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
    reply_secret: str | msgspec.UnsetType = msgspec.UNSET


def cancellation(before: Job) -> Cancellation:
    """Explain the cancel of *before*: no provider can stop a task or avoid its cost."""
    if before.status is Status.QUEUED:
        return Cancellation("The job had not been sent to the provider; it costs nothing.")
    return Cancellation(
        "The provider was not told, because it cannot stop a task: it may finish and bill it. "
        "A result that still arrives is stored with the job, without an event.",
    )


def render_job(job: Job) -> JobView:
    """Render *job* as in an event: without input, raw body, cancellation and secret."""
    return JobView(
        id=job.id,
        provider=job.provider,
        operation=job.operation,
        status=job.status,
        progress=Progress(job.progress, job.progress_text),
        provider_status=job.provider_status,
        provider_task_id=job.provider_task_id,
        provider_info=job.provider_info,
        ref=job.ref,
        reply_ref=job.reply_ref,
        reply_subscription_id=job.reply_subscription_id,
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
