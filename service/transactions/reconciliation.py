"""Doubts: what becomes of a job once its provider was asked about it. No I/O in here."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job, ReconcileReason, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import apply_report, ended, reconciled
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Inconclusive, LookupResult, TaskNotFound

MAX_LOOKUPS: Final = 3
"""How often a read that the provider did not answer is tried."""
RETRY_PAUSE: Final = 30 * SECOND
LONGEST_EXTENSION: Final = 3600 * SECOND
NOT_ASKED: Final = Inconclusive(message="the provider was not asked")


class ReconcileResult(msgspec.Struct, frozen=True):
    """The *steps* a job takes, and what is to be said of the callbacks that raised the doubt."""

    steps: tuple[Job, ...]
    explanation: str


def reason_of(job: Job) -> ReconcileReason:
    return job.reconcile_reason or ReconcileReason.OVERDUE


def postponed(job: Job, at: int) -> Job | None:
    """Have an unanswered read made again, later each time; None when it was tried often enough."""
    if job.failed_lookups + 1 >= MAX_LOOKUPS:
        return None
    pause = RETRY_PAUSE * 4**job.failed_lookups
    return replace(
        job,
        reconcile_reason=reason_of(job),
        reconcile_at=at + pause,
        failed_lookups=job.failed_lookups + 1,
    )


def reconcile(job: Job, found: LookupResult, at: int) -> ReconcileResult:
    """Take in what the provider said; what is still open then is decided by why it was asked."""
    reports = () if isinstance(found, TaskNotFound | Inconclusive) else found
    steps: list[Job] = []
    for report in reports:
        moved = apply_report(steps[-1] if steps else job, report, at)
        if moved is not None:
            steps.append(moved)
    last = steps[-1] if steps else job
    decided = reconciled(last) if last.ended else _decided(last, found, at)
    words = _words(found, job, decided)
    return ReconcileResult((*steps, decided) if decided != last else tuple(steps), words)


def _decided(job: Job, found: LookupResult, at: int) -> Job:
    """Decide for a job of which no end is known."""
    known = not isinstance(found, TaskNotFound | Inconclusive)
    if job.reconcile_reason is ReconcileReason.NO_OUTPUT and not known:
        return ended(job, Status.FAILED, _NO_OUTPUT, at)
    if job.reconcile_reason is not None:
        return reconciled(job)
    if known and not job.deadline_extended and job.status is not Status.QUEUED:
        return _extended(job, at)
    return ended(job, Status.EXPIRED, _overdue(job, known=known), at)


def _extended(job: Job, at: int) -> Job:
    """It is still at work: the deadline moves once, by half as much again, an hour at most."""
    more = min(job.deadline_seconds * SECOND // 2, LONGEST_EXTENSION)
    return replace(job, deadline_extended=True, deadline_at=at + more, version=job.version + 1)


_NO_OUTPUT: Final = JobError(
    code=ErrorCode.NO_OUTPUT,
    message="The provider said that it is done, and brought nothing.",
    retryable=True,
)


def _overdue(job: Job, *, known: bool) -> JobError:
    stage = (
        ErrorStage.SUBMIT
        if job.status in (Status.QUEUED, Status.SUBMITTING)
        else ErrorStage.TIMEOUT
    )
    lost = job.status is Status.SUBMITTING
    return JobError(
        code=ErrorCode.SUBMIT_UNKNOWN if lost else ErrorCode.TIMED_OUT,
        message=_why(job, known=known) + _parts(job),
        retryable=True,
        stage=stage,
    )


def _why(job: Job, *, known: bool) -> str:
    if job.status is Status.QUEUED:
        return "No slot was free at its provider for seven days."
    if job.status is Status.SUBMITTING:
        return "It is not known whether the provider took the job, and no callback came."
    if known:
        return "The provider was still at work when the deadline was over."
    return "The provider was not heard of until the deadline."


def _parts(job: Job) -> str:
    return (
        f" {len(job.received_parts)} of {job.expected_parts} results are in."
        if job.received_parts
        else ""
    )


def _words(found: LookupResult, before: Job, after: Job) -> str:
    if isinstance(found, TaskNotFound):
        said = f"The provider no longer knows the task: {found.message}"
    elif isinstance(found, Inconclusive):
        said = f"Asking settled nothing: {found.message}"
    else:
        told = next((r.status for r in reversed(found) if r.status is not None), None)
        said = f"The provider says {told or 'nothing new'}"
    stays = "stays" if after.status is before.status else "is now"
    return f"{said}; the job {stays} {after.status}."
