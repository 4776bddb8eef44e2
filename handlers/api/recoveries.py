"""Endpoints for recoveries: list, get, cancel. `subscription_actions` starts them."""

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.recoveries import RecoveryView, render_recovery


async def list_recoveries(request: ApiRequest[PageQuery]) -> ListResponse[RecoveryView]:
    """List recoveries, newest first."""
    query = request.query
    found = await request.context.store.recoveries.find(request.tenant, query.page())
    return paginate([render_recovery(one) for one in found], query.limit, [one.id for one in found])


async def get(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Get a recovery with its progress."""
    return render_recovery(
        await request.context.store.recoveries.get(request.tenant, request.id("rec"))
    )


async def cancel(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Cancel a recovery. Deliveries that it has already scheduled are still sent."""
    at = request.context.clock()
    return render_recovery(
        await request.context.store.recoveries.cancel(request.tenant, request.id("rec"), at)
    )
