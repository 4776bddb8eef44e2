"""Events in requests and responses."""

import msgspec

from service.domain.events import (
    JobEvent,
    ModerationData,
    ProviderData,
    SubscriptionData,
    SystemEvent,
)

LoggedEvent = (
    JobEvent
    | SystemEvent[SubscriptionData]
    | SystemEvent[ProviderData]
    | SystemEvent[ModerationData]
)
"""The bodies of the events in the log; `webhook.test` events are not logged."""


class EventType(msgspec.Struct, frozen=True):
    """An event type and when it is sent."""

    type: str
    description: str


class EventResend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The receiver of a resent event: the id of a *subscription*, or a *url*."""

    subscription: str | None = None
    url: str | None = None


class SubscriptionMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an event matches a subscription as it is now; *reason* says why it does not."""

    subscription: str
    matched: bool
    reason: str | None
