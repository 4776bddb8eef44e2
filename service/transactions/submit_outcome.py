"""Applies a provider's answer to a submit to the job and its account. No I/O."""

from http import HTTPStatus
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.events import ProviderData
from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import apply_reports, ended, requeued, schedule_reconcile
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Answer, Inconclusive, LostAnswerPolicy, Reply, RetryLater
from service.transactions.change_set import AccountHold
from service.transactions.unit_of_work import UnitOfWork

MAX_UNANSWERED: Final = 5
"""How often a submit without an answer is repeated, where the provider allows repeats."""
ANSWER_GRACE: Final = 30 * SECOND
"""How long to wait for a callback after a lost answer, before the job is looked up."""
FIRST_PAUSE: Final = 60 * SECOND
"""How long an account that its provider refused is paused; doubles with each try of the job."""
LONGEST_PAUSE: Final = 3600 * SECOND
_ACCOUNT_ERRORS: Final = (ErrorCode.UNAUTHORIZED, ErrorCode.INSUFFICIENT_CREDITS)
_ACCEPTED: Final = Report(status=Status.SUBMITTED)
_BUSY_SECONDS: Final = (10, 30)
"""useapi's page on frames/create: wait 10..30 seconds after a 429 and try again."""


class SubmitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The *answer* to a submit of the job *sent*; *on_lost_answer* applies if there was none.

    *reply* is the HTTP response, if there was one. *jitter* from 0 to 1 spreads the pauses of an
    account that is busy.
    """

    sent: Job
    answer: Answer
    reply: Reply | None
    on_lost_answer: LostAnswerPolicy
    jitter: float


def is_account_refused(answer: Answer, reply: Reply | None) -> bool:
    """Whether the provider refused our account, not the job; 403 counts as a refused job."""
    if not isinstance(answer, Report) or answer.error is None or reply is None:
        return False
    error = answer.error
    is_account_error = error.code in _ACCOUNT_ERRORS and error.stage is ErrorStage.SUBMIT
    return is_account_error and reply.status != HTTPStatus.FORBIDDEN


def apply_answer(uow: UnitOfWork, result: SubmitResult) -> None:
    """Apply *result* to the current state of the job.

    If the job has changed since this submit, only a report about the job itself counts.
    """
    job, answer = uow.job(result.sent.ref), result.answer
    if job is None or job.ref != result.sent.ref:
        return
    unchanged = job.status is Status.SUBMITTING and job.tries == result.sent.tries
    if isinstance(answer, Report) and is_account_refused(answer, result.reply):
        if unchanged:
            _pause_account(uow, job, answer)
    elif isinstance(answer, Report | tuple):
        _take_reports(uow, job, answer if isinstance(answer, tuple) else (answer,))
    elif unchanged and isinstance(answer, RetryLater):
        uow.transition(job, requeued(job))
        uow.changes.holds[job.account] = _hold(answer, result.jitter, uow.at)
    elif unchanged and isinstance(answer, Inconclusive):
        uow.transition(job, _unanswered(job, answer, result.on_lost_answer, uow.at))


def _take_reports(uow: UnitOfWork, job: Job, reports: tuple[Report, ...]) -> None:
    """Apply *reports*; any report about a job shows that a paused account works again.

    Whatever they say, the provider has answered: a job that they do not end is submitted.
    """
    if uow.is_paused(job.account) and job.account not in uow.changes.resumed_accounts:
        uow.changes.resumed_accounts.add(job.account)
        data = ProviderData(provider=job.provider, reason=None, job=job.id)
        uow.emit_system_event("provider.resumed", job.tenant, data)
    for changed in apply_reports(job, (*reports, _ACCEPTED), uow.at):
        job = uow.transition_step(job, changed)


def _pause_account(uow: UnitOfWork, job: Job, refusal: Report) -> None:
    """Requeue the job and hold its account, so that no job fails because of the account.

    After the pause one job at a time is sent, to find out whether the account works again.
    """
    uow.transition(job, requeued(job))
    was_paused = uow.is_paused(job.account) or job.account in uow.changes.holds
    reason = refusal.error.message if refusal.error else ""
    pause = min(FIRST_PAUSE * 2 ** min(job.tries - 1, 6), LONGEST_PAUSE)
    uow.changes.holds[job.account] = AccountHold(
        until=uow.at + pause, strict=True, paused_for=reason, paused_at=uow.at
    )
    if not was_paused:
        data = ProviderData(provider=job.provider, reason=reason, job=job.id)
        uow.emit_system_event("provider.paused", job.tenant, data)


def _hold(busy: RetryLater, jitter: float, at: int) -> AccountHold:
    """Hold a busy account for as long as it asked; otherwise 10 to 30 s, or until a job ends."""
    if busy.retry_after_seconds is not None:
        return AccountHold(until=at + int(busy.retry_after_seconds * SECOND), strict=True)
    least, most = _BUSY_SECONDS
    return AccountHold(until=at + int((least + (most - least) * jitter) * SECOND), strict=False)


def _unanswered(job: Job, answer: Inconclusive, on_lost_answer: LostAnswerPolicy, at: int) -> Job:
    """Decide about a job that its provider may have accepted or not: await, resend or fail it."""
    if on_lost_answer is LostAnswerPolicy.AWAIT:
        waiting = replace(job, due_at=None, version=job.version + 1)
        return schedule_reconcile(waiting, ReconcileReason.ANSWER_LOST, at + ANSWER_GRACE)
    if on_lost_answer is LostAnswerPolicy.RESEND and job.unanswered_submits < MAX_UNANSWERED:
        again = at + SECOND * 2 ** (job.unanswered_submits + 1)
        return replace(requeued(job), due_at=again, unanswered_submits=job.unanswered_submits + 1)
    error = JobError(
        code=ErrorCode.SUBMIT_UNKNOWN,
        message=f"It is unknown whether the provider accepted the job: {answer.message}.",
        retryable=True,
        stage=ErrorStage.SUBMIT,
    )
    return ended(job, Status.FAILED, error, at)
