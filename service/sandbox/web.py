"""HTTP helpers of the sandbox: routes that count requests and check credentials, JSON bodies."""

import email.parser
import email.policy
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.ledger import TaskLedger

Handler = Callable[[Request], Awaitable[Response]]
Guard = Callable[[Request], Response | None]
"""Returns the response that rejects a request, or None to let it pass."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The token that each provider accepts."""

    useapi: str = "user:1-sandbox"
    runware: str = "sandbox"
    runway_ai: str = "sandbox"
    fal: str = "sandbox"
    ideogram: str = "sandbox"
    leonardo: str = "sandbox"
    runway: str = "sandbox"
    replicate: str = "r8_sandbox"
    luma: str = "luma-sandbox"


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


async def read_json(request: Request) -> Any:
    """Decode the request body; None, as for a body that is null, if it is not JSON."""
    try:
        return msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def read_form(request: Request) -> dict[str, str] | None:
    """Read the text fields of a form (RFC 7578); None if the body is no form or malformed.

    The standard library's e-mail parser is enough here: `Request.form()` of Starlette needs one
    more package.
    """
    content_type = request.headers.get("content-type", "")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(head + await request.body())
    if message.get_content_type() != "multipart/form-data" or message.defects:
        return None
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes):
            return None
        fields[name] = payload.decode("utf-8", "replace")
    return fields


def has_token(
    request: Request, token: str, *, header: str = "authorization", prefix: str = "Bearer "
) -> bool:
    given = request.headers.get(header, "")
    return hmac.compare_digest(given.encode(), f"{prefix}{token}".encode())


def build_routes(
    ledger: TaskLedger, method: str, path: str, handler: Handler, guard: Guard
) -> list[Route]:
    """Build the routes of *path* with and without a trailing slash.

    Each request is counted in *ledger*, then *guard* may reject it before *handler* runs.
    """

    async def endpoint(request: Request) -> Response:
        ledger.requests[f"{method} {path}"] += 1
        return guard(request) or await handler(request)

    bare = path.rstrip("/")
    return [Route(p, endpoint, methods=[method]) for p in (bare, bare + "/")]


async def on_http_error(_: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return json_response({"error": "The sandbox does not serve this", "code": status}, status)


def retry_after_header(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}
