"""Callbacks in responses."""

import msgspec

from service.domain.callbacks import Callback, Verdict
from service.domain.jobs.job import ReconcileReason
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class CallbackView(msgspec.Struct, frozen=True, kw_only=True):
    """A request from a provider at the callback URL of a job.

    *quarantine*: the reason why the callback was set aside instead of applied to the job, and the
    provider asked; null for other callbacks. *settlement*: what the provider then said, and the
    resulting status of the job. *settled_at*: when. Both are null until the case is settled.
    *repeats* counts further callbacks with the same body. Only the response for a single callback
    contains the *body*; secrets in it are redacted.
    """

    id: str
    object: str = "callback"
    provider: str
    ref: str
    job: str
    verdict: Verdict
    repeats: int
    received_at: str
    quarantine: ReconcileReason | None
    settled_at: str | None
    settlement: str | None
    body: str | msgspec.UnsetType = msgspec.UNSET


def render_callback(
    callback: Callback, body: str | msgspec.UnsetType = msgspec.UNSET
) -> CallbackView:
    return CallbackView(
        id=callback.id,
        provider=callback.provider,
        ref=callback.ref,
        job=callback.job_id,
        verdict=callback.verdict,
        repeats=callback.repeats,
        received_at=rfc3339(callback.received_at),
        quarantine=callback.reconcile_reason,
        settled_at=rfc3339_or_none(callback.settled_at),
        settlement=callback.settlement,
        body=body,
    )
