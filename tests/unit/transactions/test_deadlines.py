import pytest

from service.domain.jobs.job import Status
from service.domain.primitives.timestamps import SECOND
from service.providers.useapi.catalog import FRAMES
from service.transactions.change_set import ChangeSet
from service.transactions.deadlines import MAX_SAMPLES, MIN_SAMPLES, DeadlineEstimator
from tests.support.factories import T0, build_job

FRAMES_CREATE = FRAMES.operation
DEFAULT = FRAMES_CREATE.deadline_seconds


def estimate(*seconds: int, status: Status = Status.SUCCEEDED) -> int:
    estimator = DeadlineEstimator()
    for duration in seconds:
        job = build_job(status=status, submitted_at=T0, finished_at=T0 + duration * SECOND)
        estimator.on_commit(ChangeSet(jobs={job.id: job}))
    return estimator.deadline_seconds("useapi", FRAMES_CREATE)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], DEFAULT),
        ([200] * (MIN_SAMPLES - 1), DEFAULT),
        ([200] * MIN_SAMPLES, 800),
        ([1] * MIN_SAMPLES, 300),
        ([100_000] * MIN_SAMPLES, 2 * DEFAULT),
        ([100_000] * 10 + [200] * MAX_SAMPLES, 800),
        ([200] * 99 + [3000], 800),
    ],
    ids=["none", "too few", "enough", "short", "long", "old ones", "an outlier"],
)
def test_a_deadline_is_four_times_the_95th_percentile_within_limits(
    seconds: list[int], expected: int
) -> None:
    assert estimate(*seconds) == expected


def test_only_succeeded_jobs_count() -> None:
    assert estimate(*[200] * MAX_SAMPLES, status=Status.FAILED) == DEFAULT


def test_each_operation_has_its_own_estimate() -> None:
    estimator = DeadlineEstimator()
    for _ in range(MIN_SAMPLES):
        job = build_job(
            operation="gen4.create",
            status=Status.SUCCEEDED,
            submitted_at=T0,
            finished_at=T0 + 200 * SECOND,
        )
        estimator.on_commit(ChangeSet(jobs={job.id: job}))

    assert estimator.deadline_seconds("useapi", FRAMES_CREATE) == DEFAULT
