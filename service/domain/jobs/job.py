"""The job, its states, and what a provider may report about it."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from service.domain.jobs.results import JobError, Output
from service.domain.primitives.timestamps import SECOND


class Status(StrEnum):
    """The status of a job; its `RANK` never falls, except by a new submission."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


ENDS: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
RANK: Final = {
    Status.QUEUED: 0,
    Status.SUBMITTING: 1,
    Status.SUBMITTED: 2,
    Status.RUNNING: 3,
    **dict.fromkeys(ENDS, 4),
}
QUEUE_LIMIT: Final = 7 * 86_400 * SECOND
"""How long a job may wait for a slot in microseconds; then it expires, so that every job ends."""


class ReconcileReason(StrEnum):
    """Why a job is looked up at its provider. In normal operation no job is looked up."""

    OVERDUE = "overdue"
    """The deadline of the job has passed."""
    ANSWER_LOST = "answer_lost"
    """The response to the submit was lost: the provider may have accepted the job or not."""
    MISMATCHED = "mismatched"
    """A callback at the job's URL named another task."""
    UNREADABLE = "unreadable"
    """A callback at the job's URL could not be parsed."""
    NO_OUTPUT = "no_output"
    """A callback reported success but had no output."""
    SECOND_END = "second_end"
    """A callback reported another final status than an earlier one."""
    EARLY = "early"
    """A callback for the whole account named an unknown task, while this submit was unanswered."""
    POLL = "poll"
    """The provider has no callbacks, and the operator allows to poll it."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider reported about one submission, normalized.

    *refs* are all ids of the submission in the body, ours and the provider's. *progress* is from 0
    to 1. *part* is the key of one result if the job may have several (Runware's numberResults);
    the job ends with the last one. *provider_info* are facts that only this provider reports, by
    its own names, as useapi.net's `features`.
    """

    refs: tuple[str, ...] = ()
    task_id: str | None = None
    status: Status | None = None
    provider_status: str | None = None
    progress: float | None = None
    progress_text: str | None = None
    part: str | None = None
    output: Output | None = None
    error: JobError | None = None
    cost_usd: float | None = None
    provider_info: dict[str, Any] | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One task for one provider. Times are microseconds since 1970.

    *ref* is the UUIDv4 of its latest submission. *account* is the account whose slots it uses: the
    provider, or `provider:email` if the input names an account, of which it uses at most
    *max_jobs*. A job that *any_account* may run is given one when it is admitted, until it is
    queued again. While its account has no credits, it waits if it *uses_credits*. *batch* is the
    id of the request that created it. *tries* counts its submits, *unanswered_submits* those whose
    response was lost. *admitted_at* is when its latest submit began, *due_at* when the submitter
    may act on it next. It ends with *expected_parts* results; *received_parts* are the keys of
    those received. *provider_info* is merged from all
    reports.

    Its events of *reply_event_types* go to *reply_subscription_id*, the subscription of its reply
    URL; *created_reply_subscription* if its request was the first with that URL.

    *sequence* is the number of its events, *version* that of its changes. With a
    *reconcile_reason* it is looked up at its provider at *reconcile_at*; *failed_lookups* counts
    the lookups without an answer since then, *reconcile_count* the reasons resolved so far. With
    *poll_seconds* it is read at its provider at growing intervals, of which that is the first;
    *polls* counts these reads.
    """

    id: str
    tenant: str
    provider: str
    operation: str
    account: str
    ref: str
    created_at: int
    deadline_seconds: int
    status: Status = Status.QUEUED
    batch: str | None = None
    max_jobs: int | None = None
    uses_credits: bool = True
    any_account: bool = False
    reply_ref: str | None = None
    reply_subscription_id: str | None = None
    created_reply_subscription: bool = False
    reply_event_types: tuple[str, ...] = ()
    provider_task_id: str | None = None
    provider_status: str | None = None
    progress: float | None = None
    progress_text: str | None = None
    provider_info: dict[str, Any] | None = None
    expected_parts: int = 1
    received_parts: tuple[str, ...] = ()
    output: Output | None = None
    error: JobError | None = None
    cost_usd: float | None = None
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    version: int = 1
    sequence: int = 0
    tries: int = 0
    unanswered_submits: int = 0
    due_at: int | None = None
    reconcile_reason: ReconcileReason | None = None
    reconcile_at: int | None = None
    failed_lookups: int = 0
    reconcile_count: int = 0
    poll_seconds: float | None = None
    polls: int = 0
    deadline_extended: bool = False
    queued_at: int | None = None
    admitted_at: int | None = None
    submitted_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None

    @property
    def own_account(self) -> str:
        """The account while it is queued: that of its input, else any of the provider."""
        return self.provider if self.any_account else self.account

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def next_check_at(self) -> int | None:
        """When the reconciler must check it: for a lookup, its deadline, or the queue limit."""
        if (
            self.reconcile_reason in (ReconcileReason.ANSWER_LOST, ReconcileReason.POLL)
            and self.reconcile_at
            and self.deadline_at
        ):
            # The wait for a callback or for the next read must not extend the deadline.
            return min(self.reconcile_at, self.deadline_at)
        if self.reconcile_at is not None:
            return self.reconcile_at
        if self.status is Status.QUEUED:
            return (self.queued_at or self.created_at) + QUEUE_LIMIT
        return None if self.ended else self.deadline_at
