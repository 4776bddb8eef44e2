import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transactions.slots import AccountState, Slots, queue_of
from tests.support.factories import build_job

LIMITS = {"useapi": 3, "runware": 100}


def admitted(
    *max_jobs: int | None,
    used: int = 0,
    slots: int | None = None,
    paused: bool = False,
    sending: int = 0,
) -> list[int]:
    """Admit jobs with these limits of their own; returns their positions."""
    jobs = [build_job(max_jobs=most) for most in max_jobs]
    state = AccountState(used=used, slots=slots, paused=paused, sending=sending)
    chosen = Slots(LIMITS, {"useapi": state}).admit(jobs)
    return [jobs.index(job) for job in chosen]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (admitted(), []),
        (admitted(None, None), [0, 1]),
        (admitted(*[None] * 5), [0, 1, 2]),
        (admitted(*[None] * 5, used=2), [0]),
        (admitted(None, used=3), []),
        (admitted(None, used=9), []),
        (admitted(*[None] * 5, slots=1), [0]),
        (admitted(*[None] * 5, slots=9), [0, 1, 2]),
        (admitted(None, slots=0), []),
        (admitted(1, None), [0, 1]),
        (admitted(1, None, used=1), [1]),
        (admitted(None, 1, None), [0, 2]),
        (admitted(1, 2, None, used=1), [1, 2]),
        (admitted(9, 9, 9, 9), [0, 1, 2]),
        (admitted(None, None, used=9, paused=True), [0]),
        (admitted(None, used=9, paused=True, sending=1), []),
    ],
    ids=[
        "no job waits",
        "there are slots for all",
        "as many as the limit",
        "running jobs count",
        "all slots are in use",
        "more jobs run than the limit allows",
        "a busy provider leaves fewer slots",
        "a busy provider cannot leave more",
        "the account is held",
        "a job with max_jobs 1 starts when no other runs",
        "others pass a job with max_jobs 1 that waits",
        "a job with max_jobs 1 waits for the others",
        "a job with a higher limit passes one with a lower",
        "a job cannot raise the limit",
        "a paused account gets one job, whatever runs",
        "a paused account gets no second job before the first is answered",
    ],
)
def test_an_account_gets_as_many_jobs_as_it_has_free_slots(
    chosen: list[int], expected: list[int]
) -> None:
    assert chosen == expected


def test_the_accounts_of_one_provider_have_separate_slots() -> None:
    full, free = build_job(), build_job(account="useapi:ann@example.com")

    slots = Slots(LIMITS, {"useapi": AccountState(used=3)})

    assert slots.admit([full, free]) == [free]


def test_a_provider_that_no_longer_exists_has_one_slot() -> None:
    jobs = [build_job(provider="closed", account="closed") for _ in range(2)]

    assert Slots(LIMITS, {}).admit(jobs) == jobs[:1]


@given(
    st.lists(st.none() | st.integers(1, 10), max_size=10),
    st.integers(0, 5),
    st.none() | st.integers(0, 5),
)
def test_no_job_is_admitted_above_its_limits_and_none_is_left_below_them(
    max_jobs: list[int | None], used: int, slots: int | None
) -> None:
    limit = 3 if slots is None else min(3, slots)
    jobs = [build_job(max_jobs=most) for most in max_jobs]
    plan = Slots(LIMITS, {"useapi": AccountState(used=used, slots=slots)})
    reads = [plan.free(queue_of(job)) for job in jobs]

    chosen = plan.admit(jobs)

    expected = []
    for job, free in zip(jobs, reads, strict=True):
        if used < min(limit, job.max_jobs or limit):
            assert free > 0
            expected.append(job)
            used += 1
    assert chosen == expected
