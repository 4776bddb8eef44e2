"""Emulates fal: a queue for every model, signed callbacks, the states and results of requests."""

from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media import files
from service.sandbox.media.files import MediaFile
from service.sandbox.providers.ed25519 import WebhookKey
from service.sandbox.scenario import END, Callback, Scenario, Step, apply_directives
from service.sandbox.sender import is_http_url
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "fal"
PREFIX: Final = "/fal"
# fal documents ten retries within two hours, but not when.
_RETRY_DELAYS: Final = (1.0, 4.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3000.0)
_QUEUE_SECONDS: Final = 0.3
_WORK_SECONDS: Final = 1.7
_SEED: Final = 196619188014358660
_MAX_IMAGES: Final = 8
_NAMESPACES: Final = ("workflows", "comfy")
_MEDIA: Final = (
    (("video", "veo", "kling"), "video", files.video),
    (("audio", "speech", "music", "tts"), "audio", files.audio),
    (("trellis", "3d", "mesh"), "model_mesh", files.model),
)
"""By a word in the model's id: the name of its file in the payload, and what makes it."""


class Result(msgspec.Struct, frozen=True):
    """What the model answered."""

    status: int
    payload: Json


class Fal:
    """The handlers of fal's queue; an empty input fails as at a real model."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator, self._ledger, self._token = emulator, emulator.ledger, token
        self._key = WebhookKey()

    def routes(self) -> list[Route]:
        requests = f"{PREFIX}/{{app:path}}/requests/{{task_id}}"
        handlers = (
            ("GET", f"{requests}/status", self._status),
            ("GET", requests, self._result),
            ("POST", f"{PREFIX}/{{model:path}}", self._submit),
        )
        keys = Route(f"{PREFIX}/.well-known/jwks.json", self._keys)
        return [keys] + [
            route
            for method, path, handler in handlers
            for route in build_routes(self._ledger, method, path, handler, self._guard)
        ]

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token, prefix="Key "):
            return None
        return json_response({"detail": "Cannot access application. Authentication failed."}, 401)

    async def _keys(self, _: Request) -> Response:
        return json_response(self._key.public_set())

    async def _submit(self, request: Request) -> Response:
        body: Any = await read_json(request)
        webhook = request.query_params.get("fal_webhook")
        if not isinstance(body, dict) or (webhook is not None and not is_http_url(webhook)):
            return json_response({"detail": "The body or fal_webhook is invalid."}, 400)
        prompt = str(body.get("prompt", ""))
        if error := self._ledger.count_forced_error(NAME, prompt, parse_directives(prompt)):
            detail = {"detail": f"The request was refused ({error.status})."}
            return json_response(detail, error.status, retry_after_header(error.retry_after))
        task = self._new_task(request.path_params["model"].strip("/"), body, webhook)
        queued = task.state[0]
        run = self._emulator.start(task, _scenario(task, str(request.base_url)), _RETRY_DELAYS)
        if await delay_answer(request, task, run):
            return json_response({"detail": "Gateway timeout"}, 504)
        return json_response({**queued, "gateway_request_id": task.id, "queue_position": 0})

    def _new_task(self, model: str, body: Json, webhook: str | None) -> LedgerTask:
        task_id, prompt = str(uuid4()), str(body.get("prompt", ""))
        return LedgerTask(
            provider=NAME,
            id=task_id,
            operation=model,
            prompt=prompt,
            at=now(),
            directives=parse_directives(prompt),
            request=body,
            reply_url=webhook,
            sign=partial(self._key.sign, "X-Fal-Webhook", "Request-Id", task_id),
            state=(_state(model, task_id, "IN_QUEUE"),),
        )

    def _find(self, request: Request) -> LedgerTask | None:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        is_known = task is not None and _app(task.operation) == request.path_params["app"]
        return task if task is not None and is_known and not task.directives.gone else None

    async def _status(self, request: Request) -> Response:
        task = self._find(request)
        if task is None:
            return json_response({"detail": "Request not found"}, 404)
        state = task.state[0]
        return json_response(state, 200 if state["status"] == "COMPLETED" else 202)

    async def _result(self, request: Request) -> Response:
        task = self._find(request)
        if task is None:
            return json_response({"detail": "Request not found"}, 404)
        if not task.ended:
            return json_response({"detail": "Request is still in progress"}, 400)
        result = _result(task, str(request.base_url))
        return json_response(result.payload, result.status)


def _app(model: str) -> str:
    parts = model.split("/")
    return "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])


def _state(model: str, task_id: str, status: str) -> Json:
    url = f"https://queue.fal.run/{_app(model)}/requests/{task_id}"
    urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
    return {"status": status, "request_id": task_id, **urls}


def _scenario(task: LedgerTask, base_url: str) -> Scenario:
    result = _result(task, base_url)
    ids: Json = {"request_id": task.id, "gateway_request_id": task.id}
    if result.status != 200:  # noqa: PLR2004
        error = f"Invalid status code: {result.status}"
        body = {**ids, "status": "ERROR", "error": error, "payload": result.payload}
    elif task.directives.no_payload:
        reason = "Response payload is not JSON serializable. Either return a JSON serializable "
        reason += "object or use the queue endpoint to retrieve the response."
        body = {**ids, "status": "OK", "error": None, "payload": None, "payload_error": reason}
    else:
        body = {**ids, "status": "OK", "error": None, "payload": result.payload}
    running = {**_state(task.operation, task.id, "IN_PROGRESS"), "logs": []}
    ended = {
        **_state(task.operation, task.id, "COMPLETED"),
        "logs": [],
        "metrics": {"inference_time": _WORK_SECONDS},
    }
    scenario = (
        Step(_QUEUE_SECONDS, (running,)),
        Step(_WORK_SECONDS, (ended,), (Callback(body, END),)),
    )
    forgery = {**ids, "status": "OK", "payload": _media(task.operation, task.request, base_url)}
    return apply_directives(scenario, task.directives, forgery)


def _result(task: LedgerTask, base_url: str) -> Result:
    body, directives = task.request, task.directives
    if not body:
        missing = {"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}
        return Result(422, {"detail": [missing]})
    if directives.moderated:
        error = {
            "loc": ["body", "prompt"],
            "msg": "The content could not be processed because it contained material flagged by "
            "a content checker.",
            "type": "content_policy_violation",
        }
        return Result(422, {"detail": [error]})
    if directives.fail:
        detail = {"detail": "Internal Server Error", "error_type": "runner_server_error"}
        return Result(500, detail)
    if directives.empty:
        return Result(200, {"images": [], "seed": _SEED})
    return Result(200, _media(task.operation, body, base_url))


def _media(model: str, body: Json, base_url: str) -> Json:
    """Return the model's payload; the URLs of its files begin with *base_url*."""
    if "whisper" in model:
        return {"text": "A bell tower at dawn.", "chunks": []}
    prompt = body["prompt"] if isinstance(body.get("prompt"), str) else ""
    for words, name, make in _MEDIA:
        if any(word in model for word in words):
            return {name: _file(make(prompt), base_url), "seed": _SEED}
    wanted = body.get("num_images")
    number = min(wanted, _MAX_IMAGES) if isinstance(wanted, int) and wanted > 0 else 1
    return {
        "images": [_file(files.image(prompt, index), base_url) for index in range(number)],
        "timings": {"inference": _WORK_SECONDS},
        "seed": _SEED,
        "has_nsfw_concepts": [False] * number,
        "prompt": prompt,
    }


def _file(file: MediaFile, base_url: str) -> Json:
    size = {"width": file.width, "height": file.height} if file.kind == "image" else {}
    name = file.path.rpartition("/")[2]
    media_type = files.FORMATS[file.kind][1]
    return {
        "url": base_url + file.path,
        "content_type": media_type,
        "file_name": name,
        "file_size": None,
        **size,
    }
