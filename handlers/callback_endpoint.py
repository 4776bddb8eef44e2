"""The endpoint that providers call. Unknown or unsigned URLs return 404."""

import re
from typing import Final, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.http.bodies import read_body
from service.context import AppContext
from service.domain.callbacks import Verdict
from service.runtime.observability.metrics import count_callback

_REF: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MAX_TOKEN: Final = 256


class CallbackEndpoint:
    """Takes callbacks in, by any method: what is not ours is not there, whatever it is asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await _receive(Request(scope, receive))
        await response(scope, receive, send)


async def _receive(request: Request) -> Response:
    """Answer 204 once everything that follows from a callback is on disk."""
    context = cast("AppContext", request.app.state.context)
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


def _authentic(context: AppContext, provider: str, ref: str, request: Request) -> bool:
    """Judge by the URL alone: no database, no body, for those who do not belong here."""
    tokens = request.query_params.getlist("t")
    return (
        provider in context.providers
        and _REF.fullmatch(ref) is not None
        and len(tokens) == 1
        and 0 < len(tokens[0]) <= _MAX_TOKEN
        and context.signer.verify(provider, ref, tokens[0])
    )


async def _body(request: Request, provider: str) -> bytes:
    try:
        return await read_body(request)
    except HTTPException as exc:
        count_callback(provider, f"refused_{exc.status_code}")
        raise
