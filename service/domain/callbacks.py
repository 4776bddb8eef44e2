"""The callback: one request from a provider, and its assessment against the job."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.jobs.job import ENDS, Job, ReconcileReason, Report, Status
from service.domain.jobs.results import ErrorCode
from service.domain.jobs.state_machine import apply_reports

MAX_RECONCILES: Final = 5
"""Resolved reasons of one job after which its callbacks cause no more lookups."""
UNREADABLE_BYTES_KEPT: Final = 64 * 1024
"""Bytes that are stored of a callback that cannot be read."""


class Verdict(StrEnum):
    """How a callback is classified."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    LATE = "late"
    MISMATCHED = "mismatched"
    UNREADABLE = "unreadable"
    FORGED = "forged"


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One stored callback; times in microseconds since 1970.

    *digest* is that of the whole body, also if *body* was cut. *repeats* counts further callbacks
    with the same bytes. *settlement* is what the lookup for *reconcile_reason* found. *headers* are
    those of the request without credentials, names in lower case.
    """

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
    headers: dict[str, str] = {}


class Assessment(msgspec.Struct, frozen=True):
    """What a callback is, the transitions of its job, and why the job must be looked up, if so.

    *steps* are the job after each transition, in order.
    """

    verdict: Verdict
    steps: tuple[Job, ...] = ()
    reconcile_reason: ReconcileReason | None = None


def correlate(job: Job, ref: str, reports: Sequence[Report]) -> list[Report] | None:
    """Select the reports about submission *ref*; None if the body is about another submission.

    *ref* comes from the signed callback URL; the ids in the body must agree with it. The job knows
    the task id of its latest submission only.
    """
    known_task_id = job.provider_task_id if job.ref == ref else None
    matching = []
    for report in reports:
        has_other_ref = any(other != ref for other in report.refs)
        if not has_other_ref and _same_task(known_task_id, report.task_id):
            matching.append(report)
        elif ref in report.refs:
            return None
    return matching or None


def _same_task(known: str | None, reported: str | None) -> bool:
    """Compare task ids; one may be the end of the other, like useapi's `taskId` and `id`."""
    if known is None or reported is None:
        return True
    return known.endswith(reported) or reported.endswith(known)


def assess(
    job: Job,
    ref: str,
    reports: Sequence[Report] | None,
    at: int,
    can_look_up: Callable[[Job], bool],
) -> Assessment:
    """Classify a callback for submission *ref* and compute the transitions of *job*.

    *reports* is None if the body could not be read. A readable callback for an earlier submission
    of the job is late. If a callback contradicts the job and a lookup is allowed, nothing changes
    and the job is looked up; without a lookup it is applied as it is. A lookup is allowed by
    *can_look_up* and for a job with fewer than `MAX_RECONCILES` resolved reasons.
    """
    if reports is None:
        lookup = not job.ended and _may_look_up(job, ref, can_look_up)
        return Assessment(Verdict.UNREADABLE, (), ReconcileReason.UNREADABLE if lookup else None)
    matching = correlate(job, ref, reports)
    if matching is None:
        lookup = not job.ended and _may_look_up(job, ref, can_look_up)
        return Assessment(Verdict.MISMATCHED, (), ReconcileReason.MISMATCHED if lookup else None)
    if job.ref != ref:
        return Assessment(Verdict.LATE)
    contradiction = next(filter(None, (_contradiction(job, report) for report in matching)), None)
    if contradiction and _may_look_up(job, ref, can_look_up):
        return Assessment(Verdict.LATE if job.ended else Verdict.ACCEPTED, (), contradiction)
    steps = apply_reports(job, matching, at)
    accepted = steps and job.status is not Status.CANCELED
    return Assessment(Verdict.ACCEPTED if accepted else Verdict.LATE, steps)


def _may_look_up(job: Job, ref: str, can_look_up: Callable[[Job], bool]) -> bool:
    return job.ref == ref and job.reconcile_count < MAX_RECONCILES and can_look_up(job)


def _contradiction(job: Job, report: Report) -> ReconcileReason | None:
    """Find whether *report* is a success without output, or another end than the job had."""
    if report.part is not None or report.status not in ENDS:
        return None
    if job.status in (Status.SUCCEEDED, Status.FAILED):
        return ReconcileReason.SECOND_END if report.status is not job.status else None
    empty = report.error is not None and report.error.code is ErrorCode.NO_OUTPUT
    return ReconcileReason.NO_OUTPUT if empty and not job.ended else None
