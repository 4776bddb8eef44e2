"""What a provider's answer to a submit makes of a job and its account. No I/O in here."""

from http import HTTPStatus
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.events import ProviderData
from service.domain.jobs.job import Job, Reason, Report, Status
from service.domain.jobs.results import Code, JobError, Stage
from service.domain.jobs.state_machine import advance, doubted, ended, requeued
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Answer, Busy, Doubt, Reply, Unknown
from service.transactions.change_set import Hold
from service.transactions.unit_of_work import Moves

MAX_LOST: Final = 5
"""How often a request that may be repeated is repeated without an answer."""
ANSWER_GRACE: Final = 30 * SECOND
"""How long the callback of a lost answer is waited for before its provider is asked."""
PAUSE: Final = 60 * SECOND
LONGEST_PAUSE: Final = 3600 * SECOND
_OF_ACCOUNT: Final = (Code.UNAUTHORIZED, Code.INSUFFICIENT_CREDITS)
_BUSY_SECONDS: Final = (10, 30)
"""useapi's page on frames/create: wait 10..30 seconds after a 429 and try again."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The *answer* to the job as it was *sent*; *in_doubt* says what to do if there was none.

    *jitter* from 0 to 1 spreads the pauses of an account that is busy.
    """

    sent: Job
    answer: Answer
    reply: Reply | None
    in_doubt: Doubt
    jitter: float


def is_refused(answer: Answer, reply: Reply | None) -> bool:
    """Tell a refusal of our account, which says nothing of the job, from one of the job."""
    error = answer.error if isinstance(answer, Report) else None
    of_account = error is not None and error.code in _OF_ACCOUNT and error.stage is Stage.SUBMIT
    return of_account and reply is not None and reply.status != HTTPStatus.FORBIDDEN


def take_answer(moves: Moves, given: Answered) -> None:
    """Move the job as it stands now; only what is known counts if it was sent again since."""
    job, answer = moves.job(given.sent.ref), given.answer
    if job is None or job.ref != given.sent.ref:
        return
    still_ours = job.status is Status.SUBMITTING and job.tries == given.sent.tries
    if isinstance(answer, Report):
        if not is_refused(answer, given.reply):
            _take_report(moves, job, answer)
        elif still_ours:
            _pause_account(moves, job, answer)
    elif still_ours and isinstance(answer, Busy):
        moves.move(job, requeued(job))
        moves.changes.holds[job.account] = _hold(answer, given.jitter, moves.at)
    elif still_ours and isinstance(answer, Unknown):
        moves.move(job, _unanswered(job, answer, given.in_doubt, moves.at))


def _take_report(moves: Moves, job: Job, report: Report) -> None:
    if moves.is_paused(job.account) and job.account not in moves.changes.resumed:
        moves.changes.resumed.add(job.account)
        moves.notice("provider.resumed", job.tenant, _told_of(job, None))
    moved = advance(job, report, moves.at)
    if moved is not None:
        moves.move(job, moved)


def _pause_account(moves: Moves, job: Job, refusal: Report) -> None:
    """Burn no job: all wait until the account is mended, and one at a time tries whether it is."""
    moves.move(job, requeued(job))
    known = moves.is_paused(job.account) or job.account in moves.changes.holds
    reason = refusal.error.message if refusal.error else ""
    pause = min(PAUSE * 2 ** min(job.tries - 1, 6), LONGEST_PAUSE)
    moves.changes.holds[job.account] = Hold(
        until=moves.at + pause, strict=True, paused_for=reason, paused_at=moves.at
    )
    if not known:
        moves.notice("provider.paused", job.tenant, _told_of(job, reason))


def _told_of(job: Job, reason: str | None) -> ProviderData:
    return ProviderData(provider=job.provider, reason=reason, job=job.id)


def _hold(busy: Busy, jitter: float, at: int) -> Hold:
    """Leave the account alone: as long as it asked, or until one of its jobs has ended."""
    if busy.retry_after_seconds is not None:
        return Hold(until=at + int(busy.retry_after_seconds * SECOND), strict=True)
    least, most = _BUSY_SECONDS
    return Hold(until=at + int((least + (most - least) * jitter) * SECOND), strict=False)


def _unanswered(job: Job, unknown: Unknown, in_doubt: Doubt, at: int) -> Job:
    """What becomes of a job of which nobody knows whether it reached its provider."""
    if in_doubt is Doubt.AWAIT:
        waiting = replace(job, due_at=None, version=job.version + 1)
        return doubted(waiting, Reason.ANSWER_LOST, at + ANSWER_GRACE)
    if in_doubt is Doubt.RESEND and job.lost < MAX_LOST:
        again = at + SECOND * 2 ** (job.lost + 1)
        return replace(requeued(job), due_at=again, lost=job.lost + 1)
    error = JobError(
        code=Code.SUBMIT_UNKNOWN,
        message=f"It is not known whether the provider took the job: {unknown.message}.",
        retryable=True,
        stage=Stage.SUBMIT,
    )
    return ended(job, Status.FAILED, error, at)
