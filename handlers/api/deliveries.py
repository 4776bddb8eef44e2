"""Endpoints for deliveries: list, get, retry, and count the dead ones."""

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.deliveries import DeadLettersView, DeliveryView, render_delivery
from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.deliveries.retry_policy import failure_summary
from service.domain.primitives.ids import created_at_of
from service.domain.primitives.timestamps import rfc3339


class DeliveriesQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list of deliveries."""

    subscription: str | None = None
    status: DeliveryStatus | None = None
    event: str | None = None
    job: str | None = None


async def list_deliveries(request: ApiRequest[DeliveriesQuery]) -> ListResponse[DeliveryView]:
    """List deliveries, newest first, without their attempts."""
    query = request.query
    found = await request.context.store.deliveries.find(
        request.tenant, query.filters(), query.page()
    )
    return paginate([render_delivery(one) for one in found], query.limit, [one.id for one in found])


async def list_dead_letters(request: ApiRequest[NoQuery]) -> ListResponse[DeadLettersView]:
    """Count the dead deliveries of each subscription, with the reason of the newest one."""
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


async def get(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Get a delivery with all its attempts."""
    delivery, attempts = await request.context.store.deliveries.get(
        request.tenant, request.id("dlv")
    )
    return render_delivery(delivery, attempts)


async def retry(request: ApiRequest[NoQuery]) -> DeliveryView:
    """Send a delivery again now, whatever its status. Its `webhook-id` stays the same."""
    context = request.context
    delivery = await context.store.deliveries.redeliver(
        request.tenant, request.id("dlv"), context.clock()
    )
    context.inbox.wake()
    return render_delivery(delivery)
