"""What an answer to a submit does to the pauses of its account."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Answer, LostAnswerPolicy
from service.providers.refusals import AccountRefused, RefusalScope
from service.transactions.change_set import Snapshot
from service.transactions.slots import AccountPause
from service.transactions.submit_outcome import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SubmitResult,
    apply_answer,
)
from service.transactions.unit_of_work import UnitOfWork
from tests.support.factories import T0, a_pause, a_report, build_job
from tests.support.transactions import unit_of_work

ACCOUNT, CREDITS, CREDENTIAL = RefusalScope.ACCOUNT, RefusalScope.CREDITS, RefusalScope.CREDENTIAL
MINUTE = 60 * SECOND
ACCEPTED = a_report(status=Status.SUBMITTED)
ANN = "useapi:ann@example.com"


def sent(at: int, **changes: Any) -> Job:
    return admitted(build_job(**changes), at, at + MINUTE)


def answered(job: Job, answer: Answer, *pauses: AccountPause, at: int = T0) -> UnitOfWork:
    """Apply the *answer* to the submit of *job* at *at*, while its account has *pauses*."""
    by_key = {(pause.account, pause.scope): pause for pause in pauses}
    uow = unit_of_work(Snapshot(jobs={job.ref: job}, permanent={}, pauses=by_key), at)
    policy = LostAnswerPolicy.AWAIT
    apply_answer(uow, SubmitResult(sent=job, answer=answer, on_lost_answer=policy, jitter=0))
    return uow


def refused(scope: RefusalScope) -> AccountRefused:
    return AccountRefused(message="no", scope=scope)


def told(uow: UnitOfWork) -> list[tuple[str, str, Any]]:
    """Type, tenant and data of the events about accounts."""
    events = [event for event in uow.changes.events if event.job_id is None]
    return [(one.type, one.tenant, msgspec.json.decode(one.payload)["data"]) for one in events]


@pytest.mark.parametrize(
    ("scope", "account"), [(CREDENTIAL, "useapi"), (ACCOUNT, ANN), (CREDITS, ANN)]
)
def test_a_refusal_pauses_what_it_concerns_and_the_job_stays_queued(
    scope: RefusalScope, account: str
) -> None:
    job = sent(T0, account=ANN)

    uow = answered(job, refused(scope))

    pause = a_pause(scope, account=account, retry_at=T0 + FIRST_PAUSE)
    assert uow.changes.pauses == {(account, scope): pause}
    assert uow.changes.jobs[job.id].status is Status.QUEUED
    data = {"provider": "useapi", "scope": scope.value, "reason": "no", "job": job.id}
    assert told(uow) == [("provider.paused", "acme", data)]


def test_each_refusal_in_a_row_doubles_the_pause_whichever_job_is_refused() -> None:
    pause, lengths = a_pause(ACCOUNT, retry_at=T0 + FIRST_PAUSE), []
    for _ in range(8):
        uow = answered(sent(pause.retry_at), refused(ACCOUNT), pause, at=pause.retry_at)
        changed = uow.changes.pauses["useapi", ACCOUNT]
        assert changed is not None
        assert told(uow) == []
        lengths.append((changed.retry_at - pause.retry_at) // MINUTE)
        pause = changed

    assert lengths == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (pause.refusals, pause.paused_at, LONGEST_PAUSE) == (9, T0, 60 * MINUTE)


def test_jobs_that_were_under_way_when_the_pause_began_do_not_lengthen_it() -> None:
    job = sent(T0 - SECOND)

    uow = answered(job, refused(ACCOUNT), a_pause(ACCOUNT))

    assert uow.changes.pauses == {}
    assert uow.changes.jobs[job.id].status is Status.QUEUED
    assert told(uow) == []


def test_an_account_may_have_two_pauses_and_each_is_told() -> None:
    uow = answered(sent(T0), refused(CREDITS), a_pause(ACCOUNT))

    assert [key for key, _ in uow.changes.pauses.items()] == [("useapi", CREDITS)]
    assert [event for event, _, _ in told(uow)] == ["provider.paused"]


def test_a_free_job_that_is_refused_for_lack_of_credits_waits_with_those_that_use_them() -> None:
    job = sent(T0, uses_credits=False)

    uow = answered(job, refused(CREDITS), a_pause(CREDITS))

    assert uow.changes.jobs[job.id].uses_credits


def test_an_accepted_job_ends_the_pauses_that_concern_it() -> None:
    pauses = a_pause(ACCOUNT), a_pause(CREDITS), a_pause(CREDENTIAL), a_pause(ACCOUNT, account=ANN)
    job = sent(T0 + MINUTE)

    uow = answered(job, ACCEPTED, *pauses)

    assert uow.changes.pauses == {
        ("useapi", ACCOUNT): None,
        ("useapi", CREDITS): None,
        ("useapi", CREDENTIAL): None,
    }
    data = {"provider": "useapi", "scope": "account", "reason": None, "job": job.id}
    assert told(uow)[0] == ("provider.resumed", "acme", data)


def test_a_free_job_does_not_show_that_there_are_credits() -> None:
    uow = answered(sent(T0 + MINUTE, uses_credits=False), ACCEPTED, a_pause(CREDITS))

    assert uow.changes.pauses == {}


def test_a_job_sent_before_the_pause_does_not_end_it() -> None:
    assert answered(sent(T0), ACCEPTED, a_pause(ACCOUNT)).changes.pauses == {}


@pytest.mark.parametrize(
    ("stage", "ends"), [(ErrorStage.SUBMIT, False), (ErrorStage.PROVIDER, True)]
)
def test_a_failure_ends_a_pause_only_if_the_job_was_accepted(
    stage: ErrorStage, *, ends: bool
) -> None:
    error = JobError(code=ErrorCode.PROVIDER_ERROR, message="no", stage=stage)
    failed = a_report(status=Status.FAILED, error=error)

    uow = answered(sent(T0 + MINUTE), failed, a_pause(ACCOUNT))

    assert bool(uow.changes.pauses) is ends


def test_a_callback_ends_a_pause_too() -> None:
    job = sent(T0 + MINUTE)
    pause = a_pause(ACCOUNT)
    snapshot = Snapshot(jobs={job.ref: job}, permanent={}, pauses={("useapi", ACCOUNT): pause})
    uow = unit_of_work(snapshot, T0 + MINUTE)

    uow.transition(job, replace(job, status=Status.RUNNING))
    uow.transition(job, replace(job, status=Status.SUCCEEDED))

    assert uow.changes.pauses == {("useapi", ACCOUNT): None}
    assert [event for event, _, _ in told(uow)] == ["provider.resumed"]


def test_the_tenant_that_was_told_of_the_pause_is_told_of_its_end() -> None:
    uow = answered(sent(T0 + MINUTE, tenant="other"), ACCEPTED, a_pause(ACCOUNT))

    ((kind, tenant, data),) = told(uow)
    assert (kind, tenant, data["job"]) == ("provider.resumed", "acme", None)


def test_a_pause_from_before_the_accounts_were_known_ends_too() -> None:
    job = replace(sent(T0 + MINUTE, any_account=True), account=ANN)

    uow = answered(job, ACCEPTED, a_pause(CREDITS), a_pause(CREDITS, account=ANN))

    assert set(uow.changes.pauses.values()) == {None}
    assert len(uow.changes.pauses) == 2


def test_a_job_of_one_account_does_not_end_the_pause_of_another() -> None:
    uow = answered(sent(T0 + MINUTE, account=ANN), ACCEPTED, a_pause(CREDITS))

    assert uow.changes.pauses == {}


def test_a_refused_job_of_any_account_is_queued_for_any_again() -> None:
    job = replace(sent(T0, any_account=True), account=ANN)

    uow = answered(job, refused(ACCOUNT))

    assert uow.changes.jobs[job.id].account == "useapi"
    assert list(uow.changes.pauses) == [(ANN, ACCOUNT)]
