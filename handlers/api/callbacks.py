"""Stored callbacks over HTTP: list, show, replay."""

from typing import Literal

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.callbacks import CallbackView, callback_view
from service.domain.callbacks import Callback, Verdict
from service.domain.security.redaction import redacted_text
from service.runtime.tasks import in_thread_if_large


class CallbacksQuery(PageQuery, frozen=True, kw_only=True):
    verdict: Verdict | None = None
    job: str | None = None
    quarantined: Literal["true"] | None = None


async def show(request: ApiRequest[NoQuery]) -> CallbackView:
    """Look at one callback as it came in, with secrets redacted."""
    callback = await request.context.store.callbacks.get(request.tenant, request.id("cb"))
    return await _shown(callback)


async def replay(request: ApiRequest[NoQuery]) -> CallbackView:
    """Process a stored callback again, as if it came now: after an adapter was mended."""
    context = request.context
    callback = await context.store.callbacks.get(request.tenant, request.id("cb"))
    return await _shown(await context.intake.replay(callback))


async def _shown(callback: Callback) -> CallbackView:
    body = callback.body
    return callback_view(callback, await in_thread_if_large(len(body), redacted_text, body))


async def listing(request: ApiRequest[CallbacksQuery]) -> ListResponse[CallbackView]:
    """List the callbacks of your jobs."""
    query = request.query
    found = await request.context.store.callbacks.find(
        request.tenant, query.filters(), query.page()
    )
    return paginate([callback_view(one) for one in found], query.limit, [one.id for one in found])
