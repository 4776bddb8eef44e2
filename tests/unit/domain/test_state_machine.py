import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.jobs.job import ENDS, RANK, Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.jobs.state_machine import admitted, apply_report, ended, requeued
from service.domain.jobs.view import render_job
from service.domain.primitives.timestamps import SECOND, rfc3339
from tests.support.factories import T0, a_report, build_job

LATER = T0 + 90 * SECOND
OVERLOADED = JobError(code=ErrorCode.PROVIDER_ERROR, message="overloaded")
PICTURE = Output(artifacts=(Artifact(kind="image", url="https://cdn.example/1.png"),))

REPORTS = {
    "submitted": a_report(status=Status.SUBMITTED),
    "running": a_report(status=Status.RUNNING),
    "succeeded": a_report(status=Status.SUCCEEDED, output=PICTURE),
    "failed": a_report(status=Status.FAILED, error=OVERLOADED),
    "canceled": a_report(status=Status.CANCELED),
    "unknown word": a_report(provider_status="PONDERING"),
    "part success": a_report(status=Status.SUCCEEDED, part="1", output=PICTURE),
    "part failure": a_report(status=Status.FAILED, part="1", error=OVERLOADED),
}
MOVES: dict[str, tuple[str | None, ...]] = {
    # before: after submitted, running, succeeded, failed, canceled, an unknown word,
    # one of two parts succeeded, one of two parts failed; None: nothing changes
    "queued": ("submitted", "running", "succeeded", "failed", "canceled", *["queued"] * 3),
    "submitting": ("submitted", "running", "succeeded", "failed", "canceled", *["submitting"] * 3),
    "submitted": (None, "running", "succeeded", "failed", "canceled", *["submitted"] * 3),
    "running": (None, None, "succeeded", "failed", "canceled", *["running"] * 3),
    "succeeded": (None,) * 8,
    "failed": (None,) * 8,
    "canceled": (None, None, "canceled", None, None, None, "canceled", None),
    "expired": (None, None, "succeeded", "failed", "canceled", None, "expired", "expired"),
}
TABLE = [
    (Status(before), name, after)
    for before, row in MOVES.items()
    for name, after in zip(REPORTS, row, strict=True)
]

SOME_REPORTS = st.lists(
    st.builds(
        Report,
        status=st.sampled_from([None, *Status]).filter(lambda s: s is not Status.EXPIRED),
        provider_status=st.sampled_from([None, "PENDING", "THROTTLED", "RUNNING"]),
        progress=st.none() | st.floats(0, 1),
        progress_text=st.none() | st.text(max_size=3),
        part=st.none() | st.sampled_from(["1", "2", "3", "4"]),
        output=st.none() | st.just(PICTURE),
        error=st.none() | st.just(OVERLOADED),
        cost_usd=st.none() | st.floats(0, 1),
    ),
    max_size=12,
)


def told(job: Job, *reports: Report) -> Job:
    for report in reports:
        job = apply_report(job, report, LATER) or job
    return job


def a_part(key: str, error: JobError | None = None, **changes: Any) -> Report:
    status = Status.FAILED if error else Status.SUCCEEDED
    return a_report(status=status, part=key, error=error, **changes)


def steps(job: Job, reports: Sequence[Report]) -> list[tuple[Job, Job]]:
    pairs = []
    for report in reports:
        moved = apply_report(job, report, LATER)
        if moved is not None:
            pairs.append((job, moved))
            job = moved
    return pairs


@pytest.mark.parametrize(("before", "report", "after"), TABLE)
def test_every_status_takes_every_report_as_the_table_says(
    before: Status, report: str, after: str | None
) -> None:
    job = build_job(status=before, expected_parts=2)

    moved = apply_report(job, REPORTS[report], LATER)

    assert (moved and moved.status) == after


@pytest.mark.parametrize("status", sorted(ENDS))
def test_an_end_stamps_its_time_and_leaves_nothing_due(status: Status) -> None:
    job = build_job(status=Status.SUBMITTING, due_at=T0)

    moved = ended(job, status, None, LATER)

    assert (moved.finished_at, moved.submitted_at, moved.due_at) == (LATER, LATER, None)


def test_a_success_is_complete_and_bears_no_error() -> None:
    job = build_job(status=Status.EXPIRED, progress=0.4, error=OVERLOADED)

    moved = told(job, REPORTS["succeeded"])

    assert (moved.progress, moved.error, moved.output) == (1.0, None, PICTURE)


def test_a_failure_says_why_and_keeps_how_far_it_got() -> None:
    job = build_job(status=Status.RUNNING, progress=0.4)

    moved = told(job, REPORTS["failed"])

    assert (moved.progress, moved.error) == (0.4, OVERLOADED)


def test_a_cancel_bears_no_error() -> None:
    moved = told(build_job(), a_report(status=Status.CANCELED, error=OVERLOADED))

    assert moved.error is None


def test_being_accepted_starts_the_deadline_once() -> None:
    job = build_job(status=Status.SUBMITTING, due_at=T0, deadline_seconds=60)

    accepted = told(job, REPORTS["submitted"])
    running = apply_report(accepted, REPORTS["running"], LATER + SECOND)

    assert running is not None
    assert (running.submitted_at, running.due_at) == (LATER, None)
    assert running.deadline_at == LATER + 60 * SECOND


def test_an_unknown_word_is_kept_and_accepts_nothing() -> None:
    moved = told(build_job(status=Status.SUBMITTING, due_at=T0), REPORTS["unknown word"])

    assert (moved.provider_status, moved.submitted_at, moved.due_at) == ("PONDERING", None, T0)


def test_the_word_of_an_overtaken_report_is_not_kept() -> None:
    job = build_job(status=Status.RUNNING, provider_status="RUNNING")

    moved = apply_report(job, a_report(status=Status.SUBMITTED, provider_status="PENDING"), LATER)

    assert moved is None


def test_pending_and_throttled_may_alternate() -> None:
    job = build_job(status=Status.SUBMITTED, provider_status="PENDING")
    throttled = a_report(status=Status.SUBMITTED, provider_status="THROTTLED")
    pending = a_report(status=Status.SUBMITTED, provider_status="PENDING")

    moved = told(job, throttled, pending)

    assert (moved.provider_status, moved.version) == ("PENDING", job.version + 2)


@pytest.mark.parametrize(
    ("before", "reported", "after"),
    [(None, 0.2, 0.2), (0.2, 0.5, 0.5), (0.5, 0.2, 0.5), (0.5, 0.5, 0.5), (0.5, None, 0.5)],
)
def test_progress_only_grows(before: float | None, reported: float | None, after: float) -> None:
    job = build_job(status=Status.RUNNING, progress=before)

    assert told(job, a_report(status=Status.RUNNING, progress=reported)).progress == after


@pytest.mark.parametrize(
    ("reported", "said", "after"),
    [
        (0.6, "rendering", "rendering"),
        (0.5, "still", "still"),
        (0.2, "old", "half"),
        (0.6, None, "half"),
    ],
)
def test_a_text_counts_unless_its_progress_is_overtaken(
    reported: float, said: str | None, after: str
) -> None:
    job = build_job(status=Status.RUNNING, progress=0.5, progress_text="half")
    report = a_report(status=Status.RUNNING, progress=reported, progress_text=said)

    assert told(job, report).progress_text == after


def test_the_first_task_id_stays() -> None:
    moved = told(build_job(), a_report(task_id="t1"), a_report(task_id="t2"))

    assert moved.provider_task_id == "t1"


def test_a_repeated_report_changes_nothing() -> None:
    report = a_report(status=Status.RUNNING, provider_status="RUNNING", progress=0.3, cost_usd=0.1)

    moved = told(build_job(), report)

    assert apply_report(moved, report, LATER) is None


def test_an_expired_job_keeps_the_parts_that_came_late() -> None:
    job = build_job(status=Status.EXPIRED, expected_parts=2, error=OVERLOADED)

    first = told(job, a_part("1"))
    second = told(first, a_part("2"))

    assert (first.status, first.received_parts) == (Status.EXPIRED, ("1",))
    assert (second.status, second.error) == (Status.SUCCEEDED, None)


def test_a_canceled_job_keeps_no_more_results_than_it_has_parts() -> None:
    job = build_job(status=Status.CANCELED, expected_parts=2)
    results = [a_part(str(n), output=Output(text=str(n))) for n in range(4)]

    assert told(job, *results).received_parts == ("0", "1")


def test_a_job_ends_with_the_last_of_its_parts() -> None:
    job = build_job(status=Status.SUBMITTED, expected_parts=3)

    moved = told(job, a_part("1"), a_part("2"))

    assert (moved.status, moved.progress) == (Status.SUBMITTED, 0.6667)
    assert told(moved, a_part("3")).status is Status.SUCCEEDED


def test_the_same_part_twice_counts_once() -> None:
    job = told(build_job(expected_parts=2), a_part("1", output=PICTURE, cost_usd=0.5))

    again = apply_report(job, a_part("1", output=PICTURE, cost_usd=0.5), LATER)

    assert again is None


def test_a_part_that_failed_is_listed_beside_those_that_succeeded() -> None:
    job = build_job(status=Status.SUBMITTED, expected_parts=2)

    moved = told(job, a_part("1", OVERLOADED), a_part("2", output=PICTURE))

    assert (moved.status, moved.error) == (Status.SUCCEEDED, None)
    assert moved.output == Output(artifacts=PICTURE.artifacts, errors=(OVERLOADED,))


def test_a_job_fails_when_all_its_parts_failed() -> None:
    second = JobError(code=ErrorCode.MODERATED, message="no")

    moved = told(build_job(expected_parts=2), a_part("1", OVERLOADED), a_part("2", second))

    assert (moved.status, moved.error) == (Status.FAILED, OVERLOADED)
    assert moved.output == Output(errors=(OVERLOADED, second))


def test_the_costs_of_parts_add_up() -> None:
    job = build_job(expected_parts=3)

    moved = told(job, a_part("1", cost_usd=0.1), a_part("2", cost_usd=0.2), a_part("3"))

    assert moved.cost_usd == 0.3


def test_a_cost_of_the_whole_replaces_the_one_before() -> None:
    moved = told(build_job(), a_report(cost_usd=0.1), a_report(cost_usd=0.2))

    assert moved.cost_usd == 0.2


@pytest.mark.parametrize(
    ("outputs", "text", "data"),
    [
        ([Output(text="one"), Output(text="two")], "one\n\ntwo", None),
        ([Output(data={"n": 1}), Output()], None, {"n": 1}),
        ([Output(data={"n": 1}), Output(data={"n": 2})], None, [{"n": 1}, {"n": 2}]),
        ([Output(data={"n": n}) for n in (1, 2, 3)], None, [{"n": 1}, {"n": 2}, {"n": 3}]),
    ],
)
def test_the_outputs_of_parts_are_joined(
    outputs: list[Output], text: str | None, data: Any
) -> None:
    job = build_job(expected_parts=len(outputs))

    moved = told(job, *(a_part(str(n), output=output) for n, output in enumerate(outputs)))

    assert moved.output == Output(text=text, data=data)


def test_a_job_in_hand_is_submitting_until_its_lease_ends() -> None:
    moved = admitted(build_job(deadline_seconds=60), T0, LATER)

    assert (moved.status, moved.due_at, moved.tries) == (Status.SUBMITTING, LATER, 1)
    assert (moved.deadline_at, moved.version) == (T0 + 60 * SECOND, 2)


def test_a_job_that_was_not_taken_waits_again_without_a_deadline() -> None:
    moved = requeued(admitted(build_job(), T0, LATER))

    assert (moved.status, moved.due_at, moved.deadline_at) == (Status.QUEUED, None, None)
    assert (moved.tries, moved.version) == (1, 3)


def test_an_expiry_of_ours_says_why() -> None:
    late = JobError(code=ErrorCode.TIMED_OUT, message="late", stage=ErrorStage.TIMEOUT)

    moved = ended(build_job(status=Status.RUNNING, output=PICTURE), Status.EXPIRED, late, LATER)

    assert (moved.error, moved.output) == (late, PICTURE)


def test_a_job_is_shown_with_its_times_as_text_and_nothing_of_ours() -> None:
    shown = render_job(told(build_job(tags=("sea",)), REPORTS["running"]))

    assert shown.submitted_at == rfc3339(LATER)
    assert shown.finished_at is None
    assert not {"tenant", "account", "due_at", "received_parts"} & set(shown.__struct_fields__)


@given(SOME_REPORTS, st.integers(1, 4))
def test_no_sequence_of_reports_moves_a_job_backwards(reports: list[Report], parts: int) -> None:
    for before, after in steps(build_job(expected_parts=parts), reports):
        assert RANK[after.status] >= RANK[before.status]
        assert (after.progress or 0) >= (before.progress or 0)
        assert after.version > before.version
        assert not before.ended or after.status is before.status is Status.CANCELED


@given(SOME_REPORTS)
def test_only_an_end_replaces_an_expiry(reports: list[Report]) -> None:
    for before, after in steps(build_job(status=Status.EXPIRED, expected_parts=3), reports):
        assert before.status is Status.EXPIRED or after.status is before.status is Status.CANCELED
        assert after.status in ENDS
        assert (after.progress or 0) >= (before.progress or 0)
        assert after.version > before.version


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_parts_does_not_matter_to_the_end(
    failures: list[bool], chance: random.Random
) -> None:
    job = build_job(expected_parts=len(failures))
    parts = [
        a_part(str(n), OVERLOADED if failed else None, cost_usd=0.1 * n)
        for n, failed in enumerate(failures)
    ]
    shuffled = [*parts, *parts]
    chance.shuffle(shuffled)

    in_order, in_disorder = told(job, *parts), told(job, *shuffled)

    assert in_order.status is (Status.FAILED if all(failures) else Status.SUCCEEDED)
    assert in_disorder.status is in_order.status
    assert in_disorder.cost_usd == pytest.approx(in_order.cost_usd)
