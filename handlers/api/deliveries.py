"""Deliveries over HTTP: what was sent where, what came back, and sending it again."""

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.deliveries import DeadLettersView, DeliveryView, delivery_view
from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.deliveries.retry_policy import failure_summary
from service.domain.primitives.ids import created_at_of
from service.domain.primitives.timestamps import rfc3339


class DeliveriesQuery(PageQuery, frozen=True, kw_only=True):
    subscription: str | None = None
    status: DeliveryStatus | None = None
    event: str | None = None
    job: str | None = None


async def listing(request: ApiRequest[DeliveriesQuery]) -> ListResponse[DeliveryView]:
    """List deliveries, newest first."""
    query = request.query
    found = await request.context.store.deliveries.find(
        request.tenant, query.filters(), query.page()
    )
    return paginate([delivery_view(one) for one in found], query.limit, [one.id for one in found])


async def dead_letters(request: ApiRequest[NoQuery]) -> ListResponse[DeadLettersView]:
    """Count what was given up, by subscription, with the reason of the last."""
    found = await request.context.store.deliveries.dead_letters(request.tenant)
    return ListResponse(
        data=[
            DeadLettersView(
                subscription=one.subscription_id,
                count=one.count,
                oldest=rfc3339(created_at_of(one.oldest)),
                newest=rfc3339(created_at_of(one.newest)),
                reason=failure_summary(one.status_code, one.error),
            )
            for one in found
        ]
    )


async def show(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Look at one delivery with every attempt."""
    delivery, attempts = await request.context.store.deliveries.get(
        request.tenant, request.id("dlv")
    )
    return delivery_view(delivery, attempts)


async def retry(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Send it again now, whatever became of it; the `webhook-id` stays the same."""
    context = request.context
    delivery = await context.store.deliveries.redeliver(
        request.tenant, request.id("dlv"), context.clock()
    )
    context.inbox.wake()
    return delivery_view(delivery)
