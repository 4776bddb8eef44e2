from typing import Any

import msgspec
import pytest

from handlers.schemas.callbacks import render_callback
from service.domain.callbacks import MAX_RECONCILES, Callback, Verdict, assess, correlate
from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from tests.support.factories import T0, a_callback, a_ref, a_report, build_job

OURS, OTHER = a_ref(1), a_ref(2)


def submitted(**changes: Any) -> Job:
    return build_job(**{"ref": OURS, "status": Status.SUBMITTED, **changes})


def nobody(_: Job) -> bool:
    """No provider may be asked."""
    return False


@pytest.mark.parametrize(
    ("known", "report"),
    [
        (None, a_report()),
        (None, a_report(refs=(OURS,))),
        (None, a_report(refs=(OURS, OURS), task_id="user:1-task:9")),
        ("user:1-task:9", a_report(refs=(OURS,), task_id="user:1-task:9")),
        ("user:1-task:9", a_report(task_id="task:9")),
        ("task:9", a_report(task_id="user:1-task:9")),
        ("task:9", a_report()),
    ],
)
def test_a_body_that_names_nothing_else_is_about_the_ref_of_its_url(
    known: str | None, report: Report
) -> None:
    job = build_job(ref=OURS, provider_task_id=known)

    assert correlate(job, OURS, [report]) == [report]


@pytest.mark.parametrize(
    ("known", "report"),
    [
        (None, a_report(refs=(OTHER,))),
        (None, a_report(refs=(OURS, OTHER))),
        ("task:9", a_report(task_id="task:8")),
        ("task:9", a_report(refs=(OURS,), task_id="task:8")),
    ],
)
def test_a_body_that_names_another_submission_contradicts_its_url(
    known: str | None, report: Report
) -> None:
    job = build_job(ref=OURS, provider_task_id=known)

    assert correlate(job, OURS, [report]) is None


def test_of_several_tasks_in_one_body_only_ours_counts() -> None:
    ours, other = a_report(refs=(OURS,)), a_report(refs=(OTHER,))

    assert correlate(submitted(), OURS, [other, ours]) == [ours]


def test_one_contradiction_spoils_the_whole_body() -> None:
    reports = [a_report(refs=(OURS,)), a_report(refs=(OURS, OTHER))]

    assert correlate(submitted(), OURS, reports) is None


def test_an_empty_body_agrees_with_nothing() -> None:
    assert correlate(submitted(), OURS, []) is None


RUNNING = a_report(refs=(OURS,), status=Status.RUNNING)


@pytest.mark.parametrize(
    ("job", "reports", "verdict"),
    [
        (submitted(), [RUNNING], Verdict.ACCEPTED),
        (submitted(), [a_report(status=Status.SUBMITTED)], Verdict.LATE),
        (build_job(ref=OURS, status=Status.SUCCEEDED), [RUNNING], Verdict.LATE),
        (build_job(ref=OTHER, status=Status.SUBMITTED), [RUNNING], Verdict.LATE),
        (submitted(), [a_report(refs=(OTHER,), status=Status.RUNNING)], Verdict.MISMATCHED),
        (submitted(), [], Verdict.MISMATCHED),
        (submitted(), None, Verdict.UNREADABLE),
        (build_job(ref=OURS), [RUNNING], Verdict.ACCEPTED),
    ],
    ids=[
        "it moves the job",
        "it says nothing new",
        "the job has ended",
        "a newer submission decides",
        "it names another ref",
        "it names nothing",
        "it cannot be read",
        "it comes before the answer to the submit",
    ],
)
def test_each_callback_has_its_verdict(
    job: Job, reports: list[Report] | None, verdict: Verdict
) -> None:
    found = assess(job, OURS, reports, T0, nobody)

    assert found.verdict is verdict
    assert (len(found.steps) > 0) == (verdict is Verdict.ACCEPTED)
    assert found.reconcile_reason is None


def test_each_report_of_a_callback_is_a_step_of_its_own() -> None:
    parts = [a_report(status=Status.SUCCEEDED, part=key) for key in ("1", "1", "2")]
    job = build_job(ref=OURS, status=Status.SUBMITTED, expected_parts=2)

    steps = assess(job, OURS, parts, T0, nobody).steps

    assert [step.status for step in steps] == [Status.SUBMITTED, Status.SUCCEEDED]
    assert [step.received_parts for step in steps] == [("1",), ("1", "2")]


def test_one_new_report_among_old_ones_is_accepted() -> None:
    reports = [a_report(status=Status.SUBMITTED), RUNNING]

    found = assess(submitted(), OURS, reports, T0, nobody)

    assert found.verdict is Verdict.ACCEPTED
    assert [step.status for step in found.steps] == [Status.RUNNING]


EMPTY = a_report(status=Status.FAILED, error=JobError(code=ErrorCode.NO_OUTPUT, message="nothing"))
DONE = a_report(status=Status.SUCCEEDED, output=Output(text="x"))


@pytest.mark.parametrize(
    ("job", "reports", "verdict", "doubt"),
    [
        (submitted(), None, Verdict.UNREADABLE, ReconcileReason.UNREADABLE),
        (submitted(), [a_report(refs=(OTHER,))], Verdict.MISMATCHED, ReconcileReason.MISMATCHED),
        (submitted(), [EMPTY], Verdict.ACCEPTED, ReconcileReason.NO_OUTPUT),
        (submitted(status=Status.FAILED), [DONE], Verdict.LATE, ReconcileReason.SECOND_END),
        (submitted(status=Status.SUCCEEDED), [EMPTY], Verdict.LATE, ReconcileReason.SECOND_END),
        (submitted(status=Status.SUCCEEDED), [DONE], Verdict.LATE, None),
        (submitted(status=Status.SUCCEEDED), None, Verdict.UNREADABLE, None),
        (submitted(status=Status.EXPIRED), [DONE], Verdict.ACCEPTED, None),
        (submitted(status=Status.CANCELED), [DONE], Verdict.LATE, None),
        (submitted(reconcile_count=MAX_RECONCILES), None, Verdict.UNREADABLE, None),
        (submitted(reconcile_count=MAX_RECONCILES), [EMPTY], Verdict.ACCEPTED, None),
    ],
)
def test_what_contradicts_a_job_raises_a_doubt(
    job: Job, reports: list[Report] | None, verdict: Verdict, doubt: ReconcileReason | None
) -> None:
    found = assess(job, OURS, reports, T0, lambda _: True)

    assert (found.verdict, found.reconcile_reason) == (verdict, doubt)
    assert doubt is None or found.steps == ()


def test_what_may_not_be_asked_about_is_taken_at_its_word() -> None:
    (failed,) = assess(submitted(), OURS, [EMPTY], T0, nobody).steps

    assert failed.error is not None
    assert failed.error.code is ErrorCode.NO_OUTPUT


def test_a_result_after_a_cancel_is_kept_and_ends_nothing() -> None:
    (kept,) = assess(submitted(status=Status.CANCELED), OURS, [DONE], T0, nobody).steps

    assert (kept.status, kept.output) == (Status.CANCELED, DONE.output)
    assert assess(kept, OURS, [DONE], T0, nobody).steps == ()


def test_a_callback_is_shown_without_tenant_and_digest() -> None:
    job = submitted()
    callback: Callback = a_callback(job)

    shown = msgspec.to_builtins(render_callback(callback))

    assert shown == {
        "id": callback.id,
        "object": "callback",
        "provider": "useapi",
        "ref": OURS,
        "job": job.id,
        "verdict": "accepted",
        "repeats": 0,
        "received_at": "2026-01-01T12:00:00.000Z",
        "quarantine": None,
        "settled_at": None,
        "settlement": None,
    }


def test_a_callback_asked_for_is_shown_with_its_body() -> None:
    assert render_callback(a_callback(submitted()), "{}").body == "{}"
