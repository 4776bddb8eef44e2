"""Every change that a user makes to a subscription."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from service.domain.events import DEFAULT_EVENT_TYPES
from service.domain.primitives.timestamps import DAY
from service.domain.subscriptions.subscription import MAX_IN_FLIGHT, Subscription

SECRET_OVERLAP: Final = DAY
"""How long the old secret signs too after a rotation, in microseconds."""


def updated(before: Subscription, values: Mapping[str, Any], at: int) -> Subscription:
    """Set the fields named in *values*; None sets a field to its default.

    Enabling the subscription or changing its URL ends its hold, so that the receiver is tried at
    once.
    """
    defaults: dict[str, Any] = {
        "event_types": before.event_types if before.kind == "per_job" else DEFAULT_EVENT_TYPES,
        "headers": {},
        "metadata": {},
        "max_in_flight": MAX_IN_FLIGHT,
        "delivery": "latest",
        "filter": None,
        "rate_limit": None,
        "description": None,
    }
    changes = {name: defaults[name] if value is None else value for name, value in values.items()}
    if "event_types" in changes:
        changes["event_types"] = tuple(changes["event_types"] or defaults["event_types"])
    if changes.get("enabled"):
        changes |= {"disabled_reason": None, "held": False}
    if changes.get("url", before.url) != before.url:
        changes["held"] = False
    return replace(before, **changes, updated_at=at)


def with_paused(before: Subscription, *, paused: bool, at: int) -> Subscription:
    return replace(before, paused=paused, updated_at=at)


def rotated(before: Subscription, encrypted_secret: str, at: int) -> Subscription:
    """Sign with a new secret, and for `SECRET_OVERLAP` with the old one as well."""
    return replace(
        before,
        secret=encrypted_secret,
        previous_secret=before.secret,
        previous_until=at + SECRET_OVERLAP,
        updated_at=at,
    )
