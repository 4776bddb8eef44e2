import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transactions.slots import AccountQueue, admit
from tests.support.factories import build_job

LIMITS = {"useapi": 3, "runware": 100}


def a_queue(*max_jobs: int | None, used: int = 0, slots: int | None = None) -> AccountQueue:
    jobs = [build_job(max_jobs=most) for most in max_jobs]
    return AccountQueue(account="useapi", used=used, slots=slots, jobs=jobs)


@pytest.mark.parametrize(
    ("queue", "admitted"),
    [
        (a_queue(), 0),
        (a_queue(None, None), 2),
        (a_queue(*[None] * 5), 3),
        (a_queue(*[None] * 5, used=2), 1),
        (a_queue(None, used=3), 0),
        (a_queue(None, used=9), 0),
        (a_queue(*[None] * 5, slots=1), 1),
        (a_queue(*[None] * 5, slots=9), 3),
        (a_queue(None, slots=0), 0),
        (a_queue(1, None), 2),
        (a_queue(1, None, used=1), 0),
        (a_queue(None, 1, None), 1),
        (a_queue(9, 9, 9, 9), 3),
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
        "a job with max_jobs 1 waits for the others",
        "a waiting job delays those behind it",
        "a job cannot raise the limit",
    ],
)
def test_an_account_gets_as_many_jobs_as_it_has_free_slots(
    queue: AccountQueue, admitted: int
) -> None:
    assert admit([queue], LIMITS) == list(queue.jobs)[:admitted]


def test_the_accounts_of_one_provider_have_separate_slots() -> None:
    full, free = a_queue(None, used=3), a_queue(None)

    assert admit([full, free], LIMITS) == list(free.jobs)


@given(
    st.lists(st.none() | st.integers(1, 10), max_size=10),
    st.integers(0, 5),
    st.none() | st.integers(0, 5),
)
def test_jobs_are_admitted_in_order_and_never_more_than_the_slots(
    max_jobs: list[int | None], used: int, slots: int | None
) -> None:
    queue = a_queue(*max_jobs, used=used, slots=slots)

    chosen = admit([queue], LIMITS)

    assert chosen == list(queue.jobs)[: len(chosen)]
    assert len(chosen) <= max(0, min(LIMITS["useapi"], 9 if slots is None else slots) - used)
