"""Every transition of a job: by a provider's report, by this service, by the user.

No function changes its argument. Times are microseconds since 1970.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import ENDS, RANK, Job, ReconcileReason, Report, Status
from service.domain.jobs.results import JobError, Output, merge_results
from service.domain.primitives.timestamps import SECOND

MAX_PROVIDER_INFO: Final = 4096
"""Bytes of a job's provider info as JSON; what would make it larger is ignored."""
POLL_GROWTH: Final = 1.5
"""By this factor grows the interval between two reads of a job that is polled."""
LONGEST_POLL_SECONDS: Final = 60.0


def apply_report(job: Job, report: Report, at: int) -> Job | None:
    """Apply a provider's *report* to *job*; None if it changes nothing.

    Status rank and progress never fall. Once the job has ended, reports change nothing, with two
    exceptions: a provider's final status replaces `expired`, which was only our own decision, and a
    canceled job stores a late result but stays canceled.
    """
    if job.status is Status.CANCELED:
        return _keep_late_result(job, report)
    if job.ended and not (job.status is Status.EXPIRED and report.status in ENDS):
        return None
    if report.part is not None:
        return _take_part(job, report, at)
    merged = _merge(job, report)
    if report.status in ENDS:
        return _end(merged, report.status, report.output, report.error, at)
    return None if merged == job else _with_times(merged, at)


def apply_reports(job: Job, reports: Iterable[Report], at: int) -> tuple[Job, ...]:
    """Apply *reports* in order; returns the job after each of those that changed it."""
    steps: list[Job] = []
    for report in reports:
        changed = apply_report(steps[-1] if steps else job, report, at)
        if changed is not None:
            steps.append(changed)
    return tuple(steps)


def _keep_late_result(job: Job, report: Report) -> Job | None:
    """Store a result that a canceled job does not have yet; None if there is none."""
    if report.output is None or len(job.received_parts) >= job.expected_parts:
        return None
    received = job.received_parts
    if report.part:
        if report.part in received:
            return None
        received = (*received, report.part)
    elif job.output:
        return None
    return replace(
        job,
        received_parts=received,
        output=merge_results(job.output, report.output, report.error),
        cost_usd=job.cost_usd if report.cost_usd is None else report.cost_usd,
        version=job.version + 1,
    )


def ended(job: Job, status: Status, error: JobError | None, at: int) -> Job:
    """End *job* by our own decision."""
    return _end(job, status, None, error, at)


def _merge(job: Job, report: Report) -> Job:
    """Take over what *report* says, except a final status; rank and progress never fall."""
    status, provider_status, progress_text = job.status, job.provider_status, job.progress_text
    if report.status is not None and report.status not in ENDS:
        status = max(status, report.status, key=RANK.__getitem__)
    outdated = report.status is not None and RANK[report.status] < RANK[job.status]
    if report.provider_status is not None and not outdated:
        provider_status = report.provider_status
    progress = max((p for p in (job.progress, report.progress) if p is not None), default=None)
    advanced = progress != job.progress
    as_far = report.progress == job.progress and not outdated  # both may be unknown
    if (advanced or as_far) and not job.ended:
        progress_text = report.progress_text or progress_text
    return replace(
        job,
        status=status,
        provider_status=provider_status,
        provider_task_id=job.provider_task_id or report.task_id,
        progress=progress,
        progress_text=progress_text,
        provider_info=_merge_info(job.provider_info, report.provider_info, outdated=outdated),
        cost_usd=job.cost_usd if report.cost_usd is None else report.cost_usd,
    )


def _merge_info(
    known: dict[str, Any] | None, reported: dict[str, Any] | None, *, outdated: bool
) -> dict[str, Any] | None:
    """Merge key by key: the later value counts, so an *outdated* report only adds keys."""
    if not reported:
        return known
    merged = reported | (known or {}) if outdated else (known or {}) | reported
    return merged if len(msgspec.json.encode(merged)) <= MAX_PROVIDER_INFO else known


def _take_part(job: Job, report: Report, at: int) -> Job | None:
    """Add one of the expected results. The last one ends the job: succeeded if any part did.

    A part shows that the provider has the job, even if the response to its submit was lost. The
    provider's status of one of several results is not that of the job.
    """
    if report.part is None or report.part in job.received_parts:
        return None
    output = merge_results(job.output, report.output, report.error)
    cost = job.cost_usd
    if report.cost_usd is not None:
        cost = round((cost or 0.0) + report.cost_usd, 10)
    received = (*job.received_parts, report.part)
    several = job.expected_parts > 1
    provider_status = None if several else report.provider_status
    merged = _merge(job, replace(report, provider_status=provider_status, cost_usd=None))
    merged = replace(
        merged,
        status=max(merged.status, Status.SUBMITTED, key=RANK.__getitem__),
        received_parts=received,
        output=output,
        cost_usd=cost,
    )
    if len(received) < job.expected_parts:
        ratio = round(len(received) / job.expected_parts, 4)
        return _with_times(replace(merged, progress=max(merged.progress or 0.0, ratio)), at)
    if several:  # the provider reported no status of the whole job since
        merged = replace(merged, provider_status=None)
    if len(output.errors) < len(received):
        return _end(merged, Status.SUCCEEDED, output, None, at)
    return _end(merged, Status.FAILED, output, output.errors[0], at)


def _end(job: Job, status: Status, output: Output | None, error: JobError | None, at: int) -> Job:
    return replace(
        job,
        status=status,
        reconcile_reason=None,
        reconcile_at=None,
        output=output if output is not None else job.output,
        error=error if status is Status.FAILED or status is Status.EXPIRED else None,
        progress=1.0 if status is Status.SUCCEEDED else job.progress,
        progress_text=None,
        version=job.version + 1,
        submitted_at=job.submitted_at or at,
        finished_at=at,
        due_at=None,
    )


def _with_times(job: Job, at: int) -> Job:
    """Finish a transition that does not end the job; an accepted job gets its deadline once."""
    accepted = RANK[job.status] >= RANK[Status.SUBMITTED]
    job = replace(
        job,
        version=job.version + 1,
        submitted_at=job.submitted_at or (at if accepted else None),
        deadline_at=job.deadline_at or (at + job.deadline_seconds * SECOND if accepted else None),
        due_at=None if accepted else job.due_at,
    )
    return schedule_poll(job, at) if accepted and job.reconcile_at is None else job


def schedule_poll(job: Job, at: int) -> Job:
    """Have *job* read at its provider after its next interval, if it is polled at all."""
    if job.poll_seconds is None:
        return job
    seconds = min(job.poll_seconds * POLL_GROWTH**job.polls, LONGEST_POLL_SECONDS)
    reconcile_at = at + int(seconds * SECOND)
    return replace(
        job,
        reconcile_reason=ReconcileReason.POLL,
        reconcile_at=reconcile_at,
        polls=job.polls + 1,
    )


def schedule_reconcile(job: Job, reason: ReconcileReason, at: int) -> Job:
    """Have *job* looked up at its provider at *at*, unless an earlier lookup is scheduled."""
    if job.reconcile_at is not None and job.reconcile_at <= at:
        return job
    return replace(job, reconcile_reason=reason, reconcile_at=at, failed_lookups=0)


def reconciled(job: Job) -> Job:
    """Clear the reconcile reason of *job*, whatever the lookup found."""
    if job.reconcile_reason is None:
        return job
    return replace(
        job,
        reconcile_reason=None,
        reconcile_at=None,
        failed_lookups=0,
        reconcile_count=job.reconcile_count + 1,
    )


RETRYABLE: Final = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELED})
"""The statuses from which a job can be submitted again."""
_RESET_FIELDS: Final[dict[str, Any]] = {
    field.name: field.default
    for field in msgspec.structs.fields(Job)
    if field.name
    in {
        "batch",
        "provider_task_id",
        "provider_status",
        "progress",
        "progress_text",
        "provider_info",
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
        "polls",
        "deadline_extended",
        "admitted_at",
        "submitted_at",
        "finished_at",
        "deadline_at",
    }
}
"""The fields that a new submission resets to their defaults."""


def retried(job: Job, ref: str, at: int) -> Job:
    """Submit *job* again as *ref*; results of the old submission no longer count."""
    return replace(
        job,
        ref=ref,
        account=job.own_account,
        status=Status.QUEUED,
        **_RESET_FIELDS,
        queued_at=at,
        version=job.version + 1,
    )


def canceled(job: Job, at: int) -> Job:
    """Cancel *job*; a result that still arrives is stored without an event."""
    return ended(job, Status.CANCELED, None, at)


def admitted(job: Job, at: int, lease_until: int) -> Job:
    """Start to submit a queued job; it is `submitting` until the provider has answered.

    After *lease_until* another process may take it for a submit without an answer.
    """
    return replace(
        job,
        status=Status.SUBMITTING,
        tries=job.tries + 1,
        admitted_at=at,
        due_at=lease_until,
        deadline_at=at + job.deadline_seconds * SECOND,
        version=job.version + 1,
    )


def requeued(job: Job) -> Job:
    """Put a job that its provider did not accept back into the queue."""
    return replace(
        job,
        status=Status.QUEUED,
        account=job.own_account,
        due_at=None,
        deadline_at=None,
        version=job.version + 1,
    )
