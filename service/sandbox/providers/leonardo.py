"""Emulates Leonardo.Ai: generations, whose callbacks go to one URL of the account."""

from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import MILLISECOND, rfc3339
from service.sandbox.directives import Directives, parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media.files import image
from service.sandbox.scenario import END, Callback, Scenario, Step, apply_directives
from service.sandbox.sender import is_http_url
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "leonardo"
PREFIX: Final = "/leonardo/v1"
_WORK_SECONDS: Final = 1.5
_RETRY_DELAYS: Final = (1.0, 1.0)
_MAX_IMAGES: Final = 8


class Leonardo:
    """The handlers of Leonardo.Ai.

    The vendor binds the callback URL and its key to an API key when that is created; here
    `PUT /leonardo/webhook` sets them.
    """

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator, self._ledger, self._token = emulator, emulator.ledger, token
        self._webhook_url: str | None = None
        self._webhook_key = ""

    def routes(self) -> list[Route]:
        handlers = (
            ("POST", f"{PREFIX}/generations", self._create),
            ("GET", f"{PREFIX}/generations/{{task_id}}", self._show),
            ("GET", f"{PREFIX}/me", self._me),
            ("PUT", "/leonardo/webhook", self._set_webhook),
        )
        return [
            route
            for method, path, handler in handlers
            for route in build_routes(self._ledger, method, path, handler, self._guard)
        ]

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return json_response({"error": "Invalid response from authorization hook"}, 401)

    async def _set_webhook(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, dict) or not is_http_url(body.get("url")):
            return json_response({"error": 'Send {"url": …, "key": …}'}, 400)
        self._webhook_url, self._webhook_key = body["url"], str(body.get("key") or "")
        return Response(status_code=204)

    async def _create(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
            return json_response({"error": "prompt is required", "code": "unexpected"}, 400)
        directives = parse_directives(body["prompt"])
        if error := self._ledger.count_forced_error(NAME, body["prompt"], directives):
            headers = retry_after_header(error.retry_after)
            return json_response({"error": f"Error {error.status}"}, error.status, headers)
        task = self._new_task(body, directives)
        run = self._emulator.start(
            task, self._scenario(task, directives, str(request.base_url)), _RETRY_DELAYS
        )
        if await delay_answer(request, task, run):
            return json_response({"error": "Gateway timeout"}, 504)
        return json_response({"sdGenerationJob": {"generationId": task.id, "apiCreditCost": 7}})

    def _new_task(self, body: Json, directives: Directives) -> LedgerTask:
        at, task_id, key = now(), str(uuid4()), self._webhook_key
        return LedgerTask(
            provider=NAME,
            id=task_id,
            operation="generations.create",
            prompt=body["prompt"],
            at=at,
            directives=directives,
            request=body,
            reply_url=self._webhook_url,
            sign=lambda _: {"authorization": f"Bearer {key}"},
            state=(_generation(task_id, body, at, "PENDING", []),),
        )

    def _scenario(self, task: LedgerTask, directives: Directives, base_url: str) -> Scenario:
        failed = directives.fail or directives.moderated
        images = [] if failed or directives.empty else _images(task, base_url)
        status = "FAILED" if failed else "COMPLETE"
        state = _generation(task.id, task.request, task.at, status, images)
        state["nsfw"] = directives.moderated
        steps = (Step(_WORK_SECONDS, (state,), (Callback(self._callback(task, state), END),)),)
        return apply_directives(steps, directives, self._callback(task, state))

    def _callback(self, task: LedgerTask, state: Json) -> Json:
        key = {"name": "sandbox", "type": "PRODUCTION", "webhookCallbackApiKey": self._webhook_key}
        return {
            "type": "image_generation.complete",
            "object": "generation",
            "timestamp": task.at // MILLISECOND,
            "api_version": "v1",
            "data": {"object": {**state, "apiDollarCost": "9", "apiKey": key}},
        }

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None or task.directives.gone:
            return json_response({"error": "Generation not found"}, 404)
        state = dict(task.state[0])
        found = state | {"generated_images": state.pop("images")}
        return json_response({"generations_by_pk": found})

    async def _me(self, _: Request) -> Response:
        return json_response({"user_details": [{"apiPlanTokenRenewalDate": None}]})


def _generation(task_id: str, body: Json, at: int, status: str, images: list[Json]) -> Json:
    return {
        "id": task_id,
        "createdAt": rfc3339(at),
        "status": status,
        "prompt": body["prompt"],
        "imageWidth": body.get("width") or 1024,
        "imageHeight": body.get("height") or 768,
        "seed": "905778432",
        "nsfw": False,
        "images": images,
    }


def _images(task: LedgerTask, base_url: str) -> list[Json]:
    wanted = task.request.get("num_images")
    number = min(wanted, _MAX_IMAGES) if isinstance(wanted, int) and wanted > 0 else 1
    state = task.state[0]
    shape = (state["imageWidth"], state["imageHeight"])
    paths = [image(task.prompt, index, shape).path for index in range(number)]
    return [{"id": str(uuid4()), "url": f"{base_url}{path}", "nsfw": False} for path in paths]
