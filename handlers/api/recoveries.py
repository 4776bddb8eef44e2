"""Recoveries over HTTP: how far they are, and an end to them."""

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.recoveries import RecoveryView, recovery_view


async def listing(request: ApiRequest[PageQuery]) -> ListResponse[RecoveryView]:
    """List recoveries, newest first."""
    query = request.query
    found = await request.context.store.recoveries.find(request.tenant, query.page())
    return paginate([recovery_view(one) for one in found], query.limit, [one.id for one in found])


async def show(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Look at how far a recovery is."""
    return recovery_view(
        await request.context.store.recoveries.get(request.tenant, request.id("rec"))
    )


async def cancel(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Stop a recovery; what it has owed already will be sent."""
    context = request.context
    at = context.clock()
    return recovery_view(
        await context.store.recoveries.cancel(request.tenant, request.id("rec"), at)
    )
