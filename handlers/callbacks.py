"""Where providers call back: the URL is the key, and what it does not open is not there."""

import re
from typing import Final, Literal, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.bodies import read_body
from handlers.doors import Nothing, Visit
from handlers.lists import Listed, Paged, listed
from service.callbacks import Callback, CallbackView, Verdict, view
from service.context import Context
from service.metrics import count_callback
from service.redaction import redacted_text
from service.threads import in_thread_if_large

_REF: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MAX_TOKEN: Final = 256


class CallbacksQuery(Paged, frozen=True, kw_only=True):
    verdict: Verdict | None = None
    job: str | None = None
    quarantined: Literal["true"] | None = None


class Receiver:
    """Takes callbacks in, by any method: what is not ours is not there, whatever it is asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await _receive(Request(scope, receive))
        await response(scope, receive, send)


async def _receive(request: Request) -> Response:
    """Answer 204 once everything that follows from a callback is on disk."""
    context = cast("Context", request.app.state.context)
    provider, ref = _named(request)
    if request.method != "POST" or not _authentic(context, provider, ref, request):
        known = provider if provider in context.providers else "unknown"
        count_callback(known, Verdict.FORGED)
        return Response(status_code=404)
    judged = await context.intake.receive(provider, ref, await _body(request, provider))
    return Response(status_code=400 if judged.verdict is Verdict.UNREADABLE else 204)


def _named(request: Request) -> tuple[str, str]:
    """The provider and the ref in the path; a trailing slash is forgiven."""
    parameters = request.path_params
    if "rest" in parameters:
        provider, _, ref = str(parameters["rest"]).removesuffix("/").partition("/")
        return provider, ref
    return parameters["provider"], parameters["ref"]


def _authentic(context: Context, provider: str, ref: str, request: Request) -> bool:
    """Judge by the URL alone: no database, no body, for those who do not belong here."""
    tokens = request.query_params.getlist("t")
    return (
        provider in context.providers
        and _REF.fullmatch(ref) is not None
        and len(tokens) == 1
        and 0 < len(tokens[0]) <= _MAX_TOKEN
        and context.tokens.verify(provider, ref, tokens[0])
    )


async def _body(request: Request, provider: str) -> bytes:
    try:
        return await read_body(request)
    except HTTPException as exc:
        count_callback(provider, f"refused_{exc.status_code}")
        raise


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
