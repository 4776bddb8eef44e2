"""Applies a provider's answer to a submit to the job and its account. No I/O."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.events import ProviderData
from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import apply_reports, ended, requeued, schedule_reconcile
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Answer, Inconclusive, LostAnswerPolicy, RetryLater
from service.providers.refusals import AccountRefused, RefusalScope
from service.transactions.change_set import AccountHold
from service.transactions.slots import AccountPause
from service.transactions.unit_of_work import UnitOfWork

MAX_UNANSWERED: Final = 5
"""How often a submit without an answer is repeated, where the provider allows repeats."""
ANSWER_GRACE: Final = 30 * SECOND
"""How long to wait for a callback after a lost answer, before the job is looked up."""
FIRST_PAUSE: Final = 60 * SECOND
"""How long an account that its provider refused is paused; doubles with each refusal in a row."""
LONGEST_PAUSE: Final = 3600 * SECOND
_ACCEPTED: Final = Report(status=Status.SUBMITTED)
_BUSY_SECONDS: Final = (10, 30)
"""useapi's page on frames/create: wait 10..30 seconds after a 429 and try again."""


class SubmitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The *answer* to a submit of the job *sent*; *on_lost_answer* applies if there was none.

    *jitter* from 0 to 1 spreads the pauses of an account that is busy.
    """

    sent: Job
    answer: Answer
    on_lost_answer: LostAnswerPolicy
    jitter: float


def apply_answer(uow: UnitOfWork, result: SubmitResult) -> None:
    """Apply *result* to the current state of the job.

    If the job has changed since this submit, only a report counts.
    """
    job, answer = uow.job(result.sent.ref), result.answer
    if job is None or job.ref != result.sent.ref:
        return
    unchanged = job.status is Status.SUBMITTING and job.tries == result.sent.tries
    if isinstance(answer, Report | tuple):
        # Whatever they say, the provider has answered: a job that they do not end is submitted.
        reports = answer if isinstance(answer, tuple) else (answer,)
        for changed in apply_reports(job, (*reports, _ACCEPTED), uow.at):
            job = uow.transition_step(job, changed)
    elif unchanged and isinstance(answer, AccountRefused):
        _pause_account(uow, job, answer)
    elif unchanged and isinstance(answer, RetryLater):
        uow.transition(job, requeued(job))
        uow.changes.holds[job.account] = _hold(answer, result.jitter, uow.at)
    elif unchanged and isinstance(answer, Inconclusive):
        uow.transition(job, _unanswered(job, answer, result.on_lost_answer, uow.at))


def _pause_account(uow: UnitOfWork, job: Job, refused: AccountRefused) -> None:
    """Requeue *job*, and pause its account, so that no job fails because of the account.

    A job that was sent to try the account lengthens the pause; those that were under way when it
    began do not. A job that was refused for lack of credits does use them, whatever was assumed.
    """
    uses_credits = job.uses_credits or refused.scope is RefusalScope.CREDITS
    uow.transition(job, requeued(replace(job, uses_credits=uses_credits)))
    key = (job.provider if refused.scope is RefusalScope.CREDENTIAL else job.account, refused.scope)
    pause = uow.pause(key)
    if pause is None:
        uow.changes.pauses[key] = AccountPause(
            account=key[0],
            scope=refused.scope,
            tenant=job.tenant,
            reason=refused.message,
            paused_at=uow.at,
            retry_at=uow.at + FIRST_PAUSE,
        )
        data = ProviderData(
            provider=job.provider,
            scope=refused.scope.value,
            reason=refused.message,
            job=job.id,
        )
        uow.emit_system_event("provider.paused", job.tenant, data)
    elif (job.admitted_at or 0) >= pause.retry_at:
        length = min(FIRST_PAUSE * 2 ** min(pause.refusals, 6), LONGEST_PAUSE)
        uow.changes.pauses[key] = replace(
            pause,
            reason=refused.message,
            retry_at=uow.at + length,
            refusals=pause.refusals + 1,
        )


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
