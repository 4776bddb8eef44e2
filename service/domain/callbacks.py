"""The callback: one request from a provider, and the verdict on it."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.jobs.job import ENDS, Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode
from service.domain.jobs.state_machine import apply_report

MAX_RECONCILES: Final = 5
"""Doubts of one job that are settled by asking: a provider gone wild must not make us poll it."""
UNREADABLE_BYTES_KEPT: Final = 64 * 1024
"""Bytes kept of a callback that cannot be read."""


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    REPEATED = "repeated"
    LATE = "late"
    MISMATCHED = "mismatched"
    UNREADABLE = "unreadable"
    FORGED = "forged"


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One callback as it is kept; *digest* of the whole body, even where *body* was cut."""

    id: str
    tenant: str
    job_id: str
    provider: str
    ref: str
    verdict: Verdict
    digest: str
    body: bytes
    received_at: int
    repeats: int = 0
    reconcile_reason: ReconcileReason | None = None
    settled_at: int | None = None
    settlement: str | None = None


class Assessment(msgspec.Struct, frozen=True):
    """What a callback is, the *steps* it takes its job through, and the *doubt* it raises."""

    verdict: Verdict
    steps: tuple[Job, ...] = ()
    reconcile_reason: ReconcileReason | None = None


def correlate(job: Job, ref: str, reports: Sequence[Report]) -> list[Report] | None:
    """Keep the reports that speak of *ref*; None when the body speaks of another submission.

    The URL is ours and signed, so it counts first; whatever the body names must agree with it.
    """
    agreed = []
    for report in reports:
        named = [name for name in report.refs if name != ref]
        if not named and _same_task(job.provider_task_id, report.task_id):
            agreed.append(report)
        elif ref in report.refs:
            return None
    return agreed or None


def _same_task(known: str | None, named: str | None) -> bool:
    """Compare task ids, of which one may be the tail of the other: useapi's `taskId` and `id`."""
    return known is None or named is None or known.endswith(named) or named.endswith(known)


def assess(
    job: Job, ref: str, reports: Sequence[Report] | None, at: int, may_ask: Callable[[Job], bool]
) -> Assessment:
    """Say what a callback is and through which states it takes *job*; *reports* None: unreadable.

    A callback for an earlier submission of the job is late: the newer one decides. What
    contradicts the job raises a doubt if its provider *may* be *asked* about it.
    """

    def asking(reason: ReconcileReason | None) -> ReconcileReason | None:
        wanted = reason and job.ref == ref and job.reconcile_count < MAX_RECONCILES
        return reason if wanted and may_ask(job) else None

    if reports is None:
        return Assessment(
            Verdict.UNREADABLE, (), asking(_unless_ended(job, ReconcileReason.UNREADABLE))
        )
    agreed = correlate(job, ref, reports)
    if agreed is None:
        return Assessment(
            Verdict.MISMATCHED, (), asking(_unless_ended(job, ReconcileReason.MISMATCHED))
        )
    if job.ref != ref:
        return Assessment(Verdict.LATE)
    found = filter(None, (_contradiction(job, report) for report in agreed))
    if doubt := asking(next(found, None)):
        return Assessment(Verdict.LATE if job.ended else Verdict.ACCEPTED, (), doubt)
    return _moved(job, agreed, at)


def _unless_ended(job: Job, reason: ReconcileReason) -> ReconcileReason | None:
    return None if job.ended else reason


def _contradiction(job: Job, report: Report) -> ReconcileReason | None:
    """See whether *report* says "done" without a result, or another end than the one that was."""
    if report.part is not None or report.status not in ENDS:
        return None
    if job.status in (Status.SUCCEEDED, Status.FAILED):
        return ReconcileReason.SECOND_END if report.status is not job.status else None
    empty = report.error is not None and report.error.code is ErrorCode.NO_OUTPUT
    return ReconcileReason.NO_OUTPUT if empty and not job.ended else None


def _moved(job: Job, reports: Sequence[Report], at: int) -> Assessment:
    steps: list[Job] = []
    for report in reports:
        moved = apply_report(steps[-1] if steps else job, report, at)
        if moved is not None:
            steps.append(moved)
    accepted = steps and job.status is not Status.CANCELED
    return Assessment(Verdict.ACCEPTED if accepted else Verdict.LATE, tuple(steps))
