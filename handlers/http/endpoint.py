"""The endpoint: method and path, required scope, and the types of its request and response."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from http import HTTPStatus
from types import UnionType
from typing import (
    Any,
    Final,
    Generic,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from handlers.http.auth import authenticate
from handlers.http.bodies import convert, read_json_body
from handlers.http.errors import request_id
from service.context import AppContext
from service.domain.primitives.errors import FieldError, Forbidden, Invalid, NotFound
from service.domain.primitives.ids import is_id
from service.domain.security.api_keys import Principal, Scope

Q = TypeVar("Q", bound=msgspec.Struct)
T = TypeVar("T")
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
log = structlog.get_logger()


class NoQuery(msgspec.Struct, frozen=True):
    """An endpoint without query parameters."""


class ApiRequest(Generic[Q]):
    """An authenticated and authorized request, with its parsed query parameters."""

    def __init__(
        self, http_request: Request, context: AppContext, principal: Principal, query: Q
    ) -> None:
        self.http_request, self.context = http_request, context
        self.principal, self.query = principal, query
        self.tenant = principal.tenant

    def id(self, prefix: str) -> str:
        """Return the id in the path; NotFound, without a query, if it is no id with *prefix*."""
        given = str(self.http_request.path_params["id"])
        if not is_id(given, prefix):
            raise NotFound("Not found: no object has this id.")
        return given

    async def body(self, kind: type[T]) -> T:
        """Read the JSON body as *kind*; Invalid gives the path of each error."""
        return convert(await read_json_body(self.http_request), kind)


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """A response with its own status or headers; without content if *body* is None."""

    body: T | msgspec.Raw | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = {}


Handler = Callable[[ApiRequest[Any]], Awaitable[Any]]
"""Returns the response: a value, a `Reply` with one, a stream, or None for no content."""


class Endpoint(msgspec.Struct, frozen=True):
    """One operation of the API.

    *operation_id* is its name in the OpenAPI document, from which clients are generated. *scope*
    is what the API key needs. *status* is that of a successful response. *body_type* is the type
    of the request body, or a tuple of alternatives; *other_bodies* are the JSON Schemas of bodies
    that are not JSON, by media type. The types of the query and the response come
    from the annotations of *handler*.
    """

    method: str
    path: str
    operation_id: str
    handler: Handler
    scope: Scope
    status: int = HTTPStatus.OK
    body_type: Any = None
    other_bodies: Mapping[str, Any] = {}

    @property
    def query_type(self) -> type[msgspec.Struct]:
        (query_type,) = get_args(get_type_hints(self.handler)["request"])
        return cast("type[msgspec.Struct]", query_type)

    @property
    def response_type(self) -> Any:
        """The type of a successful response, or a tuple of alternatives.

        None if the response is a stream or has no content.
        """
        response_type = get_type_hints(self.handler)["return"]
        if get_origin(response_type) is Reply:
            (response_type,) = get_args(response_type)
        if get_origin(response_type) in (Union, UnionType):
            return get_args(response_type)
        return None if response_type in (type(None), StreamingResponse) else response_type

    @property
    def parameters(self) -> list[str]:
        """The names of the path parameters."""
        return _PARAMETER.findall(self.path)

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().split("\n")[0]

    def route(self) -> Route:
        query_type = self.query_type  # read the annotations once, not with each request

        async def serve(request: Request) -> Response:
            return await self._serve(request, query_type)

        return Route(self.path, serve, methods=[self.method])

    async def _serve(self, request: Request, query_type: type[msgspec.Struct]) -> Response:
        start = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id(request))
        context = cast("AppContext", request.app.state.context)
        principal = await authenticate(request, context)
        if not principal.may(self.scope):
            raise Forbidden(f"This API key lacks the scope {self.scope}.")
        query = _parse_query(request, query_type)
        result = await self.handler(ApiRequest(request, context, principal, query))
        response = self._response(result)
        response.headers["x-request-id"] = request_id(request)
        log.info(
            "request.served",
            method=self.method,
            route=self.path,
            status_code=response.status_code,
            tenant=principal.tenant,
            ms=round((time.perf_counter() - start) * 1000, 2),
        )
        return response

    def _response(self, result: Any) -> Response:
        if isinstance(result, Response):
            return result
        if isinstance(result, Reply):
            return json_response(result.body, result.status, result.headers)
        return json_response(result, self.status)


def _parse_query(request: Request, query_type: type[msgspec.Struct]) -> msgspec.Struct:
    """Parse the query parameters; Invalid for unknown names and invalid values."""
    given = dict(request.query_params)
    unknown = given.keys() - set(query_type.__struct_fields__)
    if unknown:
        allowed = ", ".join(query_type.__struct_fields__) or "none"
        message = f"unknown parameter; allowed: {allowed}"
        raise Invalid([FieldError(f"?{name}", message) for name in sorted(unknown)])
    absent = {name for name in _text_parameters(query_type) if given.get(name) == ""}
    values = {name: value for name, value in given.items() if name not in absent}
    return convert(values, query_type, "?", strict=False)


@cache
def _text_parameters(query_type: type[msgspec.Struct]) -> frozenset[str]:
    """Return the text parameters: HTML forms send them empty, which counts as absent."""
    fields = msgspec.structs.fields(query_type)
    return frozenset(field.name for field in fields if str in (field.type, *get_args(field.type)))


def json_response(
    body: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Encode *body* as JSON; None gives a response without content."""
    if body is None:
        return Response(status_code=status, headers=headers)
    return Response(msgspec.json.encode(body), status, headers, "application/json")
