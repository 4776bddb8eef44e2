"""Subscriptions over HTTP: made, read, changed, deleted."""

from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from handlers.http.endpoint import Nothing, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.subscriptions import Change, NewSubscription, Secret, SubscriptionView, view
from service.context import Context
from service.domain.events import DEFAULT
from service.domain.primitives.errors import Fault, Invalid
from service.domain.security.address_policy import url_fault
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.filters import filter_faults
from service.domain.subscriptions.subscription import (
    MAX_IN_FLIGHT,
    Kind,
    Subscription,
    header_faults,
    pattern_faults,
)


class SubscriptionsQuery(Paged, frozen=True, kw_only=True):
    kind: Kind | None = None
    url: str | None = None


async def create(visit: Visit[Nothing]) -> SubscriptionView:
    """Subscribe a URL to events; the secret that signs them is shown here."""
    given = await visit.body(NewSubscription)
    context, at = visit.context, visit.context.clock()
    _check(context, given)
    secret = new_secret(context.chance.noise(SECRET_BYTES))
    subscription = Subscription(
        id=context.chance.new_id("sub", at),
        tenant=visit.tenant,
        url=given.url,
        secret=context.vault.seal(secret, at),
        event_types=tuple(given.event_types or DEFAULT),
        description=given.description,
        headers=_sealed(context, given.headers or {}, at),
        filter=given.filter,
        rate_limit=given.rate_limit,
        max_in_flight=given.max_in_flight or MAX_IN_FLIGHT,
        delivery=given.delivery or "latest",
        enabled=given.enabled,
        metadata=given.metadata or {},
        created_at=at,
        updated_at=at,
    )
    await context.store.put_subscription(subscription)
    return view(subscription, secret=secret)


async def show(visit: Visit[Nothing]) -> SubscriptionView:
    """Look at one subscription."""
    subscription = await visit.context.store.subscription(visit.tenant, visit.id("sub"))
    return await seen(visit.context, subscription)


async def secret(visit: Visit[Nothing]) -> Secret:
    """Show the secret that signs what a subscription is sent."""
    subscription = await visit.context.store.subscription(visit.tenant, visit.id("sub"))
    return Secret(visit.context.vault.open(subscription.secret))


async def listing(visit: Visit[SubscriptionsQuery]) -> Listed[SubscriptionView]:
    """List subscriptions; those of kind `per_job` belong to the reply URLs of jobs."""
    query = visit.query
    found = await visit.context.store.subscriptions(visit.tenant, query.wanted(), query.page())
    health = await visit.context.store.health([one.id for one in found])
    views = [view(one, health.get(one.id)) for one in found]
    return listed(views, query.limit, [one.id for one in found])


async def change(visit: Visit[Nothing]) -> SubscriptionView:
    """Change a subscription; what is not named stays as it is."""
    given = await visit.body(Change)
    at = visit.context.clock()
    _check(visit.context, given)
    if given.headers:
        given = replace(given, headers=_sealed(visit.context, given.headers, at))
    changed = await visit.context.store.change_subscription(
        visit.tenant, visit.id("sub"), lambda before: _changed(before, given, at)
    )
    visit.context.courier.withdraw(changed.id)
    return await seen(visit.context, changed)


async def seen(context: Context, subscription: Subscription) -> SubscriptionView:
    """Show a subscription with how its receiver fares."""
    health = await context.store.health([subscription.id])
    return view(subscription, health.get(subscription.id))


async def delete(visit: Visit[Nothing]) -> None:
    """Delete a subscription; what it was still owed is canceled."""
    context = visit.context
    await context.store.delete_subscription(visit.tenant, visit.id("sub"), context.clock())
    context.courier.withdraw(visit.id("sub"))


def _changed(before: Subscription, given: Change, at: int) -> Subscription:
    """Null means the default; one that is enabled, or sent elsewhere, is tried at once."""
    defaults: dict[str, Any] = {
        "event_types": before.event_types if before.kind == "per_job" else DEFAULT,
        "headers": {},
        "metadata": {},
        "max_in_flight": MAX_IN_FLIGHT,
        "delivery": "latest",
        "filter": None,
        "rate_limit": None,
        "description": None,
    }
    named = {
        name: defaults[name] if value is None else value
        for name, value in msgspec.structs.asdict(given).items()
        if value is not UNSET
    }
    if given.event_types is not UNSET:
        named["event_types"] = tuple(given.event_types or defaults["event_types"])
    if named.get("enabled"):
        named |= {"disabled_reason": None, "held": False}
    if named.get("url", before.url) != before.url:
        named["held"] = False
    return replace(before, **named, updated_at=at)


def _sealed(context: Context, headers: dict[str, str], at: int) -> dict[str, str]:
    """Seal the values of a subscription's own headers: they may be credentials."""
    return {name: context.vault.seal(value, at) for name, value in headers.items()}


def _check(context: Context, given: NewSubscription | Change) -> None:
    faults = pattern_faults(given.event_types, "event_types") if given.event_types else []
    faults += header_faults(given.headers, "headers") if given.headers else []
    faults += filter_faults(given.filter, "filter") if given.filter else []
    if isinstance(given.url, str) and (
        fault := url_fault(given.url, context.settings.allow_targets)
    ):
        faults.append(Fault("url", fault))
    if faults:
        raise Invalid(faults)
