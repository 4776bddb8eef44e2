"""Replicate's API under `/replicate/v1`: predictions, the account and the webhook secret."""

import base64
import hashlib
import hmac
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import SECOND
from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.providers.replicate import bodies
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import REPLICATE_RETRY_DELAYS, DeliveryRules, is_http_url
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "replicate"
PREFIX: Final = "/replicate/v1"
WEBHOOK_SECRET: Final = "whsec_" + base64.b64encode(b"the webhook secret of the sandbox").decode()
_EVENTS: Final = frozenset({"start", "output", "logs", "completed"})
_PAGE: Final = 100
_RETENTION_SECONDS: Final = 3600
_DELETED: Final[Json] = {"input": {}, "output": None, "logs": "", "data_removed": True}
_DELIVERY: Final = DeliveryRules(retries_progress=False)


def sign(body: bytes, key: bytes | None = None) -> dict[str, str]:
    """Sign *body* by Standard Webhooks, with the webhook secret unless *key* is given."""
    message_id, sent_at = f"msg_{uuid4().hex}", str(now() // SECOND)
    key = key or base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{sent_at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": sent_at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class Replicate:
    """The handlers of Replicate."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._token = token

    def routes(self) -> list[Route]:
        handlers = (
            ("POST", "/predictions", self._create),
            ("POST", "/models/{owner}/{name}/predictions", self._create),
            ("POST", "/deployments/{owner}/{name}/predictions", self._create),
            ("GET", "/predictions", self._list),
            ("GET", "/predictions/{id}", self._show),
            ("GET", "/account", self._account),
            ("GET", "/webhooks/default/secret", self._secret),
        )
        routes: list[Route] = []
        for method, path, handler in handlers:
            routes += build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return _error(401, "You did not pass a valid authentication token", "Unauthenticated")

    async def _create(self, request: Request) -> Response:
        body = await read_json(request)
        if body is None:
            return _error(400, "The request body is not JSON")
        model = "/".join(request.path_params.values())
        if problem := _input_error(body, needs_version=not model):
            field, message = problem
            return json_response(bodies.invalid_input(field, message), 422)
        prompt = bodies.prompt_of(body)
        directives = parse_directives(prompt)
        if error := self._ledger.count_forced_error(NAME, prompt, directives):
            return _error(error.status, "", retry_after=error.retry_after)
        return await self._accept(request, body, model or body["version"])

    async def _accept(self, request: Request, body: Json, model: str) -> Response:
        base_url = f"{str(request.base_url).rstrip('/')}{PREFIX}"
        prediction, at = bodies.new_prediction(body, model, base_url, now()), now()
        prompt = bodies.prompt_of(body)
        directives = parse_directives(prompt)
        task = LedgerTask(
            provider=NAME,
            id=prediction["id"],
            operation="predictions.create",
            prompt=prompt,
            at=at,
            directives=directives,
            request=body,
            reply_url=body.get("webhook"),
            sign=sign,
            state=(prediction,),
        )
        scenario = apply_directives(
            bodies.scenario(prediction, body, directives, at, str(request.base_url)),
            directives,
            bodies.forged_prediction(prediction, at),
        )
        run = self._emulator.start(task, scenario, REPLICATE_RETRY_DELAYS, _DELIVERY)
        if await delay_answer(request, task, run):
            return _error(504, "Gateway timeout")
        return json_response(prediction, 201)

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["id"])
        if task is None or task.directives.gone:
            return _error(404, "The requested resource could not be found.")
        is_old = now() - task.at > _RETENTION_SECONDS * SECOND
        return json_response(task.state[0] | (_DELETED if is_old else {}))

    async def _list(self, _: Request) -> Response:
        tasks = [task.state[0] for task in self._ledger.newest(NAME)[:_PAGE]]
        return json_response({"next": None, "previous": None, "results": tasks})

    async def _account(self, _: Request) -> Response:
        return json_response({"type": "user", "username": "sandbox", "name": "Sandbox"})

    async def _secret(self, _: Request) -> Response:
        return json_response({"key": WEBHOOK_SECRET})


def _input_error(body: object, *, needs_version: bool) -> tuple[str, str] | None:
    """Return the first invalid field and what is wrong with it."""
    if not isinstance(body, dict):
        return "", "Expected an object"
    if needs_version and not (isinstance(body.get("version"), str) and body["version"]):
        return "version", "version is required"
    if not isinstance(body.get("input"), dict):
        return "input", "input is required"
    if "webhook" in body and not is_http_url(body["webhook"]):
        return "webhook", "must be a valid HTTPS URL"
    events = body.get("webhook_events_filter", [])
    if not isinstance(events, list) or not all(str(event) in _EVENTS for event in events):
        return "webhook_events_filter", "unknown event"
    known = {"version", "input", "stream", "webhook", "webhook_events_filter"}
    unknown = next((name for name in body if name not in known), None)
    return (unknown, "Additional property is not allowed") if unknown else None


def _error(
    status: int, detail: str, title: str | None = None, retry_after: int | None = None
) -> Response:
    body = bodies.error_body(status, detail, title)
    return json_response(body, status, retry_after_header(retry_after))
