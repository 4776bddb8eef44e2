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


def no_lookup(_: Job) -> bool:
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
def test_a_body_without_other_ids_is_about_the_ref_of_its_url(
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
def test_a_body_that_names_another_submission_does_not_match_its_url(
    known: str | None, report: Report
) -> None:
    job = build_job(ref=OURS, provider_task_id=known)

    assert correlate(job, OURS, [report]) is None


def test_only_our_task_counts_among_several_in_one_body() -> None:
    ours, other = a_report(refs=(OURS,)), a_report(refs=(OTHER,))

    assert correlate(submitted(), OURS, [other, ours]) == [ours]


def test_one_contradictory_report_makes_the_whole_body_mismatched() -> None:
    reports = [a_report(refs=(OURS,)), a_report(refs=(OURS, OTHER))]

    assert correlate(submitted(), OURS, reports) is None


def test_a_body_without_reports_matches_nothing() -> None:
    assert correlate(submitted(), OURS, []) is None


def test_a_callback_for_an_earlier_submission_is_late_though_it_names_the_task_of_that_one() -> (
    None
):
    retried = submitted(ref=OTHER, provider_task_id="task:of-the-retry")
    report = a_report(refs=(OURS,), task_id="task:of-the-first", status=Status.SUCCEEDED)

    assessment = assess(retried, OURS, [report], T0, lambda _: True)

    assert (assessment.verdict, assessment.steps, assessment.reconcile_reason) == (
        Verdict.LATE,
        (),
        None,
    )


def test_a_callback_for_an_earlier_submission_that_names_a_third_one_is_mismatched() -> None:
    retried = submitted(ref=OTHER, provider_task_id="task:of-the-retry")

    assessment = assess(retried, OURS, [a_report(refs=(OURS, a_ref(3)))], T0, lambda _: True)

    assert assessment.verdict is Verdict.MISMATCHED


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
        "it changes the job",
        "it repeats what is known",
        "the job has ended",
        "there is a newer submission",
        "it names another ref",
        "it has no report",
        "it cannot be read",
        "it arrives before the answer to the submit",
    ],
)
def test_the_verdict_of_each_kind_of_callback(
    job: Job, reports: list[Report] | None, verdict: Verdict
) -> None:
    assessment = assess(job, OURS, reports, T0, no_lookup)

    assert assessment.verdict is verdict
    assert (len(assessment.steps) > 0) == (verdict is Verdict.ACCEPTED)
    assert assessment.reconcile_reason is None


def test_each_report_of_a_callback_is_a_separate_step() -> None:
    parts = [a_report(status=Status.SUCCEEDED, part=key) for key in ("1", "1", "2")]
    job = build_job(ref=OURS, status=Status.SUBMITTED, expected_parts=2)

    steps = assess(job, OURS, parts, T0, no_lookup).steps

    assert [step.status for step in steps] == [Status.SUBMITTED, Status.SUCCEEDED]
    assert [step.received_parts for step in steps] == [("1",), ("1", "2")]


def test_one_new_report_among_old_ones_is_accepted() -> None:
    reports = [a_report(status=Status.SUBMITTED), RUNNING]

    assessment = assess(submitted(), OURS, reports, T0, no_lookup)

    assert assessment.verdict is Verdict.ACCEPTED
    assert [step.status for step in assessment.steps] == [Status.RUNNING]


EMPTY = a_report(status=Status.FAILED, error=JobError(code=ErrorCode.NO_OUTPUT, message="nothing"))
DONE = a_report(status=Status.SUCCEEDED, output=Output(text="x"))


@pytest.mark.parametrize(
    ("job", "reports", "verdict", "reason"),
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
def test_a_callback_that_contradicts_its_job_has_it_looked_up(
    job: Job, reports: list[Report] | None, verdict: Verdict, reason: ReconcileReason | None
) -> None:
    assessment = assess(job, OURS, reports, T0, lambda _: True)

    assert (assessment.verdict, assessment.reconcile_reason) == (verdict, reason)
    assert reason is None or assessment.steps == ()


def test_without_a_lookup_a_contradictory_report_is_applied() -> None:
    (failed,) = assess(submitted(), OURS, [EMPTY], T0, no_lookup).steps

    assert failed.error is not None
    assert failed.error.code is ErrorCode.NO_OUTPUT


def test_a_result_after_a_cancel_is_stored_once_and_does_not_change_the_status() -> None:
    (stored,) = assess(submitted(status=Status.CANCELED), OURS, [DONE], T0, no_lookup).steps

    assert (stored.status, stored.output) == (Status.CANCELED, DONE.output)
    assert assess(stored, OURS, [DONE], T0, no_lookup).steps == ()


def test_a_callback_is_rendered_without_tenant_and_digest() -> None:
    job = submitted()
    callback: Callback = a_callback(job)

    view = msgspec.to_builtins(render_callback(callback))

    assert view == {
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


def test_a_single_callback_is_rendered_with_its_body() -> None:
    assert render_callback(a_callback(submitted()), "{}").body == "{}"
