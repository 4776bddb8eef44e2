"""Subscriptions in requests and responses."""

from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from service.domain.deliveries.recovery import RecoveryScope
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none
from service.domain.subscriptions.subscription import Delivery, Kind, State, Subscription


class ReceiverFailure(Protocol):
    """What is to be shown of a receiver that fails."""

    @property
    def failing_since(self) -> int: ...
    @property
    def last_error(self) -> str: ...
    @property
    def probe_at(self) -> int | None: ...
    @property
    def disable_at(self) -> int: ...


class SubscriptionView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as users see it; *secret* only at creation.

    While its receiver fails, *failing_since*, *last_error* and *disable_at* say so; while it is
    *held*, one delivery is tried at *next_probe_at*.
    """

    id: str
    object: str = "subscription"
    kind: Kind
    url: str
    event_types: tuple[str, ...]
    description: str | None
    headers: dict[str, str]
    max_in_flight: int
    rate_limit: int | None
    delivery: Delivery
    filter: dict[str, Any] | None
    enabled: bool
    state: State
    disabled_reason: str | None
    failing_since: str | None
    last_error: str | None
    next_probe_at: str | None
    disable_at: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    secret: str | msgspec.UnsetType = msgspec.UNSET


def subscription_view(
    subscription: Subscription,
    failing: ReceiverFailure | None = None,
    secret: str | msgspec.UnsetType = msgspec.UNSET,
) -> SubscriptionView:
    """Show *subscription*; the values of its own headers may be credentials and stay hidden."""
    return SubscriptionView(
        id=subscription.id,
        kind=subscription.kind,
        url=subscription.url,
        event_types=subscription.event_types,
        description=subscription.description,
        headers=dict.fromkeys(subscription.headers, "…"),
        max_in_flight=subscription.max_in_flight,
        rate_limit=subscription.rate_limit,
        delivery=subscription.delivery,
        filter=subscription.filter,
        enabled=subscription.enabled,
        state=subscription.state,
        failing_since=rfc3339_or_none(failing.failing_since if failing else None),
        last_error=failing.last_error if failing else None,
        next_probe_at=rfc3339_or_none(failing.probe_at if failing else None),
        disable_at=rfc3339_or_none(failing.disable_at if failing else None),
        disabled_reason=subscription.disabled_reason,
        metadata=subscription.metadata,
        created_at=rfc3339(subscription.created_at),
        updated_at=rfc3339(subscription.updated_at),
        secret=secret,
    )


InFlight = Annotated[int, msgspec.Meta(ge=1, le=100)]
Rate = Annotated[int, msgspec.Meta(ge=1, le=1000)]
"""Events a second."""
Words = Annotated[str, msgspec.Meta(max_length=1000)]


class SubscriptionCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """*event_types* are types or patterns (`job.*`); without them, the four ends of a job."""

    url: str
    event_types: list[str] | None = None
    description: Words | None = None
    headers: dict[str, str] | None = None
    filter: dict[str, Any] | None = None
    rate_limit: Rate | None = None
    max_in_flight: InFlight | None = None
    delivery: Delivery | None = None
    enabled: bool = True
    metadata: dict[str, Any] | None = None


class SubscriptionUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not named stays as it is; null sets it back to its default."""

    url: str | UnsetType = UNSET
    event_types: list[str] | UnsetType | None = UNSET
    description: Words | UnsetType | None = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    filter: dict[str, Any] | UnsetType | None = UNSET
    rate_limit: Rate | UnsetType | None = UNSET
    max_in_flight: InFlight | UnsetType | None = UNSET
    delivery: Delivery | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class SubscriptionSecret(msgspec.Struct, frozen=True):
    secret: str


RecoveryScopes = Annotated[list[RecoveryScope], msgspec.Meta(min_length=1)]


class RecoveryCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send again what happened since then (RFC 3339); *event_types* and *only* narrow it down."""

    since: str
    event_types: list[str] | None = None
    only: RecoveryScopes | None = None


class RotatedSecret(SubscriptionSecret, frozen=True):
    """The new secret; the old one signs too, until then."""

    previous_until: str
