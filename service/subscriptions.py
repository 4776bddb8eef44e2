"""The subscription: where a tenant wants events sent, which ones, and under which signature."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from service.errors import Fault
from service.events import TYPES, Event
from service.times import rfc3339

MAX_IN_FLIGHT: Final = 8
"""POSTs under way at one receiver, unless its subscription says otherwise."""

MAX_HEADER: Final = 4096
_HEADER_RULE: Final = f"must be up to {MAX_HEADER} printable ASCII characters"
_GROUPS: Final = frozenset({"*", *(f"{name.split('.')[0]}.*" for name in TYPES)})
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS: Final = re.compile(
    r"webhook-.*|host|content-.*|transfer-encoding|connection|upgrade|te|trailer|keep-alive"
    r"|proxy-.*|accept-encoding|expect|user-agent|cookie|date",
    re.IGNORECASE,
)


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """*secret* is sealed; *kind* is `standing`, or `reply` for the reply URL of jobs."""

    id: str
    tenant: str
    url: str
    secret: str
    created_at: int
    updated_at: int
    events: tuple[str, ...]
    kind: str = "standing"
    description: str | None = None
    headers: dict[str, str] = {}
    max_in_flight: int = MAX_IN_FLIGHT
    enabled: bool = True
    disabled_reason: str | None = None
    metadata: dict[str, Any] = {}


class SubscriptionView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as users see it; *secret* only at creation."""

    id: str
    object: str = "subscription"
    kind: str
    url: str
    events: tuple[str, ...]
    description: str | None
    headers: dict[str, str]
    max_in_flight: int
    enabled: bool
    disabled_reason: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    secret: str | msgspec.UnsetType = msgspec.UNSET


def view(
    subscription: Subscription, secret: str | msgspec.UnsetType = msgspec.UNSET
) -> SubscriptionView:
    """Show *subscription*; the values of its own headers may be credentials and stay hidden."""
    return SubscriptionView(
        id=subscription.id,
        kind=subscription.kind,
        url=subscription.url,
        events=subscription.events,
        description=subscription.description,
        headers=dict.fromkeys(subscription.headers, "…"),
        max_in_flight=subscription.max_in_flight,
        enabled=subscription.enabled,
        disabled_reason=subscription.disabled_reason,
        metadata=subscription.metadata,
        created_at=rfc3339(subscription.created_at),
        updated_at=rfc3339(subscription.updated_at),
        secret=secret,
    )


@lru_cache(maxsize=65536)
def covers(patterns: tuple[str, ...], kind: str) -> bool:
    """Say whether one of *patterns* (`job.failed`, `job.*`, `*`) means the event type *kind*."""
    return any(p in ("*", kind) or (p[-2:] == ".*" and kind.startswith(p[:-1])) for p in patterns)


def matches(subscription: Subscription, event: Event) -> bool:
    return (
        subscription.enabled
        and subscription.tenant == event.tenant
        and covers(subscription.events, event.type)
    )


def pattern_faults(patterns: Iterable[str], path: str) -> list[Fault]:
    """Refuse patterns that could never match."""
    known = TYPES.keys() | _GROUPS
    return [
        Fault(
            f"{path}[{n}]",
            f"{pattern!r} is no event type; take one of {', '.join(TYPES)}, job.*, *",
        )
        for n, pattern in enumerate(patterns)
        if pattern not in known
    ]


def header_faults(headers: dict[str, str], path: str) -> list[Fault]:
    """Refuse headers that belong to HTTP or to the signature, and values that are not text."""
    faults = []
    for name, value in headers.items():
        if _OURS.fullmatch(name) or not _HEADER.fullmatch(name):
            faults.append(Fault(f"{path}.{name}", "may not be set: it is not a free header name"))
        elif not value.isprintable() or not value.isascii() or len(value) > MAX_HEADER:
            faults.append(Fault(f"{path}.{name}", _HEADER_RULE))
    return faults
