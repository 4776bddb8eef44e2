from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError, Output
from service.domain.jobs.state_machine import schedule_reconcile
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import (
    Answer,
    Inconclusive,
    LookupResult,
    LostAnswerPolicy,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.transactions.change_set import Snapshot
from service.transactions.reconciliation import (
    LONGEST_EXTENSION,
    MAX_LOOKUPS,
    NOT_ASKED,
    postponed,
    reconcile,
)
from service.transactions.submit_outcome import (
    ANSWER_GRACE,
    MAX_UNANSWERED,
    SubmitResult,
    apply_answer,
)
from service.transactions.unit_of_work import UnitOfWork
from tests.support.factories import T0, a_report, build_job
from tests.support.transactions import unit_of_work

OVER = T0 + 3600 * SECOND
DONE = a_report(status=Status.SUCCEEDED, output=Output(text="x"))
FAILED = a_report(
    status=Status.FAILED, error=JobError(code=ErrorCode.PROVIDER_ERROR, message="it broke")
)
RUNNING = a_report(status=Status.RUNNING)
GONE = TaskNotFound(message="Job has expired")
SILENT = Inconclusive(message="nothing")


def overdue(**changes: Any) -> Job:
    return build_job(**{"status": Status.SUBMITTED, "deadline_at": OVER, **changes})


def in_doubt(reason: ReconcileReason, **changes: Any) -> Job:
    return schedule_reconcile(overdue(**changes), reason, T0)


def settled(job: Job, finding: LookupResult, at: int = OVER) -> Job:
    steps = reconcile(job, finding, at).steps
    return steps[-1] if steps else job


@pytest.mark.parametrize(
    ("job", "finding", "status"),
    [
        (overdue(), [DONE], Status.SUCCEEDED),
        (overdue(), [FAILED], Status.FAILED),
        (overdue(), GONE, Status.EXPIRED),
        (overdue(), SILENT, Status.EXPIRED),
        (overdue(), NOT_ASKED, Status.EXPIRED),
        (overdue(), [RUNNING], Status.RUNNING),
        (overdue(deadline_extended=True), [RUNNING], Status.EXPIRED),
        (overdue(status=Status.SUBMITTING), SILENT, Status.EXPIRED),
        (build_job(), NOT_ASKED, Status.EXPIRED),
        (in_doubt(ReconcileReason.MISMATCHED), [DONE], Status.SUCCEEDED),
        (in_doubt(ReconcileReason.MISMATCHED), SILENT, Status.SUBMITTED),
        (in_doubt(ReconcileReason.UNREADABLE), [RUNNING], Status.RUNNING),
        (in_doubt(ReconcileReason.UNREADABLE), GONE, Status.SUBMITTED),
        (in_doubt(ReconcileReason.NO_OUTPUT), [DONE], Status.SUCCEEDED),
        (in_doubt(ReconcileReason.NO_OUTPUT), [RUNNING], Status.RUNNING),
        (in_doubt(ReconcileReason.NO_OUTPUT), SILENT, Status.FAILED),
        (in_doubt(ReconcileReason.NO_OUTPUT), GONE, Status.FAILED),
        (
            in_doubt(ReconcileReason.ANSWER_LOST, status=Status.SUBMITTING),
            SILENT,
            Status.SUBMITTING,
        ),
        (in_doubt(ReconcileReason.SECOND_END, status=Status.FAILED), [DONE], Status.FAILED),
        (in_doubt(ReconcileReason.SECOND_END, status=Status.SUCCEEDED), [FAILED], Status.SUCCEEDED),
    ],
)
def test_what_was_found_and_why_it_was_asked_decide(
    job: Job, finding: LookupResult, status: Status
) -> None:
    after = settled(job, finding)

    assert after.status is status
    assert after.reconcile_reason is None


def test_a_deadline_moves_once_and_by_an_hour_at_most() -> None:
    short = settled(overdue(deadline_seconds=60), [RUNNING])
    long = settled(overdue(deadline_seconds=86_400), [RUNNING])

    assert short.deadline_at == OVER + 30 * SECOND
    assert long.deadline_at == OVER + LONGEST_EXTENSION
    assert (short.deadline_extended, short.version) == (True, overdue().version + 2)


def test_what_is_in_at_the_deadline_is_kept_and_said() -> None:
    have = Output(text="one")

    after = settled(overdue(expected_parts=4, received_parts=("1",), output=have), SILENT)

    assert (after.status, after.output) == (Status.EXPIRED, have)
    assert after.error is not None
    assert "1 of 4 results were received" in after.error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.SUBMITTING, ErrorCode.SUBMIT_UNKNOWN), (Status.SUBMITTED, ErrorCode.TIMED_OUT)],
)
def test_an_expiry_says_whether_the_job_ever_arrived(status: Status, code: ErrorCode) -> None:
    error = settled(overdue(status=status), SILENT).error

    assert error is not None
    assert (error.code, error.retryable) == (code, True)


def test_a_read_that_was_not_answered_is_made_again_later_each_time() -> None:
    job, pauses = overdue(), []
    while later := postponed(job, OVER):
        job = later
        pauses.append((job.next_check_at or 0) - OVER)

    assert pauses == [30 * SECOND, 120 * SECOND]
    assert len(pauses) == MAX_LOOKUPS - 1


@pytest.mark.parametrize("finding", [[DONE], GONE, SILENT])
def test_a_settlement_is_said_in_words(finding: LookupResult) -> None:
    words = reconcile(overdue(), finding, OVER).explanation

    assert words.endswith(("the job is now succeeded.", "the job is now expired."))


# Answers to the submit


def taken(
    job: Job, answer: Answer, in_doubt: LostAnswerPolicy = LostAnswerPolicy.AWAIT, status: int = 200
) -> UnitOfWork:
    uow = unit_of_work(Snapshot(jobs={job.ref: job}, permanent={}), T0)
    reply = Reply(status=status, headers={}, body=b"")
    given = SubmitResult(sent=job, answer=answer, reply=reply, on_lost_answer=in_doubt, jitter=0.5)
    apply_answer(uow, given)
    return uow


def sent(**changes: Any) -> Job:
    return build_job(**{"status": Status.SUBMITTING, "tries": 1, "due_at": OVER, **changes})


def test_a_lost_answer_is_waited_for_before_the_provider_is_asked() -> None:
    job = sent()

    after = taken(job, SILENT).changes.jobs[job.id]

    assert (after.status, after.due_at) == (Status.SUBMITTING, None)
    assert (after.reconcile_reason, after.next_check_at) == (
        ReconcileReason.ANSWER_LOST,
        T0 + ANSWER_GRACE,
    )


def test_what_costs_nothing_to_repeat_is_repeated_so_many_times() -> None:
    job, pauses = sent(), []
    for _ in range(MAX_UNANSWERED):
        after = taken(job, SILENT, LostAnswerPolicy.RESEND).changes.jobs[job.id]
        pauses.append((after.due_at or 0) - T0)
        job = replace(after, status=Status.SUBMITTING)
    last = taken(job, SILENT, LostAnswerPolicy.RESEND).changes.jobs[job.id]

    assert pauses == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND, 32 * SECOND]
    assert last.status is Status.FAILED


def test_a_paid_request_is_never_repeated_by_us() -> None:
    job = sent()

    after = taken(job, SILENT, LostAnswerPolicy.FAIL).changes.jobs[job.id]

    assert after.error is not None
    assert (after.status, after.error.code) == (Status.FAILED, ErrorCode.SUBMIT_UNKNOWN)
    assert after.error.retryable


def test_busy_puts_it_back_and_leaves_the_account_alone() -> None:
    job = sent()

    changes = taken(job, RetryLater(message="busy", retry_after_seconds=7)).changes

    assert changes.jobs[job.id].status is Status.QUEUED
    assert changes.holds[job.account].until == T0 + 7 * SECOND


@pytest.mark.parametrize("answer", [SILENT, RetryLater(message="late")])
def test_an_answer_to_an_earlier_sending_decides_nothing(answer: Answer) -> None:
    job = sent(tries=2)
    uow = unit_of_work(Snapshot(jobs={job.ref: job}, permanent={}), T0)
    earlier = replace(job, tries=1)

    apply_answer(
        uow,
        SubmitResult(
            sent=earlier,
            answer=answer,
            reply=None,
            on_lost_answer=LostAnswerPolicy.RESEND,
            jitter=0,
        ),
    )

    assert uow.changes.jobs == {}


def refusal(code: ErrorCode) -> Report:
    error = JobError(code=code, message="no", stage=ErrorStage.SUBMIT)
    return a_report(status=Status.FAILED, error=error)


@pytest.mark.parametrize(
    ("code", "status", "after"),
    [
        (ErrorCode.UNAUTHORIZED, 401, Status.QUEUED),
        (ErrorCode.INSUFFICIENT_CREDITS, 402, Status.QUEUED),
        (ErrorCode.INSUFFICIENT_CREDITS, 412, Status.QUEUED),
        (ErrorCode.UNAUTHORIZED, 403, Status.FAILED),
        (ErrorCode.INVALID_INPUT, 400, Status.FAILED),
    ],
)
def test_a_refusal_of_the_account_burns_no_job(code: ErrorCode, status: int, after: Status) -> None:
    job = sent()

    changes = taken(job, refusal(code), status=status).changes

    assert changes.jobs[job.id].status is after
    assert (job.account in changes.holds) == (after is Status.QUEUED)
