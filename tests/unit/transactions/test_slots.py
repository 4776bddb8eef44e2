from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.jobs.job import Job
from service.domain.primitives.timestamps import SECOND
from service.providers.refusals import RefusalScope
from service.transactions.slots import (
    AccountPause,
    AccountUse,
    JobQueue,
    SlotRules,
    Slots,
    queue_of,
)
from tests.support.factories import T0, a_pause, build_job

RULES = SlotRules(limits={"useapi": 3, "runware": 100})


def admitted(
    *max_jobs: int | None,
    used: int = 0,
    slots: int | None = None,
) -> list[int]:
    """Admit jobs with these limits of their own; returns their positions."""
    jobs = [build_job(max_jobs=most) for most in max_jobs]
    return [jobs.index(job) for job in slots_of(used=used, slots=slots).admit(jobs)]


def slots_of(
    *pauses: AccountPause, used: int = 0, slots: int | None = None, sending: Job | None = None
) -> Slots:
    use = AccountUse(
        used=Counter(useapi=used),
        held={} if slots is None else {"useapi": slots},
        sending=Counter([queue_of(sending)] if sending else ()),
        pauses=pauses,
    )
    return Slots(RULES, use, T0)


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
    ],
)
def test_an_account_gets_as_many_jobs_as_it_has_free_slots(
    chosen: list[int], expected: list[int]
) -> None:
    assert chosen == expected


def test_the_accounts_of_one_provider_have_separate_slots() -> None:
    full, free = build_job(), build_job(account="useapi:ann@example.com")

    assert slots_of(used=3).admit([full, free]) == [free]


def test_a_provider_that_no_longer_exists_has_one_slot() -> None:
    jobs = [build_job(provider="closed", account="closed") for _ in range(2)]

    assert slots_of().admit(jobs) == jobs[:1]


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
    plan = slots_of(used=used, slots=slots)
    reads = [plan.free(queue_of(job)) for job in jobs]

    chosen = plan.admit(jobs)

    expected = []
    for job, free in zip(jobs, reads, strict=True):
        if used < min(limit, job.max_jobs or limit):
            assert free > 0
            expected.append(job)
            used += 1
    assert chosen == expected


# Paused accounts

ANN = "useapi:ann@example.com"
PAID, FREE = build_job(), build_job(uses_credits=False)
OF_ANN, FREE_OF_ANN = build_job(account=ANN), build_job(account=ANN, uses_credits=False)
OF_RUNWARE = build_job(provider="runware", account="runware")


@pytest.mark.parametrize(
    ("pause", "stopped"),
    [
        (a_pause(RefusalScope.CREDENTIAL), [PAID, FREE, OF_ANN, FREE_OF_ANN]),
        (a_pause(RefusalScope.ACCOUNT), [PAID, FREE]),
        (a_pause(RefusalScope.ACCOUNT, account=ANN), [OF_ANN, FREE_OF_ANN]),
        (a_pause(RefusalScope.CREDITS), [PAID]),
        (a_pause(RefusalScope.CREDITS, account=ANN), [OF_ANN]),
    ],
    ids=["credential", "account", "account of Ann", "credits", "credits of Ann"],
)
def test_a_pause_stops_only_the_jobs_that_it_concerns(
    pause: AccountPause, stopped: list[Job]
) -> None:
    jobs = [PAID, FREE, OF_ANN, FREE_OF_ANN, OF_RUNWARE]

    chosen = slots_of(pause).admit(jobs)

    assert chosen == [job for job in jobs if job not in stopped]


def over(scope: RefusalScope, **changes: Any) -> AccountPause:
    return a_pause(scope, retry_at=T0, **changes)


def test_after_a_pause_one_job_is_tried_whatever_is_under_way() -> None:
    slots = slots_of(over(RefusalScope.ACCOUNT), used=9)

    assert slots.admit([PAID, FREE]) == [PAID]


def test_without_credits_one_job_that_uses_them_is_tried_beside_the_free_ones() -> None:
    free = [build_job(uses_credits=False) for _ in range(2)]

    assert slots_of(over(RefusalScope.CREDITS)).admit([PAID, *free, build_job()]) == [PAID, *free]


@pytest.mark.parametrize(
    ("scope", "sending", "tried"),
    [
        (RefusalScope.CREDENTIAL, OF_ANN, []),
        (RefusalScope.ACCOUNT, OF_ANN, [PAID]),
        (RefusalScope.ACCOUNT, FREE, []),
        (RefusalScope.CREDITS, FREE, [PAID]),
        (RefusalScope.CREDITS, PAID, []),
    ],
)
def test_no_second_job_is_tried_before_the_first_is_answered(
    scope: RefusalScope, sending: Job, tried: list[Job]
) -> None:
    assert slots_of(over(scope), used=1, sending=sending).admit([PAID]) == tried


def test_a_refused_credential_is_tried_with_one_job_of_all_accounts() -> None:
    assert slots_of(over(RefusalScope.CREDENTIAL)).admit([OF_ANN, PAID]) == [OF_ANN]


def test_a_paused_account_that_is_busy_is_not_tried() -> None:
    assert slots_of(over(RefusalScope.ACCOUNT), slots=0).admit([PAID]) == []


def test_a_job_with_a_limit_of_its_own_is_tried_only_below_it() -> None:
    limited = build_job(max_jobs=1)

    slots = slots_of(over(RefusalScope.ACCOUNT), used=1)

    assert slots.admit([limited, PAID]) == [PAID]


def test_an_account_with_two_pauses_is_tried_after_both() -> None:
    later = a_pause(RefusalScope.CREDITS, retry_at=T0 + SECOND)

    assert slots_of(over(RefusalScope.ACCOUNT), later).admit([PAID, FREE]) == [FREE]


# Linked accounts

BOB = "useapi:bob@example.com"


def any_job(**changes: Any) -> Job:
    return build_job(any_account=True, **changes)


def linked_slots(
    *pauses: AccountPause,
    used: dict[str, int] | None = None,
    held: dict[str, int] | None = None,
    **rules: Any,
) -> Slots:
    """Slots of two linked accounts: Ann may run two jobs at once, and Bob one."""
    use = AccountUse(
        used=Counter(used or {}), held=held or {}, linked={ANN: 2, BOB: 1}, pauses=pauses
    )
    return Slots(SlotRules(limits={"useapi": 10}, **rules), use, T0)


def test_jobs_of_any_account_fill_the_slots_of_the_linked_accounts() -> None:
    jobs = [any_job() for _ in range(5)]
    slots = linked_slots()

    free = slots.free(queue_of(jobs[0]))
    chosen = slots.admit(jobs)

    assert free == 3
    assert [job.account for job in chosen] == [ANN, ANN, BOB]
    assert [job.id for job in chosen] == [job.id for job in jobs[:3]]


def test_the_account_is_chosen_among_those_with_a_free_slot() -> None:
    offered: list[list[str]] = []

    def last(lanes: Sequence[JobQueue]) -> JobQueue:
        offered.append([lane.account for lane in lanes])
        return lanes[-1]

    chosen = linked_slots(choose=last).admit([any_job() for _ in range(2)])

    assert offered == [[ANN, BOB], [ANN]]
    assert [job.account for job in chosen] == [BOB, ANN]


def test_a_job_of_one_account_uses_the_slots_of_that_account() -> None:
    pinned = [build_job(account=BOB) for _ in range(2)]

    chosen = linked_slots(used={ANN: 1}).admit([*pinned, any_job(), any_job()])

    assert [job.account for job in chosen] == [BOB, ANN]
    assert chosen[0] == pinned[0]


def test_a_job_that_no_account_may_be_chosen_for_stays_at_the_provider() -> None:
    job = build_job()

    assert linked_slots().admit([job]) == [job]


@pytest.mark.parametrize(("limit", "accounts"), [(1, [ANN, BOB]), (9, [ANN, ANN, BOB])])
def test_a_limit_that_was_set_caps_that_of_each_account(limit: int, accounts: list[str]) -> None:
    rules = SlotRules(limits={"useapi": limit}, capped=frozenset({"useapi"}))

    chosen = Slots(rules, AccountUse(linked={ANN: 2, BOB: 1}), T0).admit(
        [any_job() for _ in range(9)]
    )

    assert [job.account for job in chosen] == accounts


def test_a_job_passes_the_accounts_that_are_paused_busy_or_above_its_own_limit() -> None:
    jobs = [any_job(max_jobs=1) for _ in range(2)]
    pause = a_pause(RefusalScope.CREDITS, account=ANN)

    assert [job.account for job in linked_slots(pause).admit(jobs)] == [BOB]
    assert [job.account for job in linked_slots(held={ANN: 0}).admit(jobs)] == [BOB]
    assert [job.account for job in linked_slots(used={ANN: 1}).admit(jobs)] == [BOB]
    assert [job.account for job in linked_slots(used={BOB: 1}).admit(jobs)] == [ANN]


def test_a_refused_credential_stops_all_linked_accounts() -> None:
    assert linked_slots(a_pause(RefusalScope.CREDENTIAL)).admit([any_job()]) == []
