"""Decides about a job after it was looked up at its provider. No I/O."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job, ReconcileReason, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import apply_reports, ended, reconciled, schedule_poll
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Inconclusive, LookupResult, TaskNotFound

MAX_LOOKUPS: Final = 3
"""Tries of a lookup that the provider does not answer."""
RETRY_PAUSE: Final = 30 * SECOND
"""The pause before the second try of a lookup; the next is four times as long."""
LONGEST_EXTENSION: Final = 3600 * SECOND
NOT_ASKED: Final = Inconclusive(message="the provider was not asked")


class ReconcileResult(msgspec.Struct, frozen=True):
    """The transitions of a job (*steps*), and the *explanation* stored with its callbacks."""

    steps: tuple[Job, ...]
    explanation: str


def reason_of(job: Job) -> ReconcileReason:
    return job.reconcile_reason or ReconcileReason.OVERDUE


def postponed(job: Job, at: int) -> Job | None:
    """Schedule an unanswered lookup again after a growing pause; None after `MAX_LOOKUPS` tries.

    A job that is polled is read again until its deadline.
    """
    if _is_polled(job, at):
        return schedule_poll(job, at)
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
    """Apply what the lookup *found*; if the job has no end then, its reconcile reason decides."""
    reports = () if isinstance(found, TaskNotFound | Inconclusive) else found
    steps = apply_reports(job, reports, at)
    last = steps[-1] if steps else job
    decided = reconciled(last) if last.ended else _decide(last, found, at)
    if decided != last:
        steps = (*steps, decided)
    return ReconcileResult(steps, _explain(found, job, decided))


def _decide(job: Job, found: LookupResult, at: int) -> Job:
    """Decide about a job whose end the provider did not report."""
    known = not isinstance(found, TaskNotFound | Inconclusive)
    if job.reconcile_reason is ReconcileReason.NO_OUTPUT and not known:
        return ended(job, Status.FAILED, _NO_OUTPUT, at)
    if _is_polled(job, at):
        return schedule_poll(job, at)
    if job.reconcile_reason is ReconcileReason.EARLY and job.status is Status.SUBMITTING:
        return replace(job, reconcile_at=at + RETRY_PAUSE)  # without an answer there is no task id
    if job.reconcile_reason not in (None, ReconcileReason.POLL):
        return reconciled(job)
    if known and not job.deadline_extended and job.status is not Status.QUEUED:
        more = min(job.deadline_seconds * SECOND // 2, LONGEST_EXTENSION)
        extended = replace(
            job, deadline_extended=True, deadline_at=at + more, version=job.version + 1
        )
        return schedule_poll(extended, at)
    return ended(job, Status.EXPIRED, _overdue(job, known=known), at)


def _is_polled(job: Job, at: int) -> bool:
    """Whether the lookup was one of many, because the provider has no callbacks."""
    before_deadline = job.deadline_at is None or at < job.deadline_at
    return job.reconcile_reason is ReconcileReason.POLL and before_deadline


_NO_OUTPUT: Final = JobError(
    code=ErrorCode.NO_OUTPUT,
    message="The provider reported success but sent no output.",
    retryable=True,
)


def _overdue(job: Job, *, known: bool) -> JobError:
    """The error of a job that expires; *known*: the provider still knows the task."""
    code, stage = ErrorCode.TIMED_OUT, ErrorStage.TIMEOUT
    if job.status is Status.QUEUED:
        stage = ErrorStage.SUBMIT
        message = "No slot was free at the provider for seven days."
    elif job.status is Status.SUBMITTING:
        code, stage = ErrorCode.SUBMIT_UNKNOWN, ErrorStage.SUBMIT
        message = "It is unknown whether the provider accepted the job, and no callback arrived."
    elif known:
        message = "The provider was still working on the job at the deadline."
    else:
        message = "The provider sent no final status before the deadline."
    if job.received_parts:
        message += f" {len(job.received_parts)} of {job.expected_parts} results were received."
    return JobError(code=code, message=message, retryable=True, stage=stage)


def _explain(found: LookupResult, before: Job, after: Job) -> str:
    """Describe for users what the lookup *found* and what followed from it."""
    if isinstance(found, TaskNotFound):
        result = f"The provider no longer has the task: {found.message}"
    elif isinstance(found, Inconclusive):
        result = f"The lookup had no result: {found.message}"
    else:
        status = next((r.status for r in reversed(found) if r.status is not None), None)
        result = f"The provider reports {status or 'nothing new'}"
    verb = "remains" if after.status is before.status else "is now"
    return f"{result}; the job {verb} {after.status}."
