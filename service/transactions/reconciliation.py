"""Doubts: what becomes of a job once its provider was asked about it. No I/O in here."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job, Reason, Status
from service.domain.jobs.results import Code, JobError, Stage
from service.domain.jobs.state_machine import advance, cleared, ended
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Finding, Gone, Unknown

MAX_READS: Final = 3
"""How often a read that the provider did not answer is tried."""
RETRY_PAUSE: Final = 30 * SECOND
LONGEST_EXTENSION: Final = 3600 * SECOND
NOT_ASKED: Final = Unknown(message="the provider was not asked")


class Settlement(msgspec.Struct, frozen=True):
    """The *steps* a job takes, and what is to be said of the callbacks that raised the doubt."""

    steps: tuple[Job, ...]
    words: str


def reason_of(job: Job) -> Reason:
    return job.doubt or Reason.OVERDUE


def postponed(job: Job, at: int) -> Job | None:
    """Have an unanswered read made again, later each time; None when it was tried often enough."""
    if job.reads + 1 >= MAX_READS:
        return None
    pause = RETRY_PAUSE * 4**job.reads
    return replace(job, doubt=reason_of(job), doubt_at=at + pause, reads=job.reads + 1)


def settle(job: Job, finding: Finding, at: int) -> Settlement:
    """Take in what the provider said; what is still open then is decided by why it was asked."""
    reports = () if isinstance(finding, Gone | Unknown) else finding
    steps: list[Job] = []
    for report in reports:
        moved = advance(steps[-1] if steps else job, report, at)
        if moved is not None:
            steps.append(moved)
    last = steps[-1] if steps else job
    decided = cleared(last) if last.ended else _decided(last, finding, at)
    words = _words(finding, job, decided)
    return Settlement((*steps, decided) if decided != last else tuple(steps), words)


def _decided(job: Job, finding: Finding, at: int) -> Job:
    """Decide for a job of which no end is known."""
    known = not isinstance(finding, Gone | Unknown)
    if job.doubt is Reason.NO_OUTPUT and not known:
        return ended(job, Status.FAILED, _NO_OUTPUT, at)
    if job.doubt is not None:
        return cleared(job)
    if known and not job.extended and job.status is not Status.QUEUED:
        return _extended(job, at)
    return ended(job, Status.EXPIRED, _overdue(job, known=known), at)


def _extended(job: Job, at: int) -> Job:
    """It is still at work: the deadline moves once, by half as much again, an hour at most."""
    more = min(job.deadline_seconds * SECOND // 2, LONGEST_EXTENSION)
    return replace(job, extended=True, deadline_at=at + more, version=job.version + 1)


_NO_OUTPUT: Final = JobError(
    code=Code.NO_OUTPUT,
    message="The provider said that it is done, and brought nothing.",
    retryable=True,
)


def _overdue(job: Job, *, known: bool) -> JobError:
    stage = Stage.SUBMIT if job.status in (Status.QUEUED, Status.SUBMITTING) else Stage.TIMEOUT
    lost = job.status is Status.SUBMITTING
    return JobError(
        code=Code.SUBMIT_UNKNOWN if lost else Code.TIMED_OUT,
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
    return f" {len(job.seen)} of {job.parts} results are in." if job.seen else ""


def _words(finding: Finding, before: Job, after: Job) -> str:
    if isinstance(finding, Gone):
        said = f"The provider no longer knows the task: {finding.message}"
    elif isinstance(finding, Unknown):
        said = f"Asking settled nothing: {finding.message}"
    else:
        told = next((r.status for r in reversed(finding) if r.status is not None), None)
        said = f"The provider says {told or 'nothing new'}"
    stays = "stays" if after.status is before.status else "is now"
    return f"{said}; the job {stays} {after.status}."
