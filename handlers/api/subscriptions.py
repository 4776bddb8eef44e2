"""Endpoints for subscriptions: create, list, get, update, delete."""

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.subscriptions import (
    SubscriptionCreate,
    SubscriptionSecret,
    SubscriptionUpdate,
    SubscriptionView,
    render_subscription,
)
from service.context import AppContext
from service.domain.events import DEFAULT_EVENT_TYPES
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.security.address_policy import url_error
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.filters import filter_errors
from service.domain.subscriptions.subscription import (
    MAX_IN_FLIGHT,
    Kind,
    Subscription,
    event_type_errors,
    header_errors,
)
from service.domain.subscriptions.transitions import updated


class SubscriptionsQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list of subscriptions."""

    kind: Kind | None = None
    url: str | None = None


async def create(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Subscribe a URL to events. The response contains the secret that signs them."""
    given = await request.body(SubscriptionCreate)
    context, at = request.context, request.context.clock()
    _check(context, given)
    secret = new_secret(context.ids.random_bytes(SECRET_BYTES))
    subscription = Subscription(
        id=context.ids.new_id("sub", at),
        tenant=request.tenant,
        url=given.url,
        secret=context.secret_box.seal(secret, at),
        event_types=tuple(given.event_types or DEFAULT_EVENT_TYPES),
        description=given.description,
        headers=_seal_headers(context, given.headers or {}, at),
        filter=given.filter,
        rate_limit=given.rate_limit,
        max_in_flight=given.max_in_flight or MAX_IN_FLIGHT,
        delivery=given.delivery or "latest",
        enabled=given.enabled,
        metadata=given.metadata or {},
        created_at=at,
        updated_at=at,
    )
    await context.store.subscriptions.put(subscription)
    return render_subscription(subscription, secret=secret)


async def list_subscriptions(
    request: ApiRequest[SubscriptionsQuery],
) -> ListResponse[SubscriptionView]:
    """List subscriptions, newest first. Kind `per_job` means the reply URL of a job."""
    query = request.query
    found = await request.context.store.subscriptions.find(
        request.tenant, query.filters(), query.page()
    )
    health = await request.context.store.subscriptions.health([one.id for one in found])
    views = [render_subscription(one, health.get(one.id)) for one in found]
    return paginate(views, query.limit, [one.id for one in found])


async def get(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Get a subscription, with the health of its receiver."""
    subscription = await request.context.store.subscriptions.get(request.tenant, request.id("sub"))
    return await with_health(request.context, subscription)


async def get_secret(request: ApiRequest[NoQuery]) -> SubscriptionSecret:
    """Get the secret that signs the events of a subscription."""
    subscription = await request.context.store.subscriptions.get(request.tenant, request.id("sub"))
    return SubscriptionSecret(request.context.secret_box.open(subscription.secret))


async def update(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Update a subscription. Fields that the request leaves out keep their value."""
    given = await request.body(SubscriptionUpdate)
    at = request.context.clock()
    _check(request.context, given)
    if given.headers:
        given = replace(given, headers=_seal_headers(request.context, given.headers, at))
    values = {
        name: value for name, value in msgspec.structs.asdict(given).items() if value is not UNSET
    }
    subscription = await request.context.store.subscriptions.change(
        request.tenant, request.id("sub"), lambda before: updated(before, values, at)
    )
    request.context.inbox.release_queued(subscription.id)
    return await with_health(request.context, subscription)


async def delete(request: ApiRequest[NoQuery]) -> None:
    """Delete a subscription and cancel its pending deliveries."""
    context = request.context
    await context.store.subscriptions.delete(request.tenant, request.id("sub"), context.clock())
    context.inbox.release_queued(request.id("sub"))


async def with_health(context: AppContext, subscription: Subscription) -> SubscriptionView:
    """Render *subscription* with the health of its receiver, which it reads from the store."""
    health = await context.store.subscriptions.health([subscription.id])
    return render_subscription(subscription, health.get(subscription.id))


def _seal_headers(context: AppContext, headers: dict[str, str], at: int) -> dict[str, str]:
    """Encrypt the values of a subscription's own headers: they may be credentials."""
    return {name: context.secret_box.seal(value, at) for name, value in headers.items()}


def _check(context: AppContext, given: SubscriptionCreate | SubscriptionUpdate) -> None:
    """Raise Invalid with all errors of *given*."""
    errors = event_type_errors(given.event_types, "event_types") if given.event_types else []
    errors += header_errors(given.headers, "headers") if given.headers else []
    errors += filter_errors(given.filter, "filter") if given.filter else []
    if isinstance(given.url, str) and (
        error := url_error(given.url, context.settings.allow_targets)
    ):
        errors.append(FieldError("url", error))
    if errors:
        raise Invalid(errors)
