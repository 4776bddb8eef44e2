"""The OpenAPI document, generated from the endpoints and their types."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from handlers.docs_page import render_page
from handlers.health import Readiness
from handlers.http.endpoint import Endpoint, NoQuery
from handlers.http.errors import Problem
from handlers.http.pagination import ListResponse
from handlers.schemas.events import LoggedEvent
from handlers.schemas.public_names import SCHEMA_NAMES, WEBHOOK_BODIES
from service.domain.events import EVENT_TYPES, JobEvent

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_DESCRIPTION: Final = (
    "Submit AI image and video jobs once; get a signed webhook, a live stream or a status when they"
    " finish. No polling."
)
Json = dict[str, Any]
_Handler = Callable[[Request], Awaitable[Response]]


def openapi_handlers(endpoints: Sequence[Endpoint]) -> tuple[_Handler, _Handler]:
    """Return the handlers of /openapi.json and /docs. The first request builds the document."""

    @cache
    def document() -> Json:
        return describe(endpoints)

    async def json_document(_: Request) -> Response:
        return Response(msgspec.json.encode(document()), media_type=_JSON)

    async def html_page(_: Request) -> Response:
        return HTMLResponse(render_page(document()))

    return json_document, html_page


def describe(endpoints: Sequence[Endpoint]) -> Json:
    """Describe *endpoints*, the paths that need no key and the webhooks, as OpenAPI 3.1."""
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = _Schemas(types, schemas, components)
    paths: Json = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, schema_of
        )
    # The list of events is annotated with JobEvent only, but contains all logged events.
    components[_component(schema_of(ListResponse[JobEvent]))]["properties"]["data"]["items"] = {
        "oneOf": [schema_of(body) for body in get_args(LoggedEvent)]
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Belfry",
            "version": version("belfry"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {**paths, **_paths_without_key(schema_of)},
        "webhooks": {
            name: _webhook(name, summary, schema_of) for name, summary in EVENT_TYPES.items()
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }
    public_names = {_component(schema_of(kind)): name for kind, name in SCHEMA_NAMES.items()}
    return _with_public_names(document, public_names)


def _with_public_names(document: Json, public_names: Mapping[str, str]) -> Json:
    """Rename the schemas; those without a public name describe query strings and are left out."""
    renamed = dict(_with_public_refs(document, public_names))
    schemas = renamed["components"]["schemas"]
    by_public_name = {public: schemas[name] for name, public in public_names.items()}
    renamed["components"]["schemas"] = dict(sorted(by_public_name.items()))
    return renamed


def _with_public_refs(value: Any, public_names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_public_refs(one, public_names) for one in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _with_public_refs(one, public_names) for key, one in value.items()}
    if "$ref" in value:
        renamed["$ref"] = _REF.format(name=public_names[_component(value)])
    return renamed


def _component(schema: Json) -> str:
    """Return the name of the schema that a reference points to."""
    return str(schema["$ref"]).rpartition("/")[2]


class _Schemas:
    """Looks up the schema of a type; types that are components are given as references."""

    def __init__(self, types: Sequence[Any], schemas: Sequence[Json], components: Json) -> None:
        self._pairs, self._components = list(zip(types, schemas, strict=True)), components

    def __call__(self, kind: Any) -> Json:
        if isinstance(kind, tuple):
            return {"oneOf": [self(one) for one in kind]}
        return next(schema for known, schema in self._pairs if known == kind)

    def fields(self, kind: type[msgspec.Struct]) -> tuple[Json, Sequence[str]]:
        """Return the schemas of the fields of *kind*, by name, and the names of the required."""
        schema = self(kind)
        if "$ref" in schema:
            schema = self._components[_component(schema)]
        return schema.get("properties", {}), schema.get("required", ())


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    """Return all types that need a schema, without duplicates."""
    named: list[Any] = [*SCHEMA_NAMES]
    for endpoint in endpoints:
        for kind in (endpoint.query_type, endpoint.body_type, endpoint.response_type):
            named += kind if isinstance(kind, tuple) else [kind]
    return [kind for n, kind in enumerate(named) if kind is not None and kind not in named[:n]]


def _operation(endpoint: Endpoint, schema_of: _Schemas) -> Json:
    operation: Json = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "description": f"Needs an API key with the scope `{endpoint.scope}`.",
        "tags": [endpoint.path.split("/")[2]],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint, schema_of)],
        "responses": _responses(endpoint, schema_of),
    }
    if endpoint.body_type is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                _JSON: {"schema": schema_of(endpoint.body_type)},
                **{kind: {"schema": schema} for kind, schema in endpoint.other_bodies.items()},
            },
        }
    return operation


def _path_parameters(endpoint: Endpoint) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in endpoint.parameters
    ]


def _query_parameters(endpoint: Endpoint, schema_of: _Schemas) -> list[Json]:
    if endpoint.query_type is NoQuery:
        return []
    fields, required = schema_of.fields(endpoint.query_type)
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in fields.items()
    ]


def _responses(endpoint: Endpoint, schema_of: _Schemas) -> Json:
    success: Json = {"description": "Success."}
    if endpoint.response_type is not None:
        success["content"] = {_JSON: {"schema": schema_of(endpoint.response_type)}}
    elif endpoint.status != HTTPStatus.NO_CONTENT:
        success["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    error = {
        "description": "An error, as a problem document (RFC 9457).",
        "content": {"application/problem+json": {"schema": schema_of(Problem)}},
    }
    return {str(endpoint.status): success, "default": error}


def _webhook(name: str, summary: str, schema_of: _Schemas) -> Json:
    body = WEBHOOK_BODIES.get(name) or WEBHOOK_BODIES[name.partition(".")[0]]
    headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "post": {
            "operationId": "on" + name.title().replace(".", ""),
            "summary": summary,
            "description": "Signed according to Standard Webhooks. Answer with any 2xx status.",
            "security": [],
            "parameters": [
                {"name": header, "in": "header", "required": True, "schema": {"type": "string"}}
                for header in headers
            ],
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": schema_of(body)}},
            },
            "responses": {"2XX": {"description": "Received."}},
        }
    }


def _paths_without_key(schema_of: _Schemas) -> Json:
    """Describe the paths that need no API key: callbacks of providers, and monitoring."""
    ready = {"content": {_JSON: {"schema": schema_of(Readiness)}}}
    return {
        "/callbacks/{provider}/{ref}": {
            "post": _callback_operation(
                "receiveCallback",
                "Receive a callback about one job. `t` is the signature of the URL.",
                {"provider": "path", "ref": "path", "t": "query"},
            )
        },
        "/callbacks/{provider}": {
            "post": _callback_operation(
                "receiveAccountCallback",
                "Receive a callback of a provider that has one URL for the whole account.",
                {"provider": "path"},
            )
        },
        "/livez": {
            "get": _health_operation(
                "getLiveness", "Check that the process is running.", {"200": {}}
            )
        },
        "/readyz": {
            "get": _health_operation(
                "getReadiness",
                "Check that the store is writable and all background loops run.",
                {"200": ready, "503": ready},
            )
        },
        "/metrics": {
            "get": _health_operation("getMetrics", "Get metrics for Prometheus.", {"200": {}})
        },
    }


def _health_operation(operation_id: str, summary: str, responses: Json) -> Json:
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "tags": ["health"],
        "responses": {status: {"description": summary, **r} for status, r in responses.items()},
    }


def _callback_operation(operation_id: str, summary: str, parameters: dict[str, str]) -> Json:
    """Describe a path for providers; *parameters* are the places of its parameters by name."""
    responses = {
        "200": "As 204, for providers that insist on it.",
        "204": "The callback and its effects are stored.",
        "400": "The body cannot be read as JSON of the provider. The callback is stored.",
        "404": "Unknown URL, or wrong signature of the URL or of the vendor.",
        "408": "The body was not complete after 10 s.",
        "413": "The body is larger than 8 MiB.",
        "415": "The body is compressed.",
        "503": "The store cannot be written now, or the vendor's keys are not known; try again.",
    }
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "tags": ["callbacks"],
        "parameters": [
            {"name": name, "in": place, "required": True, "schema": {"type": "string"}}
            for name, place in parameters.items()
        ],
        "requestBody": {"required": True, "content": {_JSON: {"schema": {}}}},
        "responses": {status: {"description": text} for status, text in responses.items()},
    }
