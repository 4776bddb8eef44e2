"""Stored callbacks over HTTP: list, show, replay."""

from typing import Literal

from handlers.http.endpoint import Nothing, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.callbacks import CallbackView, view
from service.domain.callbacks import Callback, Verdict
from service.domain.security.redaction import redacted_text
from service.runtime.tasks import in_thread_if_large


class CallbacksQuery(Paged, frozen=True, kw_only=True):
    verdict: Verdict | None = None
    job: str | None = None
    quarantined: Literal["true"] | None = None


async def show(visit: Visit[Nothing]) -> CallbackView:
    """Look at one callback as it came in, with secrets redacted."""
    callback = await visit.context.store.callback(visit.tenant, visit.id("cb"))
    return await _shown(callback)


async def replay(visit: Visit[Nothing]) -> CallbackView:
    """Process a stored callback again, as if it came now: after an adapter was mended."""
    context = visit.context
    callback = await context.store.callback(visit.tenant, visit.id("cb"))
    return await _shown(await context.intake.replay(callback))


async def _shown(callback: Callback) -> CallbackView:
    body = callback.body
    return view(callback, await in_thread_if_large(len(body), redacted_text, body))


async def listing(visit: Visit[CallbacksQuery]) -> Listed[CallbackView]:
    """List the callbacks of your jobs."""
    query = visit.query
    found = await visit.context.store.callbacks(visit.tenant, query.wanted(), query.page())
    return listed([view(one) for one in found], query.limit, [one.id for one in found])
