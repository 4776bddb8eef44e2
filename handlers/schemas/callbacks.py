"""Callbacks in responses."""

import msgspec

from service.domain.callbacks import Callback, Verdict
from service.domain.jobs.job import ReconcileReason
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class CallbackView(msgspec.Struct, frozen=True, kw_only=True):
    """A request from a provider at the callback URL of a job.

    *quarantine* is the reason why the callback was not applied to the job but set aside, and the
    provider asked about the job; null for all other callbacks. *settlement* is what the provider
    said then, and the resulting status of the job; *settled_at* is when. Both are null until then.
    *repeats* counts further callbacks with the same body. Only the response for a single callback
    contains its *headers*, without credentials, and the *body*, in which secrets are redacted.
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
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
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
        headers=msgspec.UNSET if body is msgspec.UNSET else callback.headers,
        body=body,
    )
