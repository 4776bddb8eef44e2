"""The HTTP edge of the sandbox: routes that count and check credentials, JSON in and out."""

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


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What each provider wants after `Authorization: Bearer`."""

    useapi: str = "user:1-sandbox"
    runware: str = "sandbox"
    runway_ai: str = "sandbox"


class Unreadable(Exception):
    """The body is not JSON."""


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


async def read_json(request: Request) -> Any:
    try:
        return msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Unreadable from exc


def holds(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def route(tasks: TaskLedger, method: str, path: str, handler: Handler, guard: Guard) -> list[Route]:
    """Serve *path* with and without a trailing slash; *guard* may refuse before *handler*."""

    async def endpoint(request: Request) -> Response:
        tasks.requests[f"{method} {path}"] += 1
        return guard(request) or await handler(request)

    bare = path.rstrip("/")
    return [Route(p, endpoint, methods=[method]) for p in (bare, bare + "/")]


async def not_served(_: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return answer({"error": "The sandbox does not serve this", "code": status}, status)


def retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}
