"""The job, its states, and what a provider may report about it."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from service.domain.jobs.results import JobError, Output
from service.domain.primitives.timestamps import SECOND


class Status(StrEnum):
    """Where a job stands; rank only rises (`RANK`)."""

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
"""How long a job may wait for a slot: every accepted job ends."""


class ReconcileReason(StrEnum):
    """Why a provider is asked about a job, once: in normal running it never is."""

    OVERDUE = "overdue"
    ANSWER_LOST = "answer_lost"
    """Nobody knows whether the submit arrived."""
    MISMATCHED = "mismatched"
    """A callback at its URL spoke of another task."""
    UNREADABLE = "unreadable"
    """A callback at its URL could not be read."""
    NO_OUTPUT = "no_output"
    """A callback said that it is done, and brought nothing."""
    SECOND_END = "second_end"
    """A callback told another end than the one before."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of one submission, in our words.

    *refs* are all the names the body gives it, ours and the provider's. *part* is the key of one
    result where a job may have several (Runware's numberResults): the job ends with the last.
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


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work asked of one provider.

    *account* is whose slots it uses (the provider, or `provider:email` where the input pins one),
    *parts* how many results end it, *seen* the keys of those that are in, *due_at* when the
    submitter may next act on it, *sequence* the number of its events, *lost* how many of its
    submits were never answered. *doubt* is to be settled at *doubt_at* by asking its provider;
    *reads* counts how often that failed, *asked* how many doubts were settled so.
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
    reply_ref: str | None = None
    reply_subscription_id: str | None = None
    reply_event_types: tuple[str, ...] = ()
    provider_task_id: str | None = None
    provider_status: str | None = None
    progress: float | None = None
    progress_text: str | None = None
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
    deadline_extended: bool = False
    queued_at: int | None = None
    submitted_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def next_check_at(self) -> int | None:
        """When it must be looked at: for a doubt, its deadline, or too long a wait in the queue."""
        if (
            self.reconcile_reason is ReconcileReason.ANSWER_LOST
            and self.reconcile_at
            and self.deadline_at
        ):
            return min(
                self.reconcile_at, self.deadline_at
            )  # the grace of a lost answer is no delay
        if self.reconcile_at is not None:
            return self.reconcile_at
        if self.status is Status.QUEUED:
            return (self.queued_at or self.created_at) + QUEUE_LIMIT
        return None if self.ended else self.deadline_at
