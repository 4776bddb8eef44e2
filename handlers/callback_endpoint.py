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
    """Receives callbacks. An ASGI app gets all methods, so that each but POST returns 404 too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await _receive(Request(scope, receive))
        await response(scope, receive, send)


async def _receive(request: Request) -> Response:
    """Return 204 once the callback and its effects are on disk; 400 for an unreadable body."""
    context = cast("AppContext", request.app.state.context)
    provider, ref = _provider_and_ref(request)
    if request.method != "POST" or not _is_signed(context, provider, ref, request):
        known = provider if provider in context.providers else "unknown"
        count_callback(known, Verdict.FORGED)
        return Response(status_code=404)
    try:
        body = await read_body(request)
    except HTTPException as exc:
        count_callback(provider, f"refused_{exc.status_code}")
        raise
    result = await context.intake.receive(provider, ref, body)
    return Response(status_code=400 if result.verdict is Verdict.UNREADABLE else 204)


def _provider_and_ref(request: Request) -> tuple[str, str]:
    """Return the provider and the ref in the path; a trailing slash is ignored."""
    parameters = request.path_params
    if "rest" in parameters:
        provider, _, ref = str(parameters["rest"]).removesuffix("/").partition("/")
        return provider, ref
    return parameters["provider"], parameters["ref"]


def _is_signed(context: AppContext, provider: str, ref: str, request: Request) -> bool:
    """Check the URL and its signature, before the body is read and without a database query."""
    tokens = request.query_params.getlist("t")
    return (
        provider in context.providers
        and _REF.fullmatch(ref) is not None
        and len(tokens) == 1
        and 0 < len(tokens[0]) <= _MAX_TOKEN
        and context.signer.verify(provider, ref, tokens[0])
    )
