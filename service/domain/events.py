"""The event: an immutable entry of the event log; its payload is the webhook body."""

from typing import Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import ENDS, Job, Status
from service.domain.jobs.results import Output
from service.domain.jobs.view import JobView, render_job
from service.domain.primitives.timestamps import rfc3339

EVENT_TYPES: Final[dict[str, str]] = {
    "job.queued": "The job is stored and waits for a free slot at its provider.",
    "job.submitted": "The provider has accepted the job.",
    "job.running": "The provider is working on the job.",
    "job.progress": "The job made progress: its ratio, its text, or one of several results.",
    "job.succeeded": "The job ended; `output` has its results.",
    "job.failed": "The job ended without output; `error` says why.",
    "job.canceled": "The job was canceled.",
    "job.expired": "The provider sent no final status before the deadline.",
    "subscription.failing": "Every attempt to reach a receiver has failed for two and a half days.",
    "subscription.disabled": "A receiver answered 410 or failed for five days; it gets no events.",
    "subscription.recovered": "A receiver that was reported as failing accepts events again.",
    "webhook.test": "A requested test; it is not in the event log.",
    "provider.paused": "A provider refuses our account; waiting jobs stay queued.",
    "provider.resumed": "The provider accepts jobs of our account again.",
    "provider.moderation_warning": "Many of an account's last jobs were moderated, which may get "
    "it suspended.",
}
MAX_PAYLOAD: Final = 20_000
"""Bytes; in a larger webhook body, the output is replaced by a link to the job."""
PAGE_BYTES: Final = 32 * 1024
"""Bytes of payloads after which a page of the log ends; every open stream may hold one page."""
DEFAULT_EVENT_TYPES: Final = tuple(f"job.{status}" for status in Status if status in ENDS)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log; *payload* is sent, signed and shown byte for byte.

    *at* is in microseconds since 1970. *sequence* counts the events of one job from 1; *seq* is the
    position in the log, assigned by the store.
    """

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
    """The webhook body of an event about a job; *sequence* counts the events of one job from 1.

    *after_expiry*: the provider reported its result after the job had expired.
    """

    id: str
    type: str
    timestamp: str
    sequence: int
    data: JobView
    after_expiry: bool = False


class SubscriptionData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `subscription.*` event; *reason* is None if the receiver works."""

    id: str
    object: str = "subscription"
    reason: str | None


class ProviderData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `provider.*` event.

    *scope* is what the provider refuses: the `credential`, one `account`, or the `credits` of one
    account. *reason* is None if that is over. *job* is the id of the job that showed it; None if
    it belongs to another tenant.
    """

    provider: str
    scope: str
    reason: str | None
    job: str | None


class ModerationData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `provider.moderation_warning` event.

    *share*, from 0 to 1, is the share of moderated jobs among the *window* jobs of one account that
    ended last; *job* is the id of the job that made it pass the limit.
    """

    provider: str
    share: float
    window: int
    job: str


class WebhookTestData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `webhook.test` event: the id of the subscription that is tested."""

    id: str
    object: str = "subscription"


SystemData = SubscriptionData | ProviderData | ModerationData | WebhookTestData
D = TypeVar("D", bound=SystemData)


class SystemEvent(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """The webhook body of an event about no job."""

    id: str
    type: str
    timestamp: str
    sequence: int = 1
    data: D


def system_event(kind: str, tenant: str, data: SystemData, event_id: str, at: int) -> Event:
    """Create an event of type *kind* about no job."""
    body = SystemEvent(id=event_id, type=kind, timestamp=rfc3339(at), data=data)
    return Event(
        id=event_id,
        tenant=tenant,
        type=kind,
        at=at,
        sequence=body.sequence,
        payload=msgspec.json.encode(body),
        provider=data.provider if isinstance(data, ProviderData | ModerationData) else None,
    )


def event_type_of(before: Job | None, after: Job) -> str | None:
    """The type of the event for the transition from *before* (None: new job); None: no event."""
    if before is None:
        return "job.queued"
    if after.status is not before.status:
        internal = after.status in (Status.SUBMITTING, Status.QUEUED) and not before.ended
        return None if internal else f"job.{after.status}"
    advanced = (after.progress, after.progress_text, after.received_parts) != (
        before.progress,
        before.progress_text,
        before.received_parts,
    )
    return "job.progress" if advanced and not after.ended else None


def job_event(before: Job | None, after: Job, kind: str, event_id: str, at: int) -> Event:
    """Create the event for the transition from *before* to *after*.

    The sequence of *after* already counts this event.
    """
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
