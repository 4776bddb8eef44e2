"""The log of events over HTTP."""

from typing import cast

import msgspec

from handlers.http.endpoint import Nothing, Reply, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.deliveries import DeliveryView, view
from handlers.schemas.events import EventType, LoggedEvent, Match, Resend
from service.domain.events import TYPES, Body, Event
from service.domain.primitives.errors import Conflict, Fault, Invalid
from service.domain.primitives.ids import is_seq
from service.domain.security.address_policy import url_fault
from service.domain.subscriptions.subscription import Subscription, covers, mismatch, pattern_faults
from service.transactions.store_protocols import Page

MOST_EXPLAINED = 1000


class LogQuery(Paged, frozen=True, kw_only=True):
    """The log is paged by `seq`, not by id."""

    def is_cursor(self, text: str) -> bool:
        return is_seq(text)


class EventsQuery(LogQuery, frozen=True, kw_only=True):
    event_types: str | None = None
    job: str | None = None
    provider: str | None = None


async def show(visit: Visit[Nothing]) -> Reply[LoggedEvent]:
    """Look at one event: the very bytes its subscribers get."""
    event = await visit.context.store.event(visit.tenant, visit.id("evt"))
    return Reply(msgspec.Raw(event.payload))


async def listing(visit: Visit[EventsQuery]) -> Listed[Body]:
    """List the events of all your jobs, newest first."""
    query = visit.query
    wanted: dict[str, object] = {**query.wanted()}
    if query.event_types is not None:
        patterns = event_patterns(query.event_types)
        wanted["event_types"] = [kind for kind in TYPES if covers(patterns, kind)]
    found = await visit.context.store.events(visit.tenant, wanted, query.page())
    return _listed(found, query.limit)


def event_patterns(given: str) -> tuple[str, ...]:
    """Read `?event_types=`: types or patterns, separated by commas; Invalid names the unknown."""
    patterns = tuple(part.strip() for part in given.split(",") if part.strip())
    if faults := pattern_faults(patterns, "?event_types"):
        raise Invalid(faults)
    return patterns


async def of_job(visit: Visit[LogQuery]) -> Listed[Body]:
    """List the events of one job, newest first."""
    job = await visit.context.store.job(visit.tenant, visit.id("job"))
    page = visit.query.page()
    found = await visit.context.store.events(visit.tenant, {"job": job.id}, page)
    return _listed(found, visit.query.limit)


async def resend(visit: Visit[Nothing]) -> DeliveryView:
    """Send one event again, to one subscription or URL; the `webhook-id` stays the same."""
    context, at = visit.context, visit.context.clock()
    event = await context.store.event(visit.tenant, visit.id("evt"))
    given = await visit.body(Resend)
    to = await _receiver(visit, given, at)
    if not to.enabled or to.paused:
        raise Conflict(f"Its subscription is {to.state}: nothing was sent.")
    delivery_id = context.chance.new_id("dlv", at)
    delivery = await context.store.resend(visit.tenant, event.id, to, delivery_id, at)
    context.courier.look()
    return view(delivery)


async def _receiver(visit: Visit[Nothing], given: Resend, at: int) -> Subscription:
    context = visit.context
    if given.subscription is not None and given.url is None:
        return await context.store.subscription(visit.tenant, given.subscription)
    if given.url is None or given.subscription is not None:
        raise Invalid([Fault("subscription", "name either a subscription or a url")])
    if fault := url_fault(given.url, context.settings.allow_targets):
        raise Invalid([Fault("url", fault)])
    reply = context.desk.reply_to(given.url, visit.tenant, at)
    return await context.store.reply_subscription(reply)


async def matched(visit: Visit[Nothing]) -> Listed[Match]:
    """Say which subscriptions an event is for as they are now, and why it is not for others."""
    store = visit.context.store
    event = await store.event(visit.tenant, visit.id("evt"))
    page = Page(limit=MOST_EXPLAINED)
    standing = await store.subscriptions(visit.tenant, {"kind": "permanent"}, page)
    reasons = [(one.id, mismatch(one, event)) for one in standing]
    return Listed(
        data=[
            Match(subscription=subscription, matched=reason is None, reason=reason)
            for subscription, reason in reasons
        ]
    )


async def types(visit: Visit[Nothing]) -> Listed[EventType]:
    """List the types of events there are."""
    del visit
    return Listed(data=[EventType(name, words) for name, words in TYPES.items()])


def _listed(found: list[Event], limit: int) -> Listed[Body]:
    """The payloads are bodies already, byte for byte as they were sent."""
    payloads = [msgspec.Raw(event.payload) for event in found]
    return listed(cast("list[Body]", payloads), limit, [event.seq for event in found])
