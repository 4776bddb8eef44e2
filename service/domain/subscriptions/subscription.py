"""The subscription: which events go to which URL, signed with which secret."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from service.domain.events import EVENT_TYPES, Event
from service.domain.primitives.errors import Conflict, FieldError
from service.domain.subscriptions.filters import first_mismatch, matches

MAX_IN_FLIGHT: Final = 8
"""POSTs under way at one receiver, unless its subscription says otherwise."""
MAX_PATTERNS: Final = 100
MAX_HEADER: Final = 4096
_HEADER_RULE: Final = f"must be up to {MAX_HEADER} printable ASCII characters"
_GROUPS: Final = frozenset({"*", *(f"{name.split('.')[0]}.*" for name in EVENT_TYPES)})
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS: Final = re.compile(
    r"webhook-.*|host|content-.*|transfer-encoding|connection|upgrade|te|trailer|keep-alive"
    r"|proxy-.*|accept-encoding|expect|user-agent|cookie|date",
    re.IGNORECASE,
)
Delivery = Literal["latest", "every"]
Kind = Literal["permanent", "per_job"]
State = Literal["active", "held", "paused", "disabled"]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """*secret* and the values of *headers* are sealed.

    *kind* is `permanent`, or `per_job` for the reply URL of jobs.

    *rate_limit* is per second. *delivery* `every` sends each progress event; `latest` lets a newer
    event of the job replace one that is not sent yet. The *previous_secret* signs too, until then.
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
        """Whether events are sent now; otherwise their deliveries are parked."""
        return self.enabled and not self.paused and not self.held

    def refuse_if_off(self) -> None:
        """Raise Conflict if it is disabled or paused, so that a resend would not be sent."""
        if not self.enabled or self.paused:
            raise Conflict(f"Its subscription is {self.state}: nothing was sent.")

    @property
    def state(self) -> State:
        if not self.enabled:
            return "disabled"
        return "paused" if self.paused else "held" if self.held else "active"


def starts_afresh(before: Subscription, changed: Subscription) -> bool:
    """Whether a change makes the receiver's past failures irrelevant."""
    released = before.held and not changed.held
    return released or changed.url != before.url or (changed.enabled and not before.enabled)


def signing_secrets(subscription: Subscription, at: int) -> list[str]:
    """The sealed secrets that sign what is sent at *at*, the newest first."""
    old = subscription.previous_secret
    return [subscription.secret, *([old] if old and at < subscription.previous_until else [])]


@lru_cache(maxsize=65536)
def matches_type(patterns: tuple[str, ...], kind: str) -> bool:
    """Say whether one of *patterns* (`job.failed`, `job.*`, `*`) means the event type *kind*."""
    return any(p in ("*", kind) or (p[-2:] == ".*" and kind.startswith(p[:-1])) for p in patterns)


def is_subscribed(subscription: Subscription, event: Event) -> bool:
    return (
        subscription.enabled
        and subscription.tenant == event.tenant
        and accepts(subscription, event)
    )


def accepts(subscription: Subscription, event: Event) -> bool:
    """Whether *event* is for *subscription* as it is now, on or off."""
    filtered = subscription.filter
    return matches_type(subscription.event_types, event.type) and (
        not filtered or matches(filtered, document_of(event.payload))
    )


def mismatch(subscription: Subscription, event: Event) -> str | None:
    """Say why *event* is not for *subscription* as it is now; None when it is."""
    if not matches_type(subscription.event_types, event.type):
        return f"event_types: {event.type} is not among {', '.join(subscription.event_types)}"
    if subscription.filter and (
        miss := first_mismatch(subscription.filter, document_of(event.payload))
    ):
        return miss
    return None if subscription.enabled else "enabled: it is off"


@lru_cache(maxsize=256)
def document_of(payload: bytes) -> Mapping[str, Any]:
    """What filters are matched with, read from the body that is sent."""
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
    """Refuse patterns that could never match, and more of them than there are."""
    known = EVENT_TYPES.keys() | _GROUPS
    if len(patterns) > MAX_PATTERNS:
        return [FieldError(path, f"may have at most {MAX_PATTERNS} entries")]
    return [
        FieldError(
            f"{path}[{n}]",
            f"{pattern!r} is no event type; take one of {', '.join(EVENT_TYPES)}, job.*, *",
        )
        for n, pattern in enumerate(patterns)
        if pattern not in known
    ]


def header_errors(headers: dict[str, str], path: str) -> list[FieldError]:
    """Refuse headers that belong to HTTP or to the signature, and values that are not text."""
    errors = []
    for name, value in headers.items():
        if _OURS.fullmatch(name) or not _HEADER.fullmatch(name):
            errors.append(
                FieldError(f"{path}.{name}", "may not be set: it is not a free header name")
            )
        elif not value.isprintable() or not value.isascii() or len(value) > MAX_HEADER:
            errors.append(FieldError(f"{path}.{name}", _HEADER_RULE))
    return errors
