"""The job: its states, what a provider may report of it, and how one moves the other."""

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.outputs import JobError, Output, joined
from service.times import SECOND


class Status(StrEnum):
    """Where a job stands; rank only rises (`RANK`)."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


ENDS: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
RANK: Final = {
    Status.QUEUED: 0,
    Status.SUBMITTING: 1,
    Status.SUBMITTED: 2,
    Status.RUNNING: 3,
    **dict.fromkeys(ENDS, 4),
}


QUEUE_LIMIT: Final = 7 * 86_400 * SECOND
"""How long a job may wait for a slot: every accepted job ends."""


class Reason(StrEnum):
    """Why a provider is asked about a job, once: in normal running it never is."""

    OVERDUE = "overdue"
    ANSWER_LOST = "answer_lost"
    """Nobody knows whether the submit arrived."""
    MISMATCHED = "mismatched"
    """A callback at its URL spoke of another task."""
    UNREADABLE = "unreadable"
    """A callback at its URL could not be read."""
    NO_OUTPUT = "no_output"
    """A callback said that it is done, and brought nothing."""
    SECOND_END = "second_end"
    """A callback told another end than the one before."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of one submission, in our words.

    *refs* are all the names the body gives it, ours and the provider's. *part* is the key of one
    result where a job may have several (Runware's numberResults): the job ends with the last.
    """

    refs: tuple[str, ...] = ()
    task_id: str | None = None
    status: Status | None = None
    provider_status: str | None = None
    progress: float | None = None
    progress_text: str | None = None
    part: str | None = None
    output: Output | None = None
    error: JobError | None = None
    cost_usd: float | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work asked of one provider.

    *account* is whose slots it uses (the provider, or `provider:email` where the input pins one),
    *parts* how many results end it, *seen* the keys of those that are in, *due_at* when the
    submitter may next act on it, *sequence* the number of its events, *lost* how many of its
    submits were never answered. *doubt* is to be settled at *doubt_at* by asking its provider;
    *reads* counts how often that failed, *asked* how many doubts were settled so.
    """

    id: str
    tenant: str
    provider: str
    operation: str
    account: str
    ref: str
    created_at: int
    deadline_seconds: int
    status: Status = Status.QUEUED
    batch: str | None = None
    max_jobs: int | None = None
    reply_ref: str | None = None
    reply_to: str | None = None
    reply_event_types: tuple[str, ...] = ()
    provider_task_id: str | None = None
    provider_status: str | None = None
    progress: float | None = None
    progress_text: str | None = None
    parts: int = 1
    seen: tuple[str, ...] = ()
    output: Output | None = None
    error: JobError | None = None
    cost_usd: float | None = None
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    version: int = 1
    sequence: int = 0
    tries: int = 0
    lost: int = 0
    due_at: int | None = None
    doubt: Reason | None = None
    doubt_at: int | None = None
    reads: int = 0
    asked: int = 0
    extended: bool = False
    queued_at: int | None = None
    submitted_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def check_at(self) -> int | None:
        """When it must be looked at: for a doubt, its deadline, or too long a wait in the queue."""
        if self.doubt is Reason.ANSWER_LOST and self.doubt_at and self.deadline_at:
            return min(self.doubt_at, self.deadline_at)  # the grace of a lost answer is no delay
        if self.doubt_at is not None:
            return self.doubt_at
        if self.status is Status.QUEUED:
            return (self.queued_at or self.created_at) + QUEUE_LIMIT
        return None if self.ended else self.deadline_at


def advance(job: Job, report: Report, at: int) -> Job | None:
    """Take *report* into *job*; None when it says nothing new.

    Late, repeated and shuffled reports change nothing. The one end that gives way is our own
    verdict `expired`, which a provider's later end replaces; a job that was canceled keeps what
    comes later without ending again.
    """
    if job.status is Status.CANCELED:
        return _kept(job, report)
    if job.ended and not (job.status is Status.EXPIRED and report.status in ENDS):
        return None
    if report.part is not None:
        return _take_part(job, report, at)
    moved = _merge(job, report)
    if report.status in ENDS:
        return _end(moved, report.status, report.output, report.error, at)
    return None if moved == job else _timed(moved, at)


def _kept(job: Job, report: Report) -> Job | None:
    if report.output is None or (report.part in job.seen if report.part else job.output):
        return None
    if len(job.seen) >= job.parts:
        return None
    seen = (*job.seen, report.part) if report.part else job.seen
    return replace(
        job,
        seen=seen,
        output=joined(job.output, report.output, report.error),
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
    if report.part is None or report.part in job.seen:
        return None
    output = joined(job.output, report.output, report.error)
    cost = job.cost_usd
    if report.cost_usd is not None:
        cost = round((cost or 0.0) + report.cost_usd, 10)
    moved = replace(
        _merge(job, replace(report, cost_usd=None)),
        seen=(*job.seen, report.part),
        output=output,
        cost_usd=cost,
    )
    if len(moved.seen) < job.parts:
        return _timed(replace(moved, progress=_parts_ratio(moved)), at)
    brought = len(output.errors) < len(moved.seen)
    status = Status.SUCCEEDED if brought else Status.FAILED
    return _end(moved, status, output, None if brought else output.errors[0], at)


def _parts_ratio(job: Job) -> float:
    return max(job.progress or 0.0, round(len(job.seen) / job.parts, 4))


def _end(job: Job, status: Status, output: Output | None, error: JobError | None, at: int) -> Job:
    return replace(
        job,
        status=status,
        doubt=None,
        doubt_at=None,
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
