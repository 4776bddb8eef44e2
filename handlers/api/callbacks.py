"""Endpoints for stored callbacks: list, get, replay."""

from typing import Literal

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.callbacks import CallbackView, render_callback
from service.domain.callbacks import Callback, Verdict
from service.domain.security.redaction import redacted_text
from service.runtime.tasks import in_thread_if_large


class CallbacksQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list of callbacks."""

    verdict: Verdict | None = None
    job: str | None = None
    quarantined: Literal["true"] | None = None


async def list_callbacks(request: ApiRequest[CallbacksQuery]) -> ListResponse[CallbackView]:
    """List the callbacks for your jobs, newest first, without their bodies."""
    query = request.query
    found = await request.context.store.callbacks.find(
        request.tenant, query.filters(), query.page()
    )
    return paginate([render_callback(one) for one in found], query.limit, [one.id for one in found])


async def get(request: ApiRequest[NoQuery]) -> CallbackView:
    """Get a callback with its body; secrets are redacted."""
    callback = await request.context.store.callbacks.get(request.tenant, request.id("cb"))
    return await _with_body(callback)


async def replay(request: ApiRequest[NoQuery]) -> CallbackView:
    """Process a stored callback again, for example after an adapter was fixed."""
    context = request.context
    callback = await context.store.callbacks.get(request.tenant, request.id("cb"))
    return await _with_body(await context.intake.replay(callback))


async def _with_body(callback: Callback) -> CallbackView:
    """Render *callback* with its redacted body; large bodies are redacted in a thread."""
    body = callback.body
    return render_callback(callback, await in_thread_if_large(len(body), redacted_text, body))
