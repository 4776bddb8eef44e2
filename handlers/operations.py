"""Operations over HTTP: how far they are, and an end to them."""

from handlers.doors import Nothing, Visit
from handlers.lists import Listed, Paged, listed
from service.operations import OperationView, view


async def listing(visit: Visit[Paged]) -> Listed[OperationView]:
    """List operations, newest first."""
    query = visit.query
    found = await visit.context.store.operations(visit.tenant, query.page())
    return listed([view(one) for one in found], query.limit, [one.id for one in found])


async def show(visit: Visit[Nothing]) -> OperationView:
    """Look at how far an operation is."""
    return view(await visit.context.store.operation(visit.tenant, visit.id("op")))


async def cancel(visit: Visit[Nothing]) -> OperationView:
    """Stop an operation; what it has owed already will be sent."""
    context = visit.context
    at = context.clock()
    return view(await context.store.cancel_operation(visit.tenant, visit.id("op"), at))
