"""Events in requests and responses."""

import msgspec

from service.domain.events import JobEvent, ProviderData, SubscriptionData, SystemEvent

LoggedEvent = JobEvent | SystemEvent[SubscriptionData] | SystemEvent[ProviderData]
"""The bodies of events that stand in the log; a test is in no log."""


class EventType(msgspec.Struct, frozen=True):
    type: str
    description: str


class EventResend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to send one event again: to a *subscription* by its id, or to a *url*."""

    subscription: str | None = None
    url: str | None = None


class SubscriptionMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an event is for a subscription as it is now, and if not, why."""

    subscription: str
    matched: bool
    reason: str | None
