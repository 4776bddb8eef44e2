"""What a provider's answer to a submit makes of a job and its account. No I/O in here."""

from http import HTTPStatus
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.events import ProviderData
from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import apply_report, ended, requeued, schedule_reconcile
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Answer, Inconclusive, LostAnswerPolicy, Reply, RetryLater
from service.transactions.change_set import AccountHold
from service.transactions.unit_of_work import UnitOfWork

MAX_UNANSWERED: Final = 5
"""How often a request that may be repeated is repeated without an answer."""
ANSWER_GRACE: Final = 30 * SECOND
"""How long the callback of a lost answer is waited for before its provider is asked."""
PAUSE: Final = 60 * SECOND
LONGEST_PAUSE: Final = 3600 * SECOND
_OF_ACCOUNT: Final = (ErrorCode.UNAUTHORIZED, ErrorCode.INSUFFICIENT_CREDITS)
_BUSY_SECONDS: Final = (10, 30)
"""useapi's page on frames/create: wait 10..30 seconds after a 429 and try again."""


class SubmitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The *answer* to the job as it was *sent*; *in_doubt* says what to do if there was none.

    *jitter* from 0 to 1 spreads the pauses of an account that is busy.
    """

    sent: Job
    answer: Answer
    reply: Reply | None
    on_lost_answer: LostAnswerPolicy
    jitter: float


def is_account_refused(answer: Answer, reply: Reply | None) -> bool:
    """Tell a refusal of our account, which says nothing of the job, from one of the job."""
    error = answer.error if isinstance(answer, Report) else None
    of_account = (
        error is not None and error.code in _OF_ACCOUNT and error.stage is ErrorStage.SUBMIT
    )
    return of_account and reply is not None and reply.status != HTTPStatus.FORBIDDEN


def apply_answer(uow: UnitOfWork, given: SubmitResult) -> None:
    """Move the job as it stands now; only what is known counts if it was sent again since."""
    job, answer = uow.job(given.sent.ref), given.answer
    if job is None or job.ref != given.sent.ref:
        return
    still_ours = job.status is Status.SUBMITTING and job.tries == given.sent.tries
    if isinstance(answer, Report):
        if not is_account_refused(answer, given.reply):
            _take_report(uow, job, answer)
        elif still_ours:
            _pause_account(uow, job, answer)
    elif still_ours and isinstance(answer, RetryLater):
        uow.transition(job, requeued(job))
        uow.changes.holds[job.account] = _hold(answer, given.jitter, uow.at)
    elif still_ours and isinstance(answer, Inconclusive):
        uow.transition(job, _unanswered(job, answer, given.on_lost_answer, uow.at))


def _take_report(uow: UnitOfWork, job: Job, report: Report) -> None:
    if uow.is_paused(job.account) and job.account not in uow.changes.resumed_accounts:
        uow.changes.resumed_accounts.add(job.account)
        uow.emit_system_event("provider.resumed", job.tenant, _told_of(job, None))
    moved = apply_report(job, report, uow.at)
    if moved is not None:
        uow.transition(job, moved)


def _pause_account(uow: UnitOfWork, job: Job, refusal: Report) -> None:
    """Burn no job: all wait until the account is mended, and one at a time tries whether it is."""
    uow.transition(job, requeued(job))
    known = uow.is_paused(job.account) or job.account in uow.changes.holds
    reason = refusal.error.message if refusal.error else ""
    pause = min(PAUSE * 2 ** min(job.tries - 1, 6), LONGEST_PAUSE)
    uow.changes.holds[job.account] = AccountHold(
        until=uow.at + pause, strict=True, paused_for=reason, paused_at=uow.at
    )
    if not known:
        uow.emit_system_event("provider.paused", job.tenant, _told_of(job, reason))


def _told_of(job: Job, reason: str | None) -> ProviderData:
    return ProviderData(provider=job.provider, reason=reason, job=job.id)


def _hold(busy: RetryLater, jitter: float, at: int) -> AccountHold:
    """Leave the account alone: as long as it asked, or until one of its jobs has ended."""
    if busy.retry_after_seconds is not None:
        return AccountHold(until=at + int(busy.retry_after_seconds * SECOND), strict=True)
    least, most = _BUSY_SECONDS
    return AccountHold(until=at + int((least + (most - least) * jitter) * SECOND), strict=False)


def _unanswered(job: Job, unknown: Inconclusive, in_doubt: LostAnswerPolicy, at: int) -> Job:
    """What becomes of a job of which nobody knows whether it reached its provider."""
    if in_doubt is LostAnswerPolicy.AWAIT:
        waiting = replace(job, due_at=None, version=job.version + 1)
        return schedule_reconcile(waiting, ReconcileReason.ANSWER_LOST, at + ANSWER_GRACE)
    if in_doubt is LostAnswerPolicy.RESEND and job.unanswered_submits < MAX_UNANSWERED:
        again = at + SECOND * 2 ** (job.unanswered_submits + 1)
        return replace(requeued(job), due_at=again, unanswered_submits=job.unanswered_submits + 1)
    error = JobError(
        code=ErrorCode.SUBMIT_UNKNOWN,
        message=f"It is not known whether the provider took the job: {unknown.message}.",
        retryable=True,
        stage=ErrorStage.SUBMIT,
    )
    return ended(job, Status.FAILED, error, at)
