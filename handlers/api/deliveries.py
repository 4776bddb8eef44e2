"""Deliveries over HTTP: what was sent where, what came back, and sending it again."""

from handlers.http.endpoint import Nothing, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.deliveries import DeadLettersView, DeliveryView, view
from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.deliveries.retry_policy import in_words
from service.domain.primitives.ids import made_at
from service.domain.primitives.timestamps import rfc3339


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


async def dead_letters(visit: Visit[Nothing]) -> Listed[DeadLettersView]:
    """Count what was given up, by subscription, with the reason of the last."""
    found = await visit.context.store.dead_letters(visit.tenant)
    return Listed(
        data=[
            DeadLettersView(
                subscription=one.subscription_id,
                count=one.count,
                oldest=rfc3339(made_at(one.oldest)),
                newest=rfc3339(made_at(one.newest)),
                reason=in_words(one.status_code, one.error),
            )
            for one in found
        ]
    )


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
