"""The door: one method and path, who may pass it, what it takes and what it answers."""

import re
import time
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
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

from handlers.http.auth import caller_of
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
    """No query."""


class ApiRequest(Generic[Q]):
    """One request that has been let in: whose it is, and what it asks."""

    def __init__(self, http: Request, context: AppContext, principal: Principal, query: Q) -> None:
        self.request, self.context, self.caller, self.query = http, context, principal, query
        self.tenant = principal.tenant

    def id(self, prefix: str) -> str:
        """The id in the path; one that cannot be ours is not there, and needs no look-up."""
        given = str(self.request.path_params["id"])
        if not is_id(given, prefix):
            raise NotFound("There is nothing by that id.")
        return given

    async def body(self, kind: type[T]) -> T:
        return convert(await read_json_body(self.request), kind)


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """An answer with a status or headers of its own; without a *body* it has none."""

    body: T | msgspec.Raw | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = {}


Handler = Callable[[ApiRequest[Any]], Awaitable[Any]]
"""It returns what is answered: a value, a `Reply` of one, a stream, or None for no body."""


class Endpoint(msgspec.Struct, frozen=True):
    """*scope* is what a key must be allowed, *body* the type taken, or a tuple of several.

    *operation_id* names it in the API's description: clients are generated from that.

    What is asked in the query and what is answered stand in the annotations of *handler*.
    """

    method: str
    path: str
    operation_id: str
    handler: Handler
    scope: Scope
    status: int = HTTPStatus.OK
    body: Any = None

    @property
    def query(self) -> type[msgspec.Struct]:
        (query,) = get_args(get_type_hints(self.handler)["request"])
        return cast("type[msgspec.Struct]", query)

    @property
    def answer(self) -> Any:
        """The type of a good answer, or a tuple of several; None without a body."""
        answer = get_type_hints(self.handler)["return"]
        if get_origin(answer) is Reply:
            (answer,) = get_args(answer)
        if get_origin(answer) is Union:
            return get_args(answer)
        return None if answer in (type(None), StreamingResponse) else answer

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().split("\n")[0]

    def route(self) -> Route:
        query = self.query

        async def serve(request: Request) -> Response:
            return await self._serve(request, query)

        return Route(self.path, serve, methods=[self.method])

    async def _serve(self, request: Request, query: type[msgspec.Struct]) -> Response:
        start = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id(request))
        context = cast("AppContext", request.app.state.context)
        caller = await caller_of(request, context)
        if not caller.may(self.scope):
            raise Forbidden(f"This key lacks the scope {self.scope}.")
        visit = ApiRequest(request, context, caller, _parse_query(request, query))
        response = self._answer(await self.handler(visit))
        response.headers["x-request-id"] = request_id(request)
        log.info(
            "request.served",
            method=self.method,
            route=self.path,
            status_code=response.status_code,
            tenant=caller.tenant,
            ms=round((time.perf_counter() - start) * 1000, 2),
        )
        return response

    def _answer(self, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Reply):
            return json_response(answer.body, answer.status, answer.headers)
        return json_response(answer, self.status)


def _parse_query(request: Request, query: type[msgspec.Struct]) -> msgspec.Struct:
    given = dict(request.query_params)
    unknown = given.keys() - set(query.__struct_fields__)
    if unknown:
        known = ", ".join(query.__struct_fields__) or "none"
        message = f"is not known here; known: {known}"
        raise Invalid([FieldError(f"?{name}", message) for name in sorted(unknown)])
    absent = {name for name in _texts(query) if given.get(name) == ""}
    asked = {name: value for name, value in given.items() if name not in absent}
    return convert(asked, query, "?", strict=False)


@cache
def _texts(query: type[msgspec.Struct]) -> frozenset[str]:
    """Name the parameters that may be any text: given empty, as a form does, they are absent."""
    fields = msgspec.structs.fields(query)
    return frozenset(field.name for field in fields if str in (field.type, *get_args(field.type)))


def json_response(
    answer: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    if answer is None:
        return Response(status_code=status, headers=headers)
    return Response(msgspec.json.encode(answer), status, headers, "application/json")
