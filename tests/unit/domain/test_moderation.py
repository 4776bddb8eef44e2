from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.jobs.job import Status
from service.domain.jobs.moderation import (
    MIN_ENDED,
    WINDOW,
    ModerationHistory,
    add_end,
    is_moderated,
)
from service.domain.jobs.results import ErrorCode, JobError
from tests.support.factories import build_job

LIMIT = 0.1
MODERATED = JobError(code=ErrorCode.MODERATED, message="no")


def history(moderated: int, others: int, *, warned: bool = False) -> ModerationHistory:
    """The newest jobs are the moderated ones."""
    ended = (True,) * moderated + (False,) * others
    return ModerationHistory(ended, warned)


def after_ends(
    before: ModerationHistory, ends: Sequence[bool], limit: float = LIMIT
) -> tuple[ModerationHistory, list[float | None]]:
    warnings = []
    for moderated in ends:
        before, warning = add_end(before, moderated=moderated, limit=limit)
        warnings.append(warning)
    return before, warnings


@pytest.mark.parametrize(
    ("status", "error", "moderated"),
    [
        (Status.FAILED, MODERATED, True),
        (Status.FAILED, JobError(code=ErrorCode.PROVIDER_ERROR, message="no"), False),
        (Status.SUCCEEDED, None, False),
        (Status.CANCELED, None, False),
        (Status.RUNNING, None, False),
    ],
)
def test_a_job_that_failed_because_of_its_content_is_moderated(
    status: Status, error: JobError | None, *, moderated: bool
) -> None:
    assert is_moderated(build_job(status=status, error=error)) is moderated


def test_the_job_that_passes_the_limit_warns_once() -> None:
    after, warnings = after_ends(history(9, 90), [True, True, True])

    assert warnings == [None, 0.11, None]
    assert (after.warned, after.share) == (True, 0.12)


def test_a_share_at_the_limit_does_not_pass_it() -> None:
    _, (warning,) = after_ends(history(9, 91), [True])

    assert warning is None


def test_there_is_no_warning_before_twenty_jobs_have_ended() -> None:
    _, (early,) = after_ends(history(MIN_ENDED - 2, 0), [True])
    _, (warning,) = after_ends(history(MIN_ENDED - 1, 0), [True])

    assert (early, warning) == (None, 1.0)


def test_only_a_moderated_job_warns() -> None:
    _, warnings = after_ends(history(MIN_ENDED - 1, 0), [False, True])

    assert warnings == [None, 0.9524]


def test_only_the_last_hundred_jobs_count() -> None:
    before = ModerationHistory((False,) * (WINDOW - 1) + (True,))

    after, _ = after_ends(before, [True])

    assert (len(after.ended), sum(after.ended)) == (WINDOW, 1)


def test_there_is_a_new_warning_after_the_share_was_below_half_the_limit() -> None:
    before = ModerationHistory((False,) * 96 + (True,) * 4, warned=True)

    after, warnings = after_ends(before, [True] * 11)

    assert [warning for warning in warnings if warning] == [0.11]
    assert after.warned


def test_there_is_no_new_warning_while_the_share_stays_at_half_the_limit() -> None:
    before = ModerationHistory((True,) * 5 + (False,) * 95, warned=True)

    _, warnings = after_ends(before, [True] * 11)

    assert set(warnings) == {None}


def test_an_account_without_ended_jobs_has_no_share() -> None:
    after, warnings = after_ends(ModerationHistory(warned=True), [False])

    assert (after, warnings) == (ModerationHistory((False,)), [None])


@given(st.lists(st.booleans(), max_size=400), st.floats(0.01, 0.99))
def test_warnings_agree_with_a_count_of_all_jobs(ends: list[bool], limit: float) -> None:
    after, warnings = after_ends(ModerationHistory(), ends, limit=limit)

    warned = False
    for n, moderated in enumerate(ends, start=1):
        before, now = ends[max(0, n - 1 - WINDOW) : n - 1], ends[max(0, n - WINDOW) : n]
        if sum(before) < limit / 2 * len(before) or not before:
            warned = False
        share = sum(now) / len(now)
        passes = moderated and share > limit and n >= MIN_ENDED and not warned
        assert (warnings[n - 1] is not None) == passes
        warned = warned or passes
    assert after.warned == warned
