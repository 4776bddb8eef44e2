"""Error responses: RFC 9457 problem documents with an error code and no internal details."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.domain.primitives.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    OutcomeUnknown,
    ProviderRefused,
    ServiceError,
    TooManyStreams,
    TooManyUploads,
    Unauthorized,
    Unavailable,
)
from service.runtime.clock import SystemIdSource, now

STATUSES: Final[Mapping[type[ServiceError], int]] = {
    NotFound: 404,
    Unauthorized: 401,
    Forbidden: 403,
    Conflict: 409,
    Invalid: 422,
    TooManyStreams: 429,
    TooManyUploads: 429,
    ProviderRefused: 502,
    OutcomeUnknown: 504,
    Unavailable: 503,
}
_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "timed_out",
    413: "too_large",
    415: "unsupported_media_type",
}
log = structlog.get_logger()


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error response (RFC 9457). *errors* lists each invalid field of the request."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = []
    request_id: str


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    errors: list[FieldError] | None = None,
) -> Response:
    """Build a problem response; *errors* has the invalid fields."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=errors or [],
        request_id=request_id(request),
    )
    headers = {"x-request-id": body.request_id}
    return Response(msgspec.json.encode(body), status, headers, "application/problem+json")


def request_id(request: Request) -> str:
    """Return the id of *request*; the first call creates it."""
    state: dict[str, Any] = request.scope.setdefault("state", {})
    return str(state.setdefault("request_id", SystemIdSource().new_id("req", now())))


async def on_service_error(request: Request, exc: ServiceError) -> Response:
    """Render a ServiceError, with `Retry-After` or `WWW-Authenticate` where its class needs it."""
    status = next((STATUSES[kind] for kind in type(exc).__mro__ if kind in STATUSES), 500)
    errors = exc.errors if isinstance(exc, Invalid) else []
    response = problem(request, status, exc.reason, str(exc), errors)
    if isinstance(exc, TooManyStreams | TooManyUploads | Unavailable):
        response.headers["retry-after"] = str(exc.retry_after_seconds)
    if isinstance(exc, Unauthorized):
        response.headers["www-authenticate"] = 'Bearer realm="belfry"'
    return response


async def on_http_error(request: Request, exc: HTTPException) -> Response:
    """Render an error of the HTTP layer: unknown path, wrong method, body too large."""
    code = _CODES.get(exc.status_code, "bad_request")
    response = problem(request, exc.status_code, code, exc.detail)
    response.headers.update(exc.headers or {})
    return response


async def on_unhandled(request: Request, exc: Exception) -> Response:
    """Log an unexpected exception; the response does not reveal its cause."""
    log.error("request.failed", path=request.url.path, request_id=request_id(request), exc_info=exc)
    return problem(request, 500, "internal", "Internal error; it has been logged.")


EXCEPTION_HANDLERS: Final[dict[Any, Callable[[Request, Any], Any]]] = {
    ServiceError: on_service_error,
    HTTPException: on_http_error,
    Exception: on_unhandled,
}
