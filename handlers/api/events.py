"""Endpoints for the event log, and for the subscriptions that events match."""

from typing import Final, cast

import msgspec

from handlers.http.endpoint import ApiRequest, NoQuery, Reply
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.deliveries import DeliveryView, render_delivery
from handlers.schemas.events import EventResend, EventType, LoggedEvent, SubscriptionMatch
from service.domain.events import EVENT_TYPES, Event, JobEvent
from service.domain.primitives.errors import Conflict, FieldError, Invalid
from service.domain.primitives.ids import is_seq
from service.domain.security.address_policy import url_error
from service.domain.subscriptions.subscription import (
    Subscription,
    event_type_errors,
    matches_type,
    mismatch,
)
from service.transactions.store_protocols import Page

MAX_MATCHES: Final = 1000
"""Subscriptions that one response compares with an event."""


class LogQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of a list of events; its cursor is a `seq`, not an id."""

    def is_cursor(self, text: str) -> bool:
        return is_seq(text)


class EventsQuery(LogQuery, frozen=True, kw_only=True):
    """Query parameters of the list of all events."""

    event_types: str | None = None
    job: str | None = None
    provider: str | None = None


async def list_events(request: ApiRequest[EventsQuery]) -> ListResponse[JobEvent]:
    """List all your events, newest first."""
    query = request.query
    filters: dict[str, object] = {**query.filters()}
    if query.event_types is not None:
        patterns = parse_event_patterns(query.event_types)
        filters["event_types"] = [name for name in EVENT_TYPES if matches_type(patterns, name)]
    found = await request.context.store.events.find(request.tenant, filters, query.page())
    return _paginate_events(found, query.limit)


async def list_job_events(request: ApiRequest[LogQuery]) -> ListResponse[JobEvent]:
    """List the events of one job, newest first."""
    job = await request.context.store.jobs.get(request.tenant, request.id("job"))
    page = request.query.page()
    found = await request.context.store.events.find(request.tenant, {"job": job.id}, page)
    return _paginate_events(found, request.query.limit)


async def get(request: ApiRequest[NoQuery]) -> Reply[LoggedEvent]:
    """Get an event: the exact bytes that its subscribers receive."""
    event = await request.context.store.events.get(request.tenant, request.id("evt"))
    return Reply(msgspec.Raw(event.payload))


async def resend(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Send an event again, to one subscription or URL. Its `webhook-id` stays the same."""
    context, at = request.context, request.context.clock()
    event = await context.store.events.get(request.tenant, request.id("evt"))
    given = await request.body(EventResend)
    to = await _resend_target(request, given, at)
    if not to.enabled or to.paused:
        raise Conflict(f"The subscription is {to.state}: nothing was sent.")
    delivery_id = context.ids.new_id("dlv", at)
    delivery = await context.store.deliveries.resend(request.tenant, event.id, to, delivery_id, at)
    context.inbox.wake()
    return render_delivery(delivery)


async def _resend_target(request: ApiRequest[NoQuery], given: EventResend, at: int) -> Subscription:
    """Return the subscription that *given* names, or that of its URL, created if it is missing."""
    context = request.context
    if given.subscription is not None and given.url is None:
        return await context.store.subscriptions.get(request.tenant, given.subscription)
    if given.url is None or given.subscription is not None:
        raise Invalid([FieldError("subscription", "give either subscription or url")])
    if error := url_error(given.url, context.settings.allow_targets):
        raise Invalid([FieldError("url", error)])
    reply = context.job_factory.reply_subscription(given.url, request.tenant, at)
    return await context.store.subscriptions.get_or_add_reply(reply)


async def list_event_subscriptions(request: ApiRequest[NoQuery]) -> ListResponse[SubscriptionMatch]:
    """List which subscriptions match an event as they are now, and why the others do not."""
    store = request.context.store
    event = await store.events.get(request.tenant, request.id("evt"))
    page = Page(limit=MAX_MATCHES)
    subscriptions = await store.subscriptions.find(request.tenant, {"kind": "permanent"}, page)
    reasons = [(one.id, mismatch(one, event)) for one in subscriptions]
    return ListResponse(
        data=[
            SubscriptionMatch(subscription=subscription_id, matched=reason is None, reason=reason)
            for subscription_id, reason in reasons
        ]
    )


async def list_event_types(request: ApiRequest[NoQuery]) -> ListResponse[EventType]:
    """List all event types."""
    del request
    return ListResponse(
        data=[EventType(name, description) for name, description in EVENT_TYPES.items()]
    )


def parse_event_patterns(given: str) -> tuple[str, ...]:
    """Split `?event_types=` at its commas; Invalid names the unknown event types and patterns."""
    patterns = tuple(part.strip() for part in given.split(",") if part.strip())
    if errors := event_type_errors(patterns, "?event_types"):
        raise Invalid(errors)
    return patterns


def _paginate_events(found: list[Event], limit: int) -> ListResponse[JobEvent]:
    """Paginate the stored payloads without decoding them: they are the JSON that was sent."""
    payloads = [msgspec.Raw(event.payload) for event in found]
    return paginate(cast("list[JobEvent]", payloads), limit, [event.seq for event in found])
