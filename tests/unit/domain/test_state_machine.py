import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain.jobs.job import ENDS, RANK, Job, ReconcileReason, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.jobs.state_machine import (
    MAX_PROVIDER_INFO,
    admitted,
    apply_report,
    canceled,
    ended,
    requeued,
    retried,
    schedule_poll,
    schedule_reconcile,
)
from service.domain.jobs.view import render_job
from service.domain.primitives.timestamps import SECOND, rfc3339
from tests.support.factories import T0, a_ref, a_report, build_job

LATER = T0 + 90 * SECOND
OVERLOADED = JobError(code=ErrorCode.PROVIDER_ERROR, message="overloaded")
IMAGE = Output(artifacts=(Artifact(kind="image", url="https://cdn.example/1.png"),))

REPORTS = {
    "submitted": a_report(status=Status.SUBMITTED),
    "running": a_report(status=Status.RUNNING),
    "succeeded": a_report(status=Status.SUCCEEDED, output=IMAGE),
    "failed": a_report(status=Status.FAILED, error=OVERLOADED),
    "canceled": a_report(status=Status.CANCELED),
    "unknown status": a_report(provider_status="PONDERING"),
    "part success": a_report(status=Status.SUCCEEDED, part="1", output=IMAGE),
    "part failure": a_report(status=Status.FAILED, part="1", error=OVERLOADED),
}
FINAL = ("succeeded", "failed", "canceled")
TRANSITIONS: dict[str, tuple[str | None, ...]] = {
    # the status before, and the status after each of REPORTS; None: nothing changes
    "queued": ("submitted", "running", *FINAL, "queued", "submitted", "submitted"),
    "submitting": ("submitted", "running", *FINAL, "submitting", "submitted", "submitted"),
    "submitted": (None, "running", *FINAL, *["submitted"] * 3),
    "running": (None, None, *FINAL, *["running"] * 3),
    "succeeded": (None,) * 8,
    "failed": (None,) * 8,
    "canceled": (None, None, "canceled", None, None, None, "canceled", None),
    "expired": (None, None, *FINAL, None, "expired", "expired"),
}
TABLE = [
    (Status(before), name, after)
    for before, row in TRANSITIONS.items()
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
        output=st.none() | st.just(IMAGE),
        error=st.none() | st.just(OVERLOADED),
        cost_usd=st.none() | st.floats(0, 1),
        provider_info=st.none() | st.dictionaries(st.sampled_from("ab"), st.integers()),
    ),
    max_size=12,
)


def apply_all(job: Job, *reports: Report) -> Job:
    for report in reports:
        job = apply_report(job, report, LATER) or job
    return job


def a_part(key: str, error: JobError | None = None, **changes: Any) -> Report:
    status = Status.FAILED if error else Status.SUCCEEDED
    return a_report(status=status, part=key, error=error, **changes)


def transitions(job: Job, reports: Sequence[Report]) -> list[tuple[Job, Job]]:
    pairs = []
    for report in reports:
        after = apply_report(job, report, LATER)
        if after is not None:
            pairs.append((job, after))
            job = after
    return pairs


@pytest.mark.parametrize(("before", "report", "after"), TABLE)
def test_the_transition_of_each_status_by_each_report(
    before: Status, report: str, after: str | None
) -> None:
    job = build_job(status=before, expected_parts=2)

    changed = apply_report(job, REPORTS[report], LATER)

    assert (changed and changed.status) == after


@pytest.mark.parametrize("status", sorted(ENDS))
def test_an_end_sets_its_time_and_clears_the_due_time(status: Status) -> None:
    job = build_job(status=Status.SUBMITTING, due_at=T0)

    after = ended(job, status, None, LATER)

    assert (after.finished_at, after.submitted_at, after.due_at) == (LATER, LATER, None)


def test_a_success_has_full_progress_and_no_error() -> None:
    job = build_job(status=Status.EXPIRED, progress=0.4, error=OVERLOADED)

    after = apply_all(job, REPORTS["succeeded"])

    assert (after.progress, after.error, after.output) == (1.0, None, IMAGE)


def test_a_failure_has_an_error_and_keeps_its_progress() -> None:
    job = build_job(status=Status.RUNNING, progress=0.4)

    after = apply_all(job, REPORTS["failed"])

    assert (after.progress, after.error) == (0.4, OVERLOADED)


def test_a_canceled_job_has_no_error() -> None:
    after = apply_all(build_job(), a_report(status=Status.CANCELED, error=OVERLOADED))

    assert after.error is None


def test_the_deadline_is_set_once_when_the_job_is_accepted() -> None:
    job = build_job(status=Status.SUBMITTING, due_at=T0, deadline_seconds=60)

    accepted = apply_all(job, REPORTS["submitted"])
    running = apply_report(accepted, REPORTS["running"], LATER + SECOND)

    assert running is not None
    assert (running.submitted_at, running.due_at) == (LATER, None)
    assert running.deadline_at == LATER + 60 * SECOND


def test_an_unknown_provider_status_is_stored_and_does_not_accept_the_job() -> None:
    after = apply_all(build_job(status=Status.SUBMITTING, due_at=T0), REPORTS["unknown status"])

    assert (after.provider_status, after.submitted_at, after.due_at) == ("PONDERING", None, T0)


def test_the_provider_status_of_an_outdated_report_is_ignored() -> None:
    job = build_job(status=Status.RUNNING, provider_status="RUNNING")

    after = apply_report(job, a_report(status=Status.SUBMITTED, provider_status="PENDING"), LATER)

    assert after is None


def test_the_provider_status_of_one_of_several_parts_is_not_that_of_the_job() -> None:
    job = build_job(status=Status.RUNNING, provider_status="processing", expected_parts=3)

    first = apply_all(job, a_part("1", provider_status="success"))
    second = apply_all(first, a_part("2", OVERLOADED, provider_status="error"))
    last = apply_all(second, a_part("3", provider_status="success"))

    assert (first.provider_status, second.provider_status) == ("processing", "processing")
    assert (last.status, last.provider_status) == (Status.SUCCEEDED, None)


def test_the_only_part_has_the_provider_status_of_the_job() -> None:
    job = build_job(status=Status.RUNNING, provider_status="processing")

    assert apply_all(job, a_part("1", provider_status="success")).provider_status == "success"


def test_pending_and_throttled_may_alternate() -> None:
    job = build_job(status=Status.SUBMITTED, provider_status="PENDING")
    throttled = a_report(status=Status.SUBMITTED, provider_status="THROTTLED")
    pending = a_report(status=Status.SUBMITTED, provider_status="PENDING")

    after = apply_all(job, throttled, pending)

    assert (after.provider_status, after.version) == ("PENDING", job.version + 2)


@pytest.mark.parametrize(
    ("before", "reported", "after"),
    [(None, 0.2, 0.2), (0.2, 0.5, 0.5), (0.5, 0.2, 0.5), (0.5, 0.5, 0.5), (0.5, None, 0.5)],
)
def test_progress_only_grows(before: float | None, reported: float | None, after: float) -> None:
    job = build_job(status=Status.RUNNING, progress=before)

    assert apply_all(job, a_report(status=Status.RUNNING, progress=reported)).progress == after


@pytest.mark.parametrize(
    ("reported", "text", "after"),
    [
        (0.6, "rendering", "rendering"),
        (0.5, "still", "still"),
        (0.2, "old", "half"),
        (0.6, None, "half"),
    ],
)
def test_a_progress_text_is_used_unless_its_progress_is_outdated(
    reported: float, text: str | None, after: str
) -> None:
    job = build_job(status=Status.RUNNING, progress=0.5, progress_text="half")
    report = a_report(status=Status.RUNNING, progress=reported, progress_text=text)

    assert apply_all(job, report).progress_text == after


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled"])
def test_a_progress_text_ends_with_the_job(end: str) -> None:
    job = build_job(status=Status.RUNNING, progress=0.5, progress_text="rendering")
    last = replace(REPORTS[end], progress=0.5, progress_text="almost")

    assert apply_all(job, last).progress_text is None


def test_a_progress_text_ends_with_the_wait_for_the_job() -> None:
    job = build_job(status=Status.RUNNING, progress_text="rendering")

    assert ended(job, Status.EXPIRED, None, LATER).progress_text is None
    assert canceled(job, LATER).progress_text is None


def test_a_late_part_of_an_expired_job_brings_no_progress_text() -> None:
    job = build_job(status=Status.EXPIRED, expected_parts=2)

    after = apply_all(job, a_part("1", progress_text="one of two"))

    assert (after.received_parts, after.progress_text) == (("1",), None)


def test_a_new_submission_has_no_progress_text() -> None:
    job = build_job(status=Status.FAILED, progress_text="left by an earlier version")

    assert retried(job, a_ref(1), LATER).progress_text is None


def test_the_first_task_id_is_kept() -> None:
    after = apply_all(build_job(), a_report(task_id="t1"), a_report(task_id="t2"))

    assert after.provider_task_id == "t1"


def test_provider_info_is_merged_key_by_key_and_later_values_win() -> None:
    first = a_report(provider_info={"features": {"a": 1}, "seconds": 9})
    second = a_report(provider_info={"seconds": 3, "queue": None})

    after = apply_all(build_job(status=Status.SUBMITTED), first, a_report(), second)

    assert after.provider_info == {"features": {"a": 1}, "seconds": 3, "queue": None}


def test_an_outdated_report_adds_provider_info_but_replaces_none() -> None:
    job = build_job(status=Status.RUNNING, provider_info={"seconds": 0})
    outdated = a_report(status=Status.SUBMITTED, provider_info={"seconds": 9, "features": {}})

    assert apply_all(job, outdated).provider_info == {"seconds": 0, "features": {}}


@pytest.mark.parametrize("info", [None, {}])
def test_a_report_without_provider_info_keeps_the_earlier(info: dict[str, Any] | None) -> None:
    job = build_job(status=Status.RUNNING, provider_info={"seconds": 1})

    assert apply_all(job, a_report(progress=0.5, provider_info=info)).provider_info == {
        "seconds": 1
    }
    assert build_job().provider_info is None


def test_provider_info_of_more_than_4_kib_is_ignored() -> None:
    fits = {"a": "x" * (MAX_PROVIDER_INFO - len('{"a":""}'))}
    job = apply_all(build_job(status=Status.SUBMITTED), a_report(provider_info=fits))

    after = apply_report(job, a_report(provider_info={"b": 1}), LATER)

    assert (job.provider_info, after) == (fits, None)


def test_an_end_brings_provider_info_too() -> None:
    job = build_job(status=Status.RUNNING, provider_info={"seconds": 1})

    after = apply_all(job, replace(REPORTS["succeeded"], provider_info={"seconds": 0}))

    assert after.provider_info == {"seconds": 0}


def test_a_new_submission_has_no_provider_info() -> None:
    job = build_job(status=Status.FAILED, provider_info={"seconds": 1})

    assert retried(job, a_ref(1), LATER).provider_info is None


def test_a_repeated_report_changes_nothing() -> None:
    report = a_report(
        status=Status.RUNNING,
        provider_status="RUNNING",
        progress=0.3,
        cost_usd=0.1,
        provider_info={"a": 1},
    )

    after = apply_all(build_job(), report)

    assert apply_report(after, report, LATER) is None


def test_an_expired_job_collects_late_parts() -> None:
    job = build_job(status=Status.EXPIRED, expected_parts=2, error=OVERLOADED)

    first = apply_all(job, a_part("1"))
    second = apply_all(first, a_part("2"))

    assert (first.status, first.received_parts) == (Status.EXPIRED, ("1",))
    assert (second.status, second.error) == (Status.SUCCEEDED, None)


def test_a_canceled_job_stores_at_most_its_expected_parts() -> None:
    job = build_job(status=Status.CANCELED, expected_parts=2)
    results = [a_part(str(n), output=Output(text=str(n))) for n in range(4)]

    assert apply_all(job, *results).received_parts == ("0", "1")


def test_a_canceled_job_stores_each_part_once() -> None:
    job = build_job(status=Status.CANCELED, expected_parts=3)
    result = a_part("1", output=Output(text="1"))

    assert apply_all(job, result, result).received_parts == ("1",)


def test_a_job_ends_with_its_last_part() -> None:
    job = build_job(status=Status.SUBMITTED, expected_parts=3)

    after = apply_all(job, a_part("1"), a_part("2"))

    assert (after.status, after.progress) == (Status.SUBMITTED, 0.6667)
    assert apply_all(after, a_part("3")).status is Status.SUCCEEDED


@pytest.mark.parametrize("before", [Status.QUEUED, Status.SUBMITTING, Status.RUNNING])
def test_a_part_shows_that_the_provider_has_the_job(before: Status) -> None:
    after = apply_all(build_job(status=before, expected_parts=2, due_at=5), a_part("1"))

    assert after.status is max(before, Status.SUBMITTED, key=RANK.__getitem__)
    assert (after.due_at, after.deadline_at is None) == (None, False)


def test_the_same_part_twice_counts_once() -> None:
    job = apply_all(build_job(expected_parts=2), a_part("1", output=IMAGE, cost_usd=0.5))

    again = apply_report(job, a_part("1", output=IMAGE, cost_usd=0.5), LATER)

    assert again is None


def test_the_error_of_a_failed_part_is_listed_in_the_output() -> None:
    job = build_job(status=Status.SUBMITTED, expected_parts=2)

    after = apply_all(job, a_part("1", OVERLOADED), a_part("2", output=IMAGE))

    assert (after.status, after.error) == (Status.SUCCEEDED, None)
    assert after.output == Output(artifacts=IMAGE.artifacts, errors=(OVERLOADED,))


def test_a_job_fails_when_all_its_parts_failed() -> None:
    second = JobError(code=ErrorCode.MODERATED, message="no")

    after = apply_all(build_job(expected_parts=2), a_part("1", OVERLOADED), a_part("2", second))

    assert (after.status, after.error) == (Status.FAILED, OVERLOADED)
    assert after.output == Output(errors=(OVERLOADED, second))


def test_the_costs_of_parts_add_up() -> None:
    job = build_job(expected_parts=3)

    after = apply_all(job, a_part("1", cost_usd=0.1), a_part("2", cost_usd=0.2), a_part("3"))

    assert after.cost_usd == 0.3


def test_a_cost_of_the_whole_job_replaces_the_earlier_one() -> None:
    after = apply_all(build_job(), a_report(cost_usd=0.1), a_report(cost_usd=0.2))

    assert after.cost_usd == 0.2


@pytest.mark.parametrize(
    ("outputs", "text", "data"),
    [
        ([Output(text="one"), Output(text="two")], "one\n\ntwo", None),
        ([Output(data={"n": 1}), Output()], None, {"n": 1}),
        ([Output(data={"n": 1}), Output(data={"n": 2})], None, [{"n": 1}, {"n": 2}]),
        ([Output(data={"n": n}) for n in (1, 2, 3)], None, [{"n": 1}, {"n": 2}, {"n": 3}]),
    ],
)
def test_the_outputs_of_parts_are_merged(
    outputs: list[Output], text: str | None, data: Any
) -> None:
    job = build_job(expected_parts=len(outputs))

    after = apply_all(job, *(a_part(str(n), output=output) for n, output in enumerate(outputs)))

    assert after.output == Output(text=text, data=data)


def test_an_admitted_job_is_submitting_with_a_lease_and_a_deadline() -> None:
    after = admitted(build_job(deadline_seconds=60), T0, LATER)

    assert (after.status, after.due_at, after.tries) == (Status.SUBMITTING, LATER, 1)
    assert (after.deadline_at, after.version) == (T0 + 60 * SECOND, 2)


def test_a_requeued_job_has_no_lease_and_no_deadline() -> None:
    after = requeued(admitted(build_job(), T0, LATER))

    assert (after.status, after.due_at, after.deadline_at) == (Status.QUEUED, None, None)
    assert (after.tries, after.version) == (1, 3)


def test_an_expired_job_has_the_error_and_keeps_its_output() -> None:
    late = JobError(code=ErrorCode.TIMED_OUT, message="late", stage=ErrorStage.TIMEOUT)

    after = ended(build_job(status=Status.RUNNING, output=IMAGE), Status.EXPIRED, late, LATER)

    assert (after.error, after.output) == (late, IMAGE)


def test_an_earlier_lookup_is_not_replaced_by_a_later_one() -> None:
    overdue = schedule_reconcile(build_job(), ReconcileReason.OVERDUE, T0)

    assert schedule_reconcile(overdue, ReconcileReason.MISMATCHED, LATER) == overdue


def test_a_polled_job_is_read_at_growing_intervals_up_to_a_minute() -> None:
    job = build_job(poll_seconds=5.0)
    intervals = []
    for _ in range(9):
        job = schedule_poll(job, T0)
        assert job.reconcile_reason is ReconcileReason.POLL
        intervals.append(((job.reconcile_at or 0) - T0) / SECOND)

    assert intervals[:3] == [5.0, 7.5, 11.25]
    assert intervals == sorted(intervals)
    assert intervals[-1] == 60.0


def test_an_accepted_job_is_polled_only_if_it_says_so() -> None:
    accepted = a_report(status=Status.SUBMITTED)
    polled = apply_report(build_job(status=Status.SUBMITTING, poll_seconds=5.0), accepted, T0)
    other = apply_report(build_job(status=Status.SUBMITTING), accepted, T0)

    assert polled is not None
    assert (polled.reconcile_at, polled.polls) == (T0 + 5 * SECOND, 1)
    assert other is not None
    assert other.reconcile_at is None
    assert schedule_poll(other, T0) == other


def test_the_next_read_of_a_polled_job_does_not_extend_its_deadline() -> None:
    job = schedule_poll(build_job(poll_seconds=5.0, deadline_at=T0 + SECOND), T0)

    assert job.next_check_at == T0 + SECOND


def test_a_job_is_rendered_with_rfc3339_times_and_without_internal_fields() -> None:
    view = render_job(apply_all(build_job(tags=("sea",)), REPORTS["running"]))

    assert view.submitted_at == rfc3339(LATER)
    assert view.finished_at is None
    assert not {"tenant", "account", "due_at", "received_parts"} & set(view.__struct_fields__)


@given(SOME_REPORTS, st.integers(1, 4))
def test_no_sequence_of_reports_lowers_rank_or_progress(reports: list[Report], parts: int) -> None:
    for before, after in transitions(build_job(expected_parts=parts), reports):
        assert RANK[after.status] >= RANK[before.status]
        assert (after.progress or 0) >= (before.progress or 0)
        assert after.version > before.version
        assert not before.ended or after.status is before.status is Status.CANCELED
        assert not after.ended or after.progress_text is None


@given(SOME_REPORTS)
def test_only_an_end_replaces_an_expiry(reports: list[Report]) -> None:
    for before, after in transitions(build_job(status=Status.EXPIRED, expected_parts=3), reports):
        assert before.status is Status.EXPIRED or after.status is before.status is Status.CANCELED
        assert after.status in ENDS
        assert (after.progress or 0) >= (before.progress or 0)
        assert after.version > before.version


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_parts_does_not_change_the_final_status(
    failures: list[bool], rng: random.Random
) -> None:
    job = build_job(expected_parts=len(failures))
    parts = [
        a_part(str(n), OVERLOADED if failed else None, cost_usd=0.1 * n)
        for n, failed in enumerate(failures)
    ]
    shuffled = [*parts, *parts]
    rng.shuffle(shuffled)

    in_order, reordered = apply_all(job, *parts), apply_all(job, *shuffled)

    assert in_order.status is (Status.FAILED if all(failures) else Status.SUCCEEDED)
    assert reordered.status is in_order.status
    assert reordered.cost_usd == pytest.approx(in_order.cost_usd)


@pytest.mark.parametrize(
    ("any_account", "account"), [(True, "useapi"), (False, "useapi:ann@example.com")]
)
def test_a_job_of_any_account_loses_its_account_when_it_is_queued_again(
    account: str, *, any_account: bool
) -> None:
    job = build_job(any_account=any_account, account="useapi:ann@example.com")

    assert requeued(admitted(job, T0, LATER)).account == account
    assert retried(job, "a-new-ref", T0).account == account


def test_an_admitted_job_knows_when_its_submit_began_until_it_is_submitted_anew() -> None:
    job = admitted(build_job(), T0, LATER)

    assert job.admitted_at == T0
    assert requeued(job).admitted_at == T0
    assert retried(job, "a-new-ref", T0).admitted_at is None
