"""Where providers call back: the URL is the key, and what it does not open is not there."""

import re
from typing import Final, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from handlers.bodies import read_body
from handlers.doors import Visit
from handlers.lists import Listed, Paged, listed
from service.callbacks import CallbackView, Verdict, view
from service.context import Context
from service.metrics import CALLBACKS
from service.redaction import redacted_text

_REF: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MAX_TOKEN: Final = 256


class CallbacksQuery(Paged, frozen=True, kw_only=True):
    verdict: Verdict | None = None
    job: str | None = None


async def receive(request: Request) -> Response:
    """Take a callback in: 204 once everything that follows from it is on disk."""
    context = cast("Context", request.scope["state"]["context"])
    provider, ref = request.path_params["provider"], request.path_params["ref"]
    if request.method != "POST" or not _authentic(context, provider, ref, request):
        known = provider if provider in context.providers else "unknown"
        CALLBACKS.labels(known, Verdict.FORGED).inc()
        return Response(status_code=404)
    judged = await context.intake.receive(provider, ref, await _body(request, provider))
    return Response(status_code=400 if judged.verdict is Verdict.UNREADABLE else 204)


def _authentic(context: Context, provider: str, ref: str, request: Request) -> bool:
    """Judge by the URL alone: no database, no body, for those who do not belong here."""
    token = request.query_params.get("t", "")
    return (
        provider in context.providers
        and _REF.fullmatch(ref) is not None
        and 0 < len(token) <= _MAX_TOKEN
        and context.tokens.verify(provider, ref, token)
    )


async def _body(request: Request, provider: str) -> bytes:
    try:
        return await read_body(request)
    except HTTPException as exc:
        CALLBACKS.labels(provider, f"refused_{exc.status_code}").inc()
        raise


async def show(visit: Visit[msgspec.Struct]) -> CallbackView:
    """Look at one callback as it came in, with secrets redacted."""
    callback = await visit.context.store.callback(visit.tenant, visit.id("cb"))
    return view(callback, redacted_text(callback.body))


async def listing(visit: Visit[CallbacksQuery]) -> Listed[CallbackView]:
    """List the callbacks of your jobs."""
    query = visit.query
    found = await visit.context.store.callbacks(visit.tenant, query.wanted(), query.page())
    return listed([view(one) for one in found], query.limit, [one.id for one in found])
