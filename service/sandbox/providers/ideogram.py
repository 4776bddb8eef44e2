"""Emulates Ideogram's asynchronous endpoints. Callbacks may go to http, because it is loopback."""

from functools import partial
from secrets import token_urlsafe
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media import files
from service.sandbox.providers.ed25519 import WebhookKey
from service.sandbox.scenario import END, Callback, Scenario, Step, apply_directives
from service.sandbox.sender import is_http_url
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_form,
    retry_after_header,
)

NAME: Final = "ideogram"
PREFIX: Final = "/ideogram"
_ENDPOINTS: Final = (
    "/v1/ideogram-v4/async/generate",
    "/v1/ideogram-v4/async/generate-transparent",
    "/v1/async/text-to-image/p-image-ideogram",
)
_PROMPTS: Final = ("text_prompt", "json_prompt", "prompt")
# Ideogram documents "a limited number" of retries.
_RETRY_DELAYS: Final = (1.0, 5.0, 30.0)
_WORK_SECONDS: Final = 2.0
_URL_LIFETIME: Final = 86_400 * SECOND


class Ideogram:
    """The handlers of Ideogram; a generation that fails is reported as a lookup shows it."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator, self._ledger, self._token = emulator, emulator.ledger, token
        self._key = WebhookKey()

    def routes(self) -> list[Route]:
        handlers = (
            *(("POST", path, self._create) for path in _ENDPOINTS),
            ("GET", "/v1/generations/{task_id}", self._show),
            ("GET", "/models", self._models),
        )
        keys = Route(f"{PREFIX}/v1/.well-known/jwks.json", self._keys)
        return [keys] + [
            route
            for method, path, handler in handlers
            for route in build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        ]

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token, header="api-key", prefix=""):
            return None
        return json_response({"error": "Unauthorized"}, 401)

    async def _keys(self, _: Request) -> Response:
        return json_response(self._key.public_set())

    async def _models(self, _: Request) -> Response:
        return json_response({"models": []})

    async def _create(self, request: Request) -> Response:
        fields = await read_form(request) or {}
        prompts = [fields[name] for name in _PROMPTS if fields.get(name)]
        webhook = request.query_params.get("webhook_url")
        if len(prompts) != 1 or (webhook is not None and not is_http_url(webhook)):
            return json_response({"error": "Send one prompt, and a valid webhook_url"}, 400)
        (prompt,) = prompts
        directives = parse_directives(prompt)
        if error := self._ledger.count_forced_error(NAME, prompt, directives):
            headers = retry_after_header(error.retry_after)
            return json_response({"error": f"Error {error.status}"}, error.status, headers)
        task = self._new_task(request.url.path.removeprefix(PREFIX), fields, prompt, webhook)
        run = self._emulator.start(task, _scenario(task, str(request.base_url)), _RETRY_DELAYS)
        if await delay_answer(request, task, run):
            return json_response({"error": "Gateway timeout"}, 504)
        return json_response({"generation_id": task.id})

    def _new_task(
        self, path: str, fields: dict[str, str], prompt: str, webhook: str | None
    ) -> LedgerTask:
        task_id, at = token_urlsafe(16), now()
        state = {"generation_id": task_id, "status": "pending", "created": rfc3339(at)}
        return LedgerTask(
            provider=NAME,
            id=task_id,
            operation=path,
            prompt=prompt,
            at=at,
            directives=parse_directives(prompt),
            request={**fields},
            reply_url=webhook,
            sign=partial(self._key.sign, "X-Ideogram-Webhook", "Generation-Id", task_id),
            state=(state,),
        )

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None or task.directives.gone:
            return json_response({"error": "Generation not found"}, 404)
        return json_response(task.state[0])


def _scenario(task: LedgerTask, base_url: str) -> Scenario:
    """Build the one step; the callback has the images of the lookup, but no status."""
    about: Json = {"generation_id": task.id, "created": rfc3339(task.at)}
    if task.directives.fail:
        state = callback = {**about, "status": "failed"}
    else:
        images = _images(task, base_url)
        state = {**about, "status": "completed", "response_type": "url", "data": images}
        state["usage_cost_usd_micros"] = 60_000
        callback = {**about, "data": images}
    forgery = {**about, "data": [_image(task, 0, base_url)]}
    step = Step(_WORK_SECONDS, (state,), (Callback(callback, END),))
    return apply_directives((step,), task.directives, forgery)


def _images(task: LedgerTask, base_url: str) -> list[Json]:
    if task.directives.empty:
        return []
    images = [_image(task, 0, None if task.directives.moderated else base_url)]
    return [*images, _image(task, 1, None)] if task.directives.part_fail else images


def _image(task: LedgerTask, index: int, base_url: str | None) -> Json:
    """Describe one image; an unsafe one has no URL (*base_url* is None)."""
    path, expiry = files.image(task.prompt, index).path, (task.at + _URL_LIFETIME) // SECOND
    return {
        "url": "" if base_url is None else f"{base_url}{path}?exp={expiry}&sig=sandbox",
        "prompt": task.prompt,
        "resolution": task.request.get("resolution", "2048x2048"),
        "seed": 12345,
        "is_image_safe": base_url is not None,
    }
