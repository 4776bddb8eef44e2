"""The subscription: which events are sent to which URL, signed with which secret."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from service.domain.events import EVENT_TYPES, Event
from service.domain.primitives.errors import Conflict, FieldError
from service.domain.subscriptions.filters import first_mismatch, matches

MAX_IN_FLIGHT: Final = 8
"""The default number of concurrent requests to one receiver."""
MAX_PATTERNS: Final = 100
MAX_HEADER: Final = 4096
"""Characters of the value of a header."""
_HEADER_RULE: Final = f"must be up to {MAX_HEADER} printable ASCII characters"
_GROUPS: Final = frozenset({"*", *(f"{name.split('.')[0]}.*" for name in EVENT_TYPES)})
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_RESERVED_HEADER: Final = re.compile(
    r"webhook-.*|host|content-.*|transfer-encoding|connection|upgrade|te|trailer|keep-alive"
    r"|proxy-.*|accept-encoding|expect|user-agent|cookie|date",
    re.IGNORECASE,
)
Delivery = Literal["latest", "every"]
Kind = Literal["permanent", "per_job"]
State = Literal["active", "held", "paused", "disabled"]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription; its secrets and the values of *headers* are encrypted.

    *kind* is `permanent`, or `per_job` for the reply URL of jobs. *max_in_flight* limits concurrent
    requests, *rate_limit* requests per second. With *delivery* `every` each progress event is sent;
    with `latest` a newer progress event of a job replaces one that is not sent yet.

    *enabled* and *paused* are set by the tenant; a receiver that answers 410 or fails for days is
    disabled with a *disabled_reason*. *held* is True while the circuit breaker stops deliveries.
    *previous_secret* also signs, until *previous_until*. Times are in microseconds.
    """

    id: str
    tenant: str
    url: str
    secret: str
    created_at: int
    updated_at: int
    event_types: tuple[str, ...]
    kind: Kind = "permanent"
    description: str | None = None
    headers: dict[str, str] = {}
    max_in_flight: int = MAX_IN_FLIGHT
    rate_limit: int | None = None
    delivery: Delivery = "latest"
    filter: dict[str, Any] | None = None
    enabled: bool = True
    disabled_reason: str | None = None
    paused: bool = False
    held: bool = False
    previous_secret: str | None = None
    previous_until: int = 0
    metadata: dict[str, Any] = {}

    @property
    def deliverable(self) -> bool:
        """Whether events are sent now; otherwise its deliveries are parked."""
        return self.enabled and not self.paused and not self.held

    def refuse_if_off(self) -> None:
        """Raise Conflict if it is disabled or paused, so that a resend would not be sent."""
        if not self.enabled or self.paused:
            raise Conflict(f"Its subscription is {self.state}: nothing was sent.")

    @property
    def state(self) -> State:
        if not self.enabled:
            return "disabled"
        if self.paused:
            return "paused"
        return "held" if self.held else "active"


def starts_afresh(before: Subscription, changed: Subscription) -> bool:
    """Whether a change makes the receiver's past failures irrelevant."""
    released = before.held and not changed.held
    return released or changed.url != before.url or (changed.enabled and not before.enabled)


def signing_secrets(subscription: Subscription, at: int) -> list[str]:
    """The encrypted secrets that sign a webhook sent *at* that time, the newest first."""
    secrets = [subscription.secret]
    if subscription.previous_secret and at < subscription.previous_until:
        secrets.append(subscription.previous_secret)
    return secrets


@lru_cache(maxsize=65536)
def matches_type(patterns: tuple[str, ...], event_type: str) -> bool:
    """Whether one of *patterns* (`job.failed`, `job.*`, `*`) matches *event_type*."""
    return any(
        pattern in ("*", event_type)
        or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in patterns
    )


def is_subscribed(subscription: Subscription, event: Event) -> bool:
    """Whether *event* gets a delivery to *subscription*."""
    return (
        subscription.enabled
        and subscription.tenant == event.tenant
        and accepts(subscription, event)
    )


def accepts(subscription: Subscription, event: Event) -> bool:
    """Whether *event* matches the event types and the filter, enabled or not."""
    if not matches_type(subscription.event_types, event.type):
        return False
    return not subscription.filter or matches(subscription.filter, _document(event.payload))


def mismatch(subscription: Subscription, event: Event) -> str | None:
    """Describe why *event* does not match *subscription*; None when it does."""
    if not matches_type(subscription.event_types, event.type):
        return f"event_types: {event.type} does not match {', '.join(subscription.event_types)}"
    if subscription.filter and (
        reason := first_mismatch(subscription.filter, _document(event.payload))
    ):
        return reason
    return None if subscription.enabled else "enabled: the subscription is disabled"


@lru_cache(maxsize=256)
def _document(payload: bytes) -> Mapping[str, Any]:
    """Build the document that filters test from the body of an event."""
    body = msgspec.json.decode(payload)
    data = body["data"]
    return {
        "type": body["type"],
        "provider": data.get("provider"),
        "operation": data.get("operation"),
        "tags": data.get("tags", []),
        "metadata": data.get("metadata", {}),
        "data": data,
    }


def event_type_errors(patterns: Sequence[str], path: str) -> list[FieldError]:
    """List the patterns that match no event type; too many patterns are one error."""
    known = EVENT_TYPES.keys() | _GROUPS
    if len(patterns) > MAX_PATTERNS:
        return [FieldError(path, f"may have at most {MAX_PATTERNS} entries")]
    return [
        FieldError(
            f"{path}[{n}]",
            f"unknown event type {pattern!r}; allowed: {', '.join(EVENT_TYPES)}, job.*, *",
        )
        for n, pattern in enumerate(patterns)
        if pattern not in known
    ]


def header_errors(headers: dict[str, str], path: str) -> list[FieldError]:
    """List the headers that a subscription may not set, and values that are not printable ASCII.

    Reserved are the headers of HTTP itself, those that we send, and all of Standard Webhooks.
    """
    errors = []
    for name, value in headers.items():
        if _RESERVED_HEADER.fullmatch(name):
            errors.append(FieldError(f"{path}.{name}", "is a reserved header and cannot be set"))
        elif not _HEADER.fullmatch(name):
            errors.append(FieldError(f"{path}.{name}", "is not a valid header name"))
        elif not value.isprintable() or not value.isascii() or len(value) > MAX_HEADER:
            errors.append(FieldError(f"{path}.{name}", _HEADER_RULE))
    return errors
