"""The event: a fact told to subscribers, immutable, in one log; its bytes are the webhook body."""

from typing import Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import ENDS, Job, Status
from service.domain.jobs.results import Output
from service.domain.jobs.view import JobView, render_job
from service.domain.primitives.timestamps import rfc3339

EVENT_TYPES: Final[dict[str, str]] = {
    "job.queued": "The job is on disk and waits for a free slot at its provider.",
    "job.submitted": "The provider has accepted the job.",
    "job.running": "The provider works on the job.",
    "job.progress": "The job got further: its ratio, its text, or one of several results.",
    "job.succeeded": "The job ended and its output is here.",
    "job.failed": "The job ended without output; `error` says why.",
    "job.canceled": "The job was called off.",
    "job.expired": "The provider was not heard of until the deadline.",
    "subscription.failing": "A receiver has done nothing but fail for two days and a half.",
    "subscription.disabled": "A receiver said 410, or failed for five days; it is sent no more.",
    "subscription.recovered": "A receiver that was told to be failing takes events again.",
    "webhook.test": "A test that was asked for; it is in no log.",
    "provider.paused": "A provider refuses our account; waiting jobs stay queued.",
    "provider.resumed": "The provider takes jobs of our account again.",
}
MAX_PAYLOAD: Final = 20_000
"""Bytes of a body beyond which its output is given as a link to the job."""
PAGE_BYTES: Final = 32 * 1024
"""Bytes of payloads after which a page of the log ends; every open stream may hold a page."""
DEFAULT_EVENT_TYPES: Final = tuple(f"job.{status}" for status in Status if status in ENDS)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log; *payload* is sent, signed and shown byte for byte."""

    id: str
    tenant: str
    type: str
    at: int
    sequence: int
    payload: bytes
    job_id: str | None = None
    provider: str | None = None
    operation: str | None = None
    tags: tuple[str, ...] = ()
    seq: int = 0


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The webhook body; *sequence* counts the events of one job from 1."""

    id: str
    type: str
    timestamp: str
    sequence: int
    data: JobView
    after_expiry: bool = False


class SubscriptionData(msgspec.Struct, frozen=True, kw_only=True):
    """What a `subscription.*` event says of a subscription; *reason* None when it is well."""

    id: str
    object: str = "subscription"
    reason: str | None


class ProviderData(msgspec.Struct, frozen=True, kw_only=True):
    """What a `provider.*` event says, and the *job* whose answer told it."""

    provider: str
    reason: str | None
    job: str


class WebhookTestData(msgspec.Struct, frozen=True, kw_only=True):
    """What a `webhook.test` event says: the id of the subscription that is tried."""

    id: str
    object: str = "subscription"


SystemData = SubscriptionData | ProviderData | WebhookTestData
D = TypeVar("D", bound=SystemData)


class SystemEvent(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """The webhook body of an event that is about no job."""

    id: str
    type: str
    timestamp: str
    sequence: int = 1
    data: D


def system_event(kind: str, tenant: str, data: SystemData, event_id: str, at: int) -> Event:
    """An event of type *kind* that is about no job."""
    body = SystemEvent(id=event_id, type=kind, timestamp=rfc3339(at), data=data)
    return Event(
        id=event_id,
        tenant=tenant,
        type=kind,
        at=at,
        sequence=body.sequence,
        payload=msgspec.json.encode(body),
        provider=data.provider if isinstance(data, ProviderData) else None,
    )


def event_type_of(before: Job | None, after: Job) -> str | None:
    """Name what a move is to subscribers; None when it is only our own bookkeeping."""
    if before is None:
        return "job.queued"
    if after.status is not before.status:
        silent = after.status in (Status.SUBMITTING, Status.QUEUED) and not before.ended
        return None if silent else f"job.{after.status}"
    further = (after.progress, after.progress_text, after.received_parts) != (
        before.progress,
        before.progress_text,
        before.received_parts,
    )
    return "job.progress" if further and not after.ended else None


def job_event(before: Job | None, after: Job, kind: str, event_id: str, at: int) -> Event:
    """Tell the move from *before* to *after*, whose sequence already counts this event."""
    body = JobEvent(
        id=event_id,
        type=kind,
        timestamp=rfc3339(at),
        sequence=after.sequence,
        data=render_job(after),
        after_expiry=before is not None and before.status is Status.EXPIRED,
    )
    payload = msgspec.json.encode(body)
    if len(payload) > MAX_PAYLOAD and after.output is not None:
        link = Output(link=f"/v1/jobs/{after.id}")
        payload = msgspec.json.encode(replace(body, data=replace(body.data, output=link)))
    return Event(
        id=event_id,
        tenant=after.tenant,
        type=kind,
        at=at,
        sequence=after.sequence,
        payload=payload,
        job_id=after.id,
        provider=after.provider,
        operation=after.operation,
        tags=after.tags,
    )
