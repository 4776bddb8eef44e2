"""Every transition of a job: by a provider's report, by this service, by the user."""

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import ENDS, RANK, Job, ReconcileReason, Report, Status
from service.domain.jobs.results import JobError, Output, merge_results
from service.domain.primitives.timestamps import SECOND


def apply_report(job: Job, report: Report, at: int) -> Job | None:
    """Take *report* into *job*; None when it says nothing new.

    Late, repeated and shuffled reports change nothing. The one end that gives way is our own
    verdict `expired`, which a provider's later end replaces; a job that was canceled keeps what
    comes later without ending again.
    """
    if job.status is Status.CANCELED:
        return _keep_late_result(job, report)
    if job.ended and not (job.status is Status.EXPIRED and report.status in ENDS):
        return None
    if report.part is not None:
        return _take_part(job, report, at)
    moved = _merge(job, report)
    if report.status in ENDS:
        return _end(moved, report.status, report.output, report.error, at)
    return None if moved == job else _timed(moved, at)


def _keep_late_result(job: Job, report: Report) -> Job | None:
    if report.output is None or (report.part in job.received_parts if report.part else job.output):
        return None
    if len(job.received_parts) >= job.expected_parts:
        return None
    seen = (*job.received_parts, report.part) if report.part else job.received_parts
    return replace(
        job,
        received_parts=seen,
        output=merge_results(job.output, report.output, report.error),
        cost_usd=job.cost_usd if report.cost_usd is None else report.cost_usd,
        version=job.version + 1,
    )


def ended(job: Job, status: Status, error: JobError | None, at: int) -> Job:
    """End *job* by our own verdict."""
    return _end(job, status, None, error, at)


def _merge(job: Job, report: Report) -> Job:
    """Let rank only rise and progress only grow; what is not said stays as it was."""
    status, said = job.status, report.provider_status
    if report.status is not None and report.status not in ENDS:
        status = max(status, report.status, key=RANK.__getitem__)
    overtaken = report.status is not None and RANK[report.status] < RANK[job.status]
    progress = max((p for p in (job.progress, report.progress) if p is not None), default=None)
    forward = progress != job.progress or (not overtaken and report.progress == job.progress)
    return replace(
        job,
        status=status,
        provider_status=job.provider_status if overtaken or said is None else said,
        provider_task_id=job.provider_task_id or report.task_id,
        progress=progress,
        progress_text=(report.progress_text if forward else None) or job.progress_text,
        cost_usd=job.cost_usd if report.cost_usd is None else report.cost_usd,
    )


def _take_part(job: Job, report: Report, at: int) -> Job | None:
    """Add one result of *job.parts*; the last one ends the job: succeeded if any part did."""
    if report.part is None or report.part in job.received_parts:
        return None
    output = merge_results(job.output, report.output, report.error)
    cost = job.cost_usd
    if report.cost_usd is not None:
        cost = round((cost or 0.0) + report.cost_usd, 10)
    moved = replace(
        _merge(job, replace(report, cost_usd=None)),
        received_parts=(*job.received_parts, report.part),
        output=output,
        cost_usd=cost,
    )
    if len(moved.received_parts) < job.expected_parts:
        return _timed(replace(moved, progress=_parts_ratio(moved)), at)
    brought = len(output.errors) < len(moved.received_parts)
    status = Status.SUCCEEDED if brought else Status.FAILED
    return _end(moved, status, output, None if brought else output.errors[0], at)


def _parts_ratio(job: Job) -> float:
    return max(job.progress or 0.0, round(len(job.received_parts) / job.expected_parts, 4))


def _end(job: Job, status: Status, output: Output | None, error: JobError | None, at: int) -> Job:
    return replace(
        job,
        status=status,
        reconcile_reason=None,
        reconcile_at=None,
        output=output if output is not None else job.output,
        error=error if status is Status.FAILED or status is Status.EXPIRED else None,
        progress=1.0 if status is Status.SUCCEEDED else job.progress,
        version=job.version + 1,
        submitted_at=job.submitted_at or at,
        finished_at=at,
        due_at=None,
    )


def _timed(job: Job, at: int) -> Job:
    """Stamp a move that does not end the job: accepted jobs get their deadline once."""
    accepted = RANK[job.status] >= RANK[Status.SUBMITTED]
    return replace(
        job,
        version=job.version + 1,
        submitted_at=job.submitted_at or (at if accepted else None),
        deadline_at=job.deadline_at or (at + job.deadline_seconds * SECOND if accepted else None),
        due_at=None if accepted else job.due_at,
    )


_FRESH: Final[dict[str, Any]] = {
    field.name: field.default
    for field in msgspec.structs.fields(Job)
    if field.name
    in {
        "batch",
        "provider_task_id",
        "provider_status",
        "progress",
        "progress_text",
        "received_parts",
        "output",
        "error",
        "cost_usd",
        "tries",
        "unanswered_submits",
        "due_at",
        "reconcile_reason",
        "reconcile_at",
        "failed_lookups",
        "reconcile_count",
        "deadline_extended",
        "submitted_at",
        "finished_at",
        "deadline_at",
    }
}
"""What a new submission begins with, whatever the old one brought."""
RETRYABLE: Final = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELED})


def schedule_reconcile(job: Job, reason: ReconcileReason, at: int) -> Job:
    """Have the provider asked about *job* at *at*, unless it is to be asked before."""
    if job.reconcile_at is not None and job.reconcile_at <= at:
        return job
    return replace(job, reconcile_reason=reason, reconcile_at=at, failed_lookups=0)


def reconciled(job: Job) -> Job:
    """End the doubt, however it was settled."""
    if job.reconcile_reason is None:
        return job
    return replace(
        job,
        reconcile_reason=None,
        reconcile_at=None,
        failed_lookups=0,
        reconcile_count=job.reconcile_count + 1,
    )


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
