"""Recoveries over HTTP: how far they are, and an end to them."""

from handlers.http.endpoint import Nothing, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.recoveries import RecoveryView, view


async def listing(visit: Visit[Paged]) -> Listed[RecoveryView]:
    """List recoveries, newest first."""
    query = visit.query
    found = await visit.context.store.recoveries(visit.tenant, query.page())
    return listed([view(one) for one in found], query.limit, [one.id for one in found])


async def show(visit: Visit[Nothing]) -> RecoveryView:
    """Look at how far a recovery is."""
    return view(await visit.context.store.recovery(visit.tenant, visit.id("rec")))


async def cancel(visit: Visit[Nothing]) -> RecoveryView:
    """Stop a recovery; what it has owed already will be sent."""
    context = visit.context
    at = context.clock()
    return view(await context.store.cancel_recovery(visit.tenant, visit.id("rec"), at))
