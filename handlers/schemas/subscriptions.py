"""Subscriptions in requests and responses."""

from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from service.domain.deliveries.recovery import RecoveryScope
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none
from service.domain.subscriptions.subscription import Delivery, Kind, State, Subscription


class ReceiverFailure(Protocol):
    """What the API shows of the health of a failing receiver."""

    @property
    def failing_since(self) -> int: ...
    @property
    def last_error(self) -> str: ...
    @property
    def probe_at(self) -> int | None: ...
    @property
    def disable_at(self) -> int: ...


class SubscriptionView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription. Only the response that creates it contains the *secret*.

    While the receiver fails, *failing_since*, *last_error* and *disable_at* are set. While the
    subscription is held, a single delivery probes the receiver at *next_probe_at*.
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


def render_subscription(
    subscription: Subscription,
    failing: ReceiverFailure | None = None,
    secret: str | msgspec.UnsetType = msgspec.UNSET,
) -> SubscriptionView:
    """Render *subscription* without the values of its own headers: they may be credentials."""
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
"""Events per second."""
Description = Annotated[str, msgspec.Meta(max_length=1000)]


class SubscriptionCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new subscription.

    *event_types* are types or patterns (`job.*`); the default is `job.succeeded`, `job.failed`,
    `job.canceled` and `job.expired`.
    """

    url: str
    event_types: list[str] | None = None
    description: Description | None = None
    headers: dict[str, str] | None = None
    filter: dict[str, Any] | None = None
    rate_limit: Rate | None = None
    max_in_flight: InFlight | None = None
    delivery: Delivery | None = None
    enabled: bool = True
    metadata: dict[str, Any] | None = None


class SubscriptionUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An update of a subscription. Omitted fields keep their value; null sets the default."""

    url: str | UnsetType = UNSET
    event_types: list[str] | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    filter: dict[str, Any] | UnsetType | None = UNSET
    rate_limit: Rate | UnsetType | None = UNSET
    max_in_flight: InFlight | UnsetType | None = UNSET
    delivery: Delivery | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class SubscriptionSecret(msgspec.Struct, frozen=True):
    """The secret that signs the requests to a subscription."""

    secret: str


RecoveryScopes = Annotated[list[RecoveryScope], msgspec.Meta(min_length=1)]


class RecoveryCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to resend the events since a time (RFC 3339).

    *event_types* restricts the types. *only* restricts the cases: `dead` were given up or canceled,
    `failed` wait for a retry, `missed` were never sent.
    """

    since: str
    event_types: list[str] | None = None
    only: RecoveryScopes | None = None


class RotatedSecret(SubscriptionSecret, frozen=True):
    """The new secret. Requests are also signed with the old secret until *previous_until*."""

    previous_until: str
