"""A model of one job: reports, commands, crashes and time, in any order."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.domain.callbacks import assess
from service.domain.jobs.job import ENDS, RANK, Job, Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.domain.jobs.state_machine import (
    RETRYABLE,
    admitted,
    canceled,
    retried,
    schedule_reconcile,
)
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import (
    Answer,
    Inconclusive,
    LookupResult,
    LostAnswerPolicy,
    RetryLater,
    TaskNotFound,
)
from service.transactions.change_set import Snapshot
from service.transactions.reconciliation import reconcile
from service.transactions.submit_outcome import SubmitResult, apply_answer
from service.transactions.unit_of_work import UnitOfWork
from tests.support.factories import T0, CountingIds, a_report, build_job
from tests.support.transactions import unit_of_work

LEASE = 90 * SECOND
MADE = Output(text="made")
BROKEN = JobError(code=ErrorCode.PROVIDER_ERROR, message="it broke")
NO_OUTPUT = JobError(code=ErrorCode.NO_OUTPUT, message="nothing")
REPORTS = st.sampled_from(
    [
        a_report(status=Status.SUBMITTED),
        a_report(status=Status.RUNNING, progress=0.3),
        a_report(status=Status.RUNNING, progress=0.7),
        a_report(status=Status.SUCCEEDED, output=MADE),
        a_report(status=Status.FAILED, error=BROKEN),
        a_report(status=Status.FAILED, error=NO_OUTPUT),
        a_report(refs=("another",)),
    ]
)
ANSWERS = st.sampled_from(
    [
        RetryLater(message="busy"),
        Inconclusive(message="no answer"),
        a_report(status=Status.SUBMITTED),
        a_report(status=Status.FAILED, error=BROKEN),
    ]
)
LOOKUP_RESULTS = st.sampled_from(
    [
        TaskNotFound(message="gone"),
        Inconclusive(message="silent"),
        [a_report(status=Status.RUNNING)],
        [a_report(status=Status.SUCCEEDED, output=MADE)],
        [a_report(status=Status.FAILED, error=NO_OUTPUT)],
    ]
)


class JobMachine(RuleBasedStateMachine):
    """One job, its submits and its events."""

    @initialize(on_lost_answer=st.sampled_from(LostAnswerPolicy))
    def start(self, on_lost_answer: LostAnswerPolicy) -> None:
        self.on_lost_answer, self.at, self.ids = on_lost_answer, T0, CountingIds()
        self.job = build_job(ref=self.ids.new_ref())
        self.in_flight: Job | None = None
        self.sent: list[str] = []
        self.unanswered: set[str] = set()
        self.event_types: list[str] = []
        self.old_refs: list[str] = []
        self.before = self.job

    def _begin(self) -> UnitOfWork:
        self.before = self.job
        snapshot = Snapshot(jobs={self.job.ref: self.job}, permanent={})
        return unit_of_work(snapshot, self.at)

    def _commit(self, uow: UnitOfWork) -> None:
        self.job = uow.changes.jobs.get(self.job.id, self.job)
        self.event_types += [event.type for event in uow.changes.events]

    def _transition(self, after: Job) -> None:
        uow = self._begin()
        uow.transition(self.job, after)
        self._commit(uow)

    @rule(seconds=st.sampled_from([1, 60, 4000, 700_000]))
    def time_passes(self, seconds: int) -> None:
        self.at += seconds * SECOND

    @precondition(lambda self: self.job.status is Status.QUEUED and self.in_flight is None)
    @rule()
    def send(self) -> None:
        if self.job.due_at is None or self.job.due_at <= self.at:
            self._transition(admitted(self.job, self.at, self.at + LEASE))
            self.in_flight = self.job
            self.sent.append(self.job.ref)

    @precondition(lambda self: self.in_flight is not None)
    @rule(answer=ANSWERS)
    def answer(self, answer: Answer) -> None:
        self._apply_answer(answer)

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def crash_during_the_submit(self) -> None:
        self._apply_answer(Inconclusive(message="the service stopped"))

    def _apply_answer(self, answer: Answer) -> None:
        assert self.in_flight is not None
        sent, self.in_flight = self.in_flight, None
        if isinstance(answer, Inconclusive):
            self.unanswered.add(sent.ref)
        elif isinstance(answer, RetryLater):
            self.sent.remove(sent.ref)
        uow = self._begin()
        apply_answer(
            uow,
            SubmitResult(sent=sent, answer=answer, on_lost_answer=self.on_lost_answer, jitter=0),
        )
        self._commit(uow)

    @precondition(lambda self: self.sent)
    @rule(report=REPORTS, data=st.data(), can_look_up=st.booleans())
    def callback(self, report: Report, data: Any, *, can_look_up: bool) -> None:
        ref = data.draw(st.sampled_from([self.job.ref, *self.old_refs]))
        uow = self._begin()
        assessment = assess(self.job, ref, [report], self.at, lambda _: can_look_up)
        for after in assessment.steps:
            self.job = uow.transition_step(self.job, after)
        if assessment.reconcile_reason:
            uow.save_silently(schedule_reconcile(self.job, assessment.reconcile_reason, self.at))
        if ref != self.job.ref:
            assert not assessment.steps, "an old submission changes nothing"
        self._commit(uow)

    @rule(found=LOOKUP_RESULTS)
    def check(self, found: LookupResult) -> None:
        if self.job.next_check_at is not None and self.job.next_check_at <= self.at:
            uow = self._begin()
            for after in reconcile(self.job, found, self.at).steps:
                self.job = uow.transition_step(self.job, after)
            self._commit(uow)

    @precondition(lambda self: not self.job.ended)
    @rule()
    def cancel(self) -> None:
        self._transition(canceled(self.job, self.at))

    @precondition(lambda self: self.job.status in RETRYABLE)
    @rule()
    def retry(self) -> None:
        self.old_refs.append(self.job.ref)
        self._transition(retried(self.job, self.ids.new_ref(), self.at))
        self.in_flight = None

    @invariant()
    def the_rank_of_a_submission_never_falls(self) -> None:
        before, now = self.before, self.job
        if before.ref != now.ref:
            return
        requeued = before.status is Status.SUBMITTING and now.status is Status.QUEUED
        assert requeued or RANK[now.status] >= RANK[before.status]
        assert (now.progress or 0) >= (before.progress or 0)
        if before.status in ENDS - {Status.EXPIRED}:
            assert now.status is before.status, "a final status stays"

    @invariant()
    def no_paid_job_is_submitted_twice(self) -> None:
        """A submit is repeated only if the provider recognizes the ref."""
        if self.on_lost_answer is not LostAnswerPolicy.RESEND:
            assert len(self.sent) == len(set(self.sent))

    @invariant()
    def a_job_that_has_not_ended_has_a_next_check(self) -> None:
        assert self.job.ended or self.job.next_check_at is not None

    def teardown(self) -> None:
        """Whatever has happened: without further input the job ends."""
        if not hasattr(self, "job"):
            return
        for _ in range(6):
            if self.job.ended:
                return
            self.at = max(self.at, self.job.next_check_at or self.at) + 1
            self.check(Inconclusive(message="silent"))
        raise AssertionError(f"the job does not end: {self.job}")


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
