"""Our own moves of a job: taken in hand, put back, doubted, begun anew. No I/O in here."""

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.jobs import Job, Reason, Status, ended
from service.times import SECOND

_FRESH: Final[dict[str, Any]] = {
    field.name: field.default
    for field in msgspec.structs.fields(Job)
    if field.name
    in {
        *("batch", "provider_task_id", "provider_status", "progress", "progress_text", "seen"),
        *("output", "error", "cost_usd", "tries", "lost", "due_at", "doubt", "doubt_at", "reads"),
        *("asked", "extended", "submitted_at", "finished_at", "deadline_at"),
    }
}
"""What a new submission begins with, whatever the old one brought."""


RETRYABLE: Final = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELED})


def doubted(job: Job, reason: Reason, at: int) -> Job:
    """Have the provider asked about *job* at *at*, unless it is to be asked before."""
    if job.doubt_at is not None and job.doubt_at <= at:
        return job
    return replace(job, doubt=reason, doubt_at=at, reads=0)


def cleared(job: Job) -> Job:
    """End the doubt, however it was settled."""
    if job.doubt is None:
        return job
    return replace(job, doubt=None, doubt_at=None, reads=0, asked=job.asked + 1)


def retried(job: Job, ref: str, at: int) -> Job:
    """Begin *job* anew under the new *ref*; what the old submission brings no longer counts."""
    return replace(
        job,
        ref=ref,
        status=Status.QUEUED,
        **_FRESH,
        queued_at=at,
        version=job.version + 1,
    )


def canceled(job: Job, at: int) -> Job:
    """Call *job* off; what its provider still brings is kept, and tells nobody."""
    return ended(job, Status.CANCELED, None, at)


def admitted(job: Job, at: int, lease_until: int) -> Job:
    """Take a queued job in hand: it is `submitting` until the answer is in."""
    return replace(
        job,
        status=Status.SUBMITTING,
        tries=job.tries + 1,
        due_at=lease_until,
        deadline_at=at + job.deadline_seconds * SECOND,
        version=job.version + 1,
    )


def requeued(job: Job) -> Job:
    """Put a job that its provider did not take back into the queue."""
    return replace(
        job, status=Status.QUEUED, due_at=None, deadline_at=None, version=job.version + 1
    )
