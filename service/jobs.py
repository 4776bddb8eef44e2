"""The job: its states, what a provider may report of it, and how one moves the other."""

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

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


class Code(StrEnum):
    """Why a job failed, in our words."""

    MODERATED = "moderated"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    INVALID_INPUT = "invalid_input"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    NO_OUTPUT = "no_output"
    SUBMIT_UNKNOWN = "submit_unknown"
    TIMED_OUT = "timed_out"


class Stage(StrEnum):
    """Where a job failed."""

    SUBMIT = "submit"
    PROVIDER = "provider"
    TIMEOUT = "timeout"


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job, or one of its results, failed; *retryable*: a new submission may work."""

    code: Code
    message: str
    provider_code: str | None = None
    retryable: bool = False
    stage: Stage = Stage.PROVIDER


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One file the provider made; *kind* is image, video, audio, text, model or file."""

    id: str | None = None
    kind: str = "file"
    url: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a job brought; *errors* are those of its failed parts."""

    artifacts: tuple[Artifact, ...] = ()
    text: str | None = None
    data: dict[str, Any] | list[Any] | None = None
    errors: tuple[JobError, ...] = ()


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
    submitter may next act on it, *sequence* the number of its events.
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
    reply_events: tuple[str, ...] = ()
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
    due_at: int | None = None
    submitted_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDS


def advance(job: Job, report: Report, at: int) -> Job | None:
    """Take *report* into *job*; None when it says nothing new.

    Late, repeated and shuffled reports change nothing. The one end that gives way is our own
    verdict `expired`, which a provider's later end replaces.
    """
    if job.ended and not (job.status is Status.EXPIRED and report.status in ENDS):
        return None
    if report.part is not None:
        return _take_part(job, report, at)
    moved = _merge(job, report)
    if report.status in ENDS:
        return _end(moved, report.status, report.output, report.error, at)
    return None if moved == job else _timed(moved, at)


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
    output = _joined(job.output, report)
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


def _joined(before: Output | None, report: Report) -> Output:
    have, new = before or Output(), report.output or Output()
    errors = have.errors + new.errors + ((report.error,) if report.error else ())
    texts = [text for text in (have.text, new.text) if text is not None]
    return Output(
        artifacts=have.artifacts + new.artifacts,
        text="\n\n".join(texts) if texts else None,
        data=_joined_data(have.data, new.data),
        errors=errors,
    )


def _joined_data(
    have: dict[str, Any] | list[Any] | None, new: dict[str, Any] | list[Any] | None
) -> dict[str, Any] | list[Any] | None:
    """One result's data stands as it is; several stand in a list."""
    if have is None or new is None:
        return have if new is None else new
    return [*(have if isinstance(have, list) else [have]), new]


def _end(job: Job, status: Status, output: Output | None, error: JobError | None, at: int) -> Job:
    return replace(
        job,
        status=status,
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
