"""Deliveries over HTTP: what was sent where, what came back, and sending it again."""

from handlers.doors import Nothing, Visit
from handlers.lists import Listed, Paged, listed
from service.deliveries import DeliveryStatus, DeliveryView, view


class DeliveriesQuery(Paged, frozen=True, kw_only=True):
    subscription: str | None = None
    status: DeliveryStatus | None = None
    event: str | None = None
    job: str | None = None


async def listing(visit: Visit[DeliveriesQuery]) -> Listed[DeliveryView]:
    """List deliveries, newest first."""
    query = visit.query
    found = await visit.context.store.deliveries(visit.tenant, query.wanted(), query.page())
    return listed([view(one) for one in found], query.limit, [one.id for one in found])


async def show(visit: Visit[Nothing]) -> DeliveryView:
    """Look at one delivery with every attempt."""
    delivery, attempts = await visit.context.store.delivery(visit.tenant, visit.id("dlv"))
    return view(delivery, attempts)


async def retry(visit: Visit[Nothing]) -> DeliveryView:
    """Send it again now, whatever became of it; the `webhook-id` stays the same."""
    context = visit.context
    delivery = await context.store.redeliver(visit.tenant, visit.id("dlv"), context.clock())
    context.courier.look()
    return view(delivery)
