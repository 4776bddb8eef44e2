"""The log of events over HTTP."""

from typing import cast

import msgspec

from handlers.http.endpoint import ApiRequest, NoQuery, Reply
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.deliveries import DeliveryView, delivery_view
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

MOST_EXPLAINED = 1000


class LogQuery(PageQuery, frozen=True, kw_only=True):
    """The log is paged by `seq`, not by id."""

    def is_cursor(self, text: str) -> bool:
        return is_seq(text)


class EventsQuery(LogQuery, frozen=True, kw_only=True):
    event_types: str | None = None
    job: str | None = None
    provider: str | None = None


async def show(request: ApiRequest[NoQuery]) -> Reply[LoggedEvent]:
    """Look at one event: the very bytes its subscribers get."""
    event = await request.context.store.events.get(request.tenant, request.id("evt"))
    return Reply(msgspec.Raw(event.payload))


async def listing(request: ApiRequest[EventsQuery]) -> ListResponse[JobEvent]:
    """List the events of all your jobs, newest first."""
    query = request.query
    wanted: dict[str, object] = {**query.filters()}
    if query.event_types is not None:
        patterns = event_patterns(query.event_types)
        wanted["event_types"] = [kind for kind in EVENT_TYPES if matches_type(patterns, kind)]
    found = await request.context.store.events.find(request.tenant, wanted, query.page())
    return _listed(found, query.limit)


def event_patterns(given: str) -> tuple[str, ...]:
    """Read `?event_types=`: types or patterns, separated by commas; Invalid names the unknown."""
    patterns = tuple(part.strip() for part in given.split(",") if part.strip())
    if errors := event_type_errors(patterns, "?event_types"):
        raise Invalid(errors)
    return patterns


async def list_of_job(request: ApiRequest[LogQuery]) -> ListResponse[JobEvent]:
    """List the events of one job, newest first."""
    job = await request.context.store.jobs.get(request.tenant, request.id("job"))
    page = request.query.page()
    found = await request.context.store.events.find(request.tenant, {"job": job.id}, page)
    return _listed(found, request.query.limit)


async def resend(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Send one event again, to one subscription or URL; the `webhook-id` stays the same."""
    context, at = request.context, request.context.clock()
    event = await context.store.events.get(request.tenant, request.id("evt"))
    given = await request.body(EventResend)
    to = await _receiver(request, given, at)
    if not to.enabled or to.paused:
        raise Conflict(f"Its subscription is {to.state}: nothing was sent.")
    delivery_id = context.ids.new_id("dlv", at)
    delivery = await context.store.deliveries.resend(request.tenant, event.id, to, delivery_id, at)
    context.inbox.wake()
    return delivery_view(delivery)


async def _receiver(request: ApiRequest[NoQuery], given: EventResend, at: int) -> Subscription:
    context = request.context
    if given.subscription is not None and given.url is None:
        return await context.store.subscriptions.get(request.tenant, given.subscription)
    if given.url is None or given.subscription is not None:
        raise Invalid([FieldError("subscription", "name either a subscription or a url")])
    if error := url_error(given.url, context.settings.allow_targets):
        raise Invalid([FieldError("url", error)])
    reply = context.job_factory.reply_subscription(given.url, request.tenant, at)
    return await context.store.subscriptions.get_or_add_reply(reply)


async def list_matches(request: ApiRequest[NoQuery]) -> ListResponse[SubscriptionMatch]:
    """Say which subscriptions an event is for as they are now, and why it is not for others."""
    store = request.context.store
    event = await store.events.get(request.tenant, request.id("evt"))
    page = Page(limit=MOST_EXPLAINED)
    standing = await store.subscriptions.find(request.tenant, {"kind": "permanent"}, page)
    reasons = [(one.id, mismatch(one, event)) for one in standing]
    return ListResponse(
        data=[
            SubscriptionMatch(subscription=subscription, matched=reason is None, reason=reason)
            for subscription, reason in reasons
        ]
    )


async def list_types(request: ApiRequest[NoQuery]) -> ListResponse[EventType]:
    """List the types of events there are."""
    del request
    return ListResponse(data=[EventType(name, words) for name, words in EVENT_TYPES.items()])


def _listed(found: list[Event], limit: int) -> ListResponse[JobEvent]:
    """The payloads are bodies already, byte for byte as they were sent."""
    payloads = [msgspec.Raw(event.payload) for event in found]
    return paginate(cast("list[JobEvent]", payloads), limit, [event.seq for event in found])
