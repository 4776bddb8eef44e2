"""The description of the API, made from the doors and their types; and a page that shows it."""

import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from handlers.health import Readiness
from handlers.http.endpoint import Endpoint, NoQuery
from handlers.http.errors import Problem
from handlers.http.pagination import ListResponse
from handlers.schemas.events import LoggedEvent
from handlers.schemas.public_names import SCHEMA_NAMES, WEBHOOK_BODIES
from service.domain.events import EVENT_TYPES, JobEvent

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
Json = dict[str, Any]


_Page = Callable[[Request], Awaitable[Response]]


def pages(endpoints: Sequence[Endpoint]) -> tuple[_Page, _Page]:
    """Return the endpoints of /openapi.json and /docs; each body is made once, on demand."""
    described = lru_cache(maxsize=1)(lambda: describe(endpoints))

    async def document(_: Request) -> Response:
        return Response(msgspec.json.encode(described()), media_type=_JSON)

    async def page(_: Request) -> Response:
        return HTMLResponse(_page(described()))

    return document, page


def describe(endpoints: Sequence[Endpoint]) -> Json:
    """Describe *endpoints* as OpenAPI 3.1."""
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = _Schemas(types, schemas, components)
    paths: Json = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, schema_of
        )
    components[_component(schema_of(ListResponse[JobEvent]))]["properties"]["data"]["items"] = {
        "oneOf": [schema_of(body) for body in get_args(LoggedEvent)]
    }
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "Belfry",
            "version": version("belfry"),
            "description": (
                "Submit AI image and video jobs once; get a signed webhook, a live stream or a "
                "status when they finish. No polling."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {**paths, **_open_paths(schema_of)},
        "webhooks": {name: _webhook(name, words, schema_of) for name, words in EVENT_TYPES.items()},
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }
    return _renamed(described, {_component(schema_of(t)): n for t, n in SCHEMA_NAMES.items()})


def _renamed(described: Json, names: Mapping[str, str]) -> Json:
    """Give the schemas their public names; those of query strings need none and are left out."""
    renamed = _with_refs(described, names)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {
        public: schemas[name] for name, public in sorted(names.items(), key=lambda pair: pair[1])
    }
    return dict(renamed)


def _with_refs(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_refs(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _REF.format(name=names[_component(value)]) if key == "$ref" else _with_refs(one, names)
        for key, one in value.items()
    }


def _component(schema: Json) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


class _Schemas:
    """The schema of each type, by reference where it has a name."""

    def __init__(self, types: Sequence[Any], schemas: Sequence[Json], components: Json) -> None:
        self._pairs, self._components = list(zip(types, schemas, strict=True)), components

    def __call__(self, kind: Any) -> Json:
        if isinstance(kind, tuple):
            return {"oneOf": [self(one) for one in kind]}
        return next(schema for known, schema in self._pairs if known == kind)

    def fields(self, kind: type[msgspec.Struct]) -> tuple[Json, Sequence[str]]:
        schema = self(kind)
        if "$ref" in schema:
            schema = self._components[_component(schema)]
        return schema.get("properties", {}), schema.get("required", ())


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    """All types that need a schema, those with a public name among them."""
    named: list[Any] = [*SCHEMA_NAMES]
    for endpoint in endpoints:
        for kind in (endpoint.query, endpoint.body, endpoint.answer):
            named += kind if isinstance(kind, tuple) else [kind]
    return [kind for n, kind in enumerate(named) if kind is not None and kind not in named[:n]]


def _operation(endpoint: Endpoint, schema_of: _Schemas) -> Json:
    described: Json = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "description": f"Needs a key with the scope `{endpoint.scope}`.",
        "tags": [endpoint.path.split("/")[2]],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint, schema_of)],
        "responses": _responses(endpoint, schema_of),
    }
    if endpoint.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": schema_of(endpoint.body)}},
        }
    return described


def _path_parameters(endpoint: Endpoint) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in endpoint.parameters
    ]


def _query_parameters(endpoint: Endpoint, schema_of: _Schemas) -> list[Json]:
    if endpoint.query is NoQuery:
        return []
    fields, required = schema_of.fields(endpoint.query)
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in fields.items()
    ]


def _responses(endpoint: Endpoint, schema_of: _Schemas) -> Json:
    good: Json = {"description": "Done."}
    if endpoint.answer is not None:
        good["content"] = {_JSON: {"schema": schema_of(endpoint.answer)}}
    elif endpoint.status != HTTPStatus.NO_CONTENT:
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return {str(endpoint.status): good, "default": _problem(schema_of)}


def _problem(schema_of: _Schemas) -> Json:
    return {
        "description": "A problem, as RFC 9457 writes it.",
        "content": {"application/problem+json": {"schema": schema_of(Problem)}},
    }


def _webhook(name: str, words: str, schema_of: _Schemas) -> Json:
    headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "post": {
            "operationId": _camel(f"on.{name}"),
            "summary": words,
            "description": "Signed as Standard Webhooks; any 2xx counts as received.",
            "security": [],
            "parameters": [
                {"name": header, "in": "header", "required": True, "schema": {"type": "string"}}
                for header in headers
            ],
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": schema_of(WEBHOOK_BODIES[name.partition(".")[0]])}},
            },
            "responses": {"2XX": {"description": "Received."}},
        }
    }


def _camel(name: str) -> str:
    first, *others = name.split(".")
    return first + "".join(part.capitalize() for part in others)


def _open_paths(schema_of: _Schemas) -> Json:
    """What needs no key: the providers' door, and what watches over the service."""
    ready = {"content": {_JSON: {"schema": schema_of(Readiness)}}}
    return {
        "/callbacks/{provider}/{ref}": {"post": _callback_operation()},
        "/livez": {"get": _open("getLiveness", "Whether the process runs.", {"200": {}})},
        "/readyz": {
            "get": _open("getReadiness", "Whether it can work.", {"200": ready, "503": ready})
        },
        "/metrics": {"get": _open("getMetrics", "Counts, for Prometheus.", {"200": {}})},
    }


def _open(operation_id: str, summary: str, responses: Json) -> Json:
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "tags": ["health"],
        "responses": {status: {"description": summary, **r} for status, r in responses.items()},
    }


def _callback_operation() -> Json:
    answers = {
        "204": "Taken, and on disk.",
        "400": "The body is not the provider's JSON; it was kept.",
        "404": "The URL is not one of ours.",
        "408": "The body was not in within 10 s.",
        "413": "The body is larger than 8 MiB.",
        "415": "The body is compressed.",
        "503": "The store cannot be written just now; try again.",
    }
    return {
        "operationId": "receiveCallback",
        "summary": "Where providers call back; the signature in `t` is the key.",
        "security": [],
        "tags": ["callbacks"],
        "parameters": [
            {"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "ref", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "t", "in": "query", "required": True, "schema": {"type": "string"}},
        ],
        "requestBody": {"required": True, "content": {_JSON: {"schema": {}}}},
        "responses": {status: {"description": words} for status, words in answers.items()},
    }


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Belfry API</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
color: #1d1d1f }} h2 {{ margin-top: 2rem; text-transform: capitalize }}
summary {{ cursor: pointer; padding: .3rem 0 }} code {{ font: 14px ui-monospace, monospace }}
b {{ display: inline-block; width: 4.5rem; font: 600 13px ui-monospace, monospace }}
pre {{ background: #f5f5f7; padding: 1rem; overflow: auto; border-radius: .5rem }}
</style>
<h1>Belfry API</h1>
<p>The whole description for your tools: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).
Send your key as <code>Authorization: Bearer KEY</code>.</p>
{sections}
</html>"""


def _page(described: Json) -> str:
    """Show the description to a person; nothing is loaded from elsewhere."""
    groups: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_entry(method, path, operation))
    groups["webhooks"] = [
        _entry("post", name, hook["post"]) for name, hook in described["webhooks"].items()
    ]
    sections = "".join(f"<h2>{tag}</h2>{''.join(rows)}" for tag, rows in groups.items())
    return _PAGE.format(sections=sections)


def _entry(method: str, path: str, operation: Json) -> str:
    shown: Json = {
        name: operation[name] for name in ("description", "parameters") if name in operation
    }
    if "requestBody" in operation:
        shown["body"] = operation["requestBody"]["content"][_JSON]["schema"]
    text = msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
    return (
        f"<details><summary><b>{method.upper()}</b><code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary><pre>{html.escape(text)}</pre></details>"
    )
