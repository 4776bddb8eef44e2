"""Callbacks in responses."""

import msgspec

from service.domain.callbacks import Callback, Verdict
from service.domain.jobs.job import ReconcileReason
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class CallbackView(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as users see it; *body* only when one is asked for, with secrets redacted.

    *quarantine* says what it contradicts; *settlement* what its provider said when it was asked.
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


def callback_view(
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
