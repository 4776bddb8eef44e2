from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.domain.jobs.state_machine import schedule_reconcile
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import (
    Answer,
    Inconclusive,
    LookupResult,
    LostAnswerPolicy,
    RetryLater,
    TaskNotFound,
)
from service.transactions.change_set import Snapshot
from service.transactions.reconciliation import (
    LONGEST_EXTENSION,
    MAX_LOOKUPS,
    NOT_ASKED,
    RETRY_PAUSE,
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

DEADLINE = T0 + 3600 * SECOND
DONE = a_report(status=Status.SUCCEEDED, output=Output(text="x"))
FAILED = a_report(
    status=Status.FAILED, error=JobError(code=ErrorCode.PROVIDER_ERROR, message="it broke")
)
RUNNING = a_report(status=Status.RUNNING)
NOT_FOUND = TaskNotFound(message="Job has expired")
NO_ANSWER = Inconclusive(message="nothing")


def overdue(**changes: Any) -> Job:
    return build_job(**{"status": Status.SUBMITTED, "deadline_at": DEADLINE, **changes})


def contradicted(reason: ReconcileReason, **changes: Any) -> Job:
    return schedule_reconcile(overdue(**changes), reason, T0)


def reconciled(job: Job, found: LookupResult, at: int = DEADLINE) -> Job:
    steps = reconcile(job, found, at).steps
    return steps[-1] if steps else job


@pytest.mark.parametrize(
    ("job", "found", "status"),
    [
        (overdue(), [DONE], Status.SUCCEEDED),
        (overdue(), [FAILED], Status.FAILED),
        (overdue(), NOT_FOUND, Status.EXPIRED),
        (overdue(), NO_ANSWER, Status.EXPIRED),
        (overdue(), NOT_ASKED, Status.EXPIRED),
        (overdue(), [RUNNING], Status.RUNNING),
        (overdue(deadline_extended=True), [RUNNING], Status.EXPIRED),
        (overdue(status=Status.SUBMITTING), NO_ANSWER, Status.EXPIRED),
        (build_job(), NOT_ASKED, Status.EXPIRED),
        (contradicted(ReconcileReason.MISMATCHED), [DONE], Status.SUCCEEDED),
        (contradicted(ReconcileReason.MISMATCHED), NO_ANSWER, Status.SUBMITTED),
        (contradicted(ReconcileReason.UNREADABLE), [RUNNING], Status.RUNNING),
        (contradicted(ReconcileReason.UNREADABLE), NOT_FOUND, Status.SUBMITTED),
        (contradicted(ReconcileReason.NO_OUTPUT), [DONE], Status.SUCCEEDED),
        (contradicted(ReconcileReason.NO_OUTPUT), [RUNNING], Status.RUNNING),
        (contradicted(ReconcileReason.NO_OUTPUT), NO_ANSWER, Status.FAILED),
        (contradicted(ReconcileReason.NO_OUTPUT), NOT_FOUND, Status.FAILED),
        (
            contradicted(ReconcileReason.ANSWER_LOST, status=Status.SUBMITTING),
            NO_ANSWER,
            Status.SUBMITTING,
        ),
        (contradicted(ReconcileReason.SECOND_END, status=Status.FAILED), [DONE], Status.FAILED),
        (
            contradicted(ReconcileReason.SECOND_END, status=Status.SUCCEEDED),
            [FAILED],
            Status.SUCCEEDED,
        ),
    ],
)
def test_the_lookup_result_and_its_reason_decide_the_status(
    job: Job, found: LookupResult, status: Status
) -> None:
    after = reconciled(job, found)

    assert after.status is status
    assert after.reconcile_reason is None


def test_a_deadline_is_extended_once_by_an_hour_at_most() -> None:
    short = reconciled(overdue(deadline_seconds=60), [RUNNING])
    long = reconciled(overdue(deadline_seconds=86_400), [RUNNING])

    assert short.deadline_at == DEADLINE + 30 * SECOND
    assert long.deadline_at == DEADLINE + LONGEST_EXTENSION
    assert (short.deadline_extended, short.version) == (True, overdue().version + 2)


def test_results_received_before_the_deadline_are_kept_and_counted_in_the_error() -> None:
    output = Output(text="one")

    after = reconciled(overdue(expected_parts=4, received_parts=("1",), output=output), NO_ANSWER)

    assert (after.status, after.output) == (Status.EXPIRED, output)
    assert after.error is not None
    assert "1 of 4 results were received" in after.error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.SUBMITTING, ErrorCode.SUBMIT_UNKNOWN), (Status.SUBMITTED, ErrorCode.TIMED_OUT)],
)
def test_the_error_of_an_expired_job_says_whether_it_was_accepted(
    status: Status, code: ErrorCode
) -> None:
    error = reconciled(overdue(status=status), NO_ANSWER).error

    assert error is not None
    assert (error.code, error.retryable) == (code, True)


def test_an_unanswered_lookup_is_repeated_with_growing_pauses() -> None:
    job, pauses = overdue(), []
    while later := postponed(job, DEADLINE):
        job = later
        pauses.append((job.next_check_at or 0) - DEADLINE)

    assert pauses == [30 * SECOND, 120 * SECOND]
    assert len(pauses) == MAX_LOOKUPS - 1


@pytest.mark.parametrize("found", [[DONE], NOT_FOUND, NO_ANSWER])
def test_the_explanation_names_the_new_status(found: LookupResult) -> None:
    explanation = reconcile(overdue(), found, DEADLINE).explanation

    assert explanation.endswith(("the job is now succeeded.", "the job is now expired."))


# Answers to the submit


def apply_submit_answer(
    job: Job,
    answer: Answer,
    on_lost_answer: LostAnswerPolicy = LostAnswerPolicy.AWAIT,
) -> UnitOfWork:
    uow = unit_of_work(Snapshot(jobs={job.ref: job}, permanent={}), T0)
    result = SubmitResult(sent=job, answer=answer, on_lost_answer=on_lost_answer, jitter=0.5)
    apply_answer(uow, result)
    return uow


def sent(**changes: Any) -> Job:
    return build_job(**{"status": Status.SUBMITTING, "tries": 1, "due_at": DEADLINE, **changes})


def test_after_a_lost_answer_the_job_is_looked_up_later() -> None:
    job = sent()

    after = apply_submit_answer(job, NO_ANSWER).changes.jobs[job.id]

    assert (after.status, after.due_at) == (Status.SUBMITTING, None)
    assert (after.reconcile_reason, after.next_check_at) == (
        ReconcileReason.ANSWER_LOST,
        T0 + ANSWER_GRACE,
    )


def test_a_submit_that_may_be_repeated_is_repeated_five_times() -> None:
    job, pauses = sent(), []
    for _ in range(MAX_UNANSWERED):
        after = apply_submit_answer(job, NO_ANSWER, LostAnswerPolicy.RESEND).changes.jobs[job.id]
        pauses.append((after.due_at or 0) - T0)
        job = replace(after, status=Status.SUBMITTING)
    last = apply_submit_answer(job, NO_ANSWER, LostAnswerPolicy.RESEND).changes.jobs[job.id]

    assert pauses == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND, 32 * SECOND]
    assert last.status is Status.FAILED


def test_a_submit_that_could_be_billed_twice_is_not_repeated() -> None:
    job = sent()

    after = apply_submit_answer(job, NO_ANSWER, LostAnswerPolicy.FAIL).changes.jobs[job.id]

    assert after.error is not None
    assert (after.status, after.error.code) == (Status.FAILED, ErrorCode.SUBMIT_UNKNOWN)
    assert after.error.retryable


def test_a_busy_provider_requeues_the_job_and_holds_the_account() -> None:
    job = sent()

    changes = apply_submit_answer(job, RetryLater(message="busy", retry_after_seconds=7)).changes

    assert changes.jobs[job.id].status is Status.QUEUED
    assert changes.holds[job.account].until == T0 + 7 * SECOND


def test_a_busy_provider_that_names_no_delay_is_called_again_after_10_to_30_seconds() -> None:
    """The pause of this test is in the middle, as its jitter is (useapi.net on frames/create)."""
    job = sent()

    changes = apply_submit_answer(job, RetryLater(message="busy")).changes

    assert changes.holds[job.account].until == T0 + (10 + 30) // 2 * SECOND


@pytest.mark.parametrize("answer", [NO_ANSWER, RetryLater(message="late")])
def test_an_answer_to_an_earlier_submit_changes_nothing(answer: Answer) -> None:
    job = sent(tries=2)
    uow = unit_of_work(Snapshot(jobs={job.ref: job}, permanent={}), T0)
    earlier = replace(job, tries=1)

    apply_answer(
        uow,
        SubmitResult(
            sent=earlier,
            answer=answer,
            on_lost_answer=LostAnswerPolicy.RESEND,
            jitter=0,
        ),
    )

    assert uow.changes.jobs == {}


def part(name: str, **changes: Any) -> Report:
    return a_report(
        **{"status": Status.SUCCEEDED, "part": name, "output": Output(text=name), **changes}
    )


def test_all_results_in_an_answer_end_the_job() -> None:
    job = sent(expected_parts=2)

    uow = apply_submit_answer(job, (part("0", cost_usd=0.5), part("1", cost_usd=0.25)))

    after = uow.changes.jobs[job.id]
    assert (after.status, after.received_parts) == (Status.SUCCEEDED, ("0", "1"))
    assert (after.cost_usd, after.output) == (0.75, Output(text="0\n\n1"))
    assert [event.type for event in uow.changes.events] == ["job.submitted", "job.succeeded"]
    assert [event.sequence for event in uow.changes.events] == [1, 2]


def test_a_job_with_some_of_its_results_in_the_answer_waits_for_the_others() -> None:
    job = sent(expected_parts=2)

    after = apply_submit_answer(job, (part("0"),)).changes.jobs[job.id]

    assert (after.status, after.due_at) == (Status.SUBMITTED, None)
    assert after.received_parts == ("0",)
    assert after.deadline_at is not None


@pytest.mark.parametrize("answer", [a_report(), a_report(progress=0.5), (a_report(), a_report())])
def test_a_job_whose_answer_was_read_is_not_left_submitting(answer: Answer) -> None:
    job = sent()

    after = apply_submit_answer(job, answer).changes.jobs[job.id]

    assert (after.status, after.due_at) == (Status.SUBMITTED, None)


def test_a_job_that_a_callback_overtook_is_looked_up_only_when_its_submit_is_answered() -> None:
    waiting = contradicted(ReconcileReason.EARLY, status=Status.SUBMITTING)
    still = reconciled(waiting, NOT_ASKED, T0)
    answered = reconciled(replace(waiting, status=Status.SUBMITTED), [DONE], T0)

    assert (still.reconcile_reason, still.reconcile_at) == (
        ReconcileReason.EARLY,
        T0 + RETRY_PAUSE,
    )
    assert answered.status is Status.SUCCEEDED
