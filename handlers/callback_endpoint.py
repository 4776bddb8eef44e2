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
from service.domain.security.redaction import public_headers
from service.providers.protocol import Callbacks
from service.runtime.observability.metrics import count_callback

_REF: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MAX_TOKEN: Final = 256


class CallbackEndpoint:
    """Receives callbacks. An ASGI app gets all methods, so that an unexpected one gets 404 too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await _receive(Request(scope, receive))
        await response(scope, receive, send)


async def _receive(request: Request) -> Response:
    """Answer success once the callback and its effects are on disk; 400 if it is unreadable."""
    context = cast("AppContext", request.app.state.context)
    name, ref = _provider_and_ref(request)
    callbacks = context.providers[name].callbacks if name in context.providers else None
    if (
        callbacks is None
        or request.method not in callbacks.methods
        or not _is_addressed(context, callbacks, name, ref, request)
    ):
        return _not_found(name if callbacks else "unknown")
    try:
        body = await read_body(request)
    except HTTPException as exc:
        count_callback(name, f"refused_{exc.status_code}")
        raise
    verifier = context.verifiers.get(name)
    if verifier is not None and not await verifier.verify(request.headers, body):
        return _not_found(name)
    headers = public_headers(request.headers.items())
    if ref:
        results = [await context.intake.receive(name, ref, body, headers)]
    else:
        results = await context.intake.receive_for_account(name, body, headers)
    unreadable = any(result.verdict is Verdict.UNREADABLE for result in results)
    return Response(status_code=400 if unreadable else callbacks.success_status)


def _not_found(provider: str) -> Response:
    count_callback(provider, Verdict.FORGED)
    return Response(status_code=404)


def _provider_and_ref(request: Request) -> tuple[str, str]:
    """Return the provider and the ref in the path; a trailing slash is ignored."""
    parameters = request.path_params
    if "rest" in parameters:
        provider, _, ref = str(parameters["rest"]).removesuffix("/").partition("/")
        return provider, ref
    return parameters["provider"], parameters["ref"]


def _is_addressed(
    context: AppContext, callbacks: Callbacks, provider: str, ref: str, request: Request
) -> bool:
    """Check the URL before the body is read and without a database query.

    The URL of a job has a signature. That of an account has none: the vendor's signature, which is
    checked next, must be there instead.
    """
    if not ref:
        return callbacks.account_wide and provider in context.verifiers
    tokens = request.query_params.getlist("t")
    return (
        _REF.fullmatch(ref) is not None
        and len(tokens) == 1
        and 0 < len(tokens[0]) <= _MAX_TOKEN
        and context.signer.verify(provider, ref, tokens[0])
    )
