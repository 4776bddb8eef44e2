"""Emulates Runway's own API (docs.dev.runwayml.com): tasks that must be read, no callbacks."""

from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import Directives, parse_directives
from service.sandbox.emulator import Emulator, wait_for_disconnect
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media import files
from service.sandbox.scenario import Scenario, Step
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "runway"
PREFIX: Final = "/runway/v1"
_VERSION: Final = "2024-11-06"
_IMAGES: Final = ("text_to_image", "image_upscale")
_SOUNDS: Final = (
    "text_to_speech",
    "sound_effect",
    "speech_to_speech",
    "voice_dubbing",
    "voice_isolation",
)
_VIDEOS: Final = (
    "image_to_video",
    "text_to_video",
    "video_to_video",
    "character_performance",
    "video_upscale",
)
_STEPS: Final[tuple[tuple[float, Json], ...]] = (
    (0.2, {"status": "THROTTLED"}),
    (0.2, {"status": "PENDING"}),
    (0.4, {"status": "RUNNING", "progress": 0.35}),
    (0.4, {"status": "RUNNING", "progress": 0.8}),
)


class Runway:
    """The handlers of Runway's API."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator, self._ledger, self._token = emulator, emulator.ledger, token

    def routes(self) -> list[Route]:
        creates = [("POST", f"/{name}", self._create) for name in (*_IMAGES, *_SOUNDS, *_VIDEOS)]
        reads = [
            ("GET", "/tasks/{task_id}", self._show),
            ("GET", "/organization", self._organization),
        ]
        return [
            route
            for method, path, handler in (*creates, *reads)
            for route in build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        ]

    def _guard(self, request: Request) -> Response | None:
        if not has_token(request, self._token):
            return json_response({"error": "You did not provide a valid API key."}, 401)
        if request.headers.get("x-runway-version") != _VERSION:
            return json_response({"error": "X-Runway-Version is missing or not supported."}, 400)
        return None

    async def _create(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            return json_response({"error": "Validation of body failed: model is required."}, 400)
        prompt = str(body.get("promptText") or "")
        directives = parse_directives(prompt)
        if error := self._ledger.count_forced_error(NAME, prompt, directives):
            headers = retry_after_header(error.retry_after)
            return json_response({"error": f"Error {error.status}"}, error.status, headers)
        operation = request.url.path.removeprefix(PREFIX).strip("/")
        task = _new_task(operation, prompt, body, directives)
        self._emulator.start(task, _scenario(task, directives, str(request.base_url)), ())
        if directives.hang:
            await wait_for_disconnect(request)
            return json_response({"error": "Gateway timeout"}, 504)
        return json_response({"id": task.id})

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None or task.directives.gone:
            return json_response({"error": "Task not found"}, 404)
        return json_response(task.state[0])

    async def _organization(self, _: Request) -> Response:
        return json_response({"creditBalance": 1000, "tier": {"models": {}}})


def _new_task(operation: str, prompt: str, body: Json, directives: Directives) -> LedgerTask:
    at, task_id = now(), str(uuid4())
    return LedgerTask(
        provider=NAME,
        id=task_id,
        operation=operation,
        prompt=prompt,
        at=at,
        directives=directives,
        request=body,
        state=({"id": task_id, "createdAt": rfc3339(at), "status": "PENDING"},),
    )


def _scenario(task: LedgerTask, directives: Directives, base_url: str) -> Scenario:
    head = {"id": task.id, "createdAt": rfc3339(task.at)}
    steps = [Step(delay, ({**head, **fields},)) for delay, fields in _STEPS]
    return (*steps, Step(0.4 + directives.slow, ({**head, **_end(task, directives, base_url)},)))


def _end(task: LedgerTask, directives: Directives, base_url: str) -> Json:
    if directives.moderated:
        failure = "Your prompt may contain content that violates our terms."
        return {"status": "FAILED", "failure": failure, "failureCode": "SAFETY.INPUT.TEXT"}
    if directives.fail:
        failure = "An unexpected error occurred."
        return {"status": "FAILED", "failure": failure, "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
    if task.operation in _IMAGES:
        file = files.image(task.prompt)
    elif task.operation in _SOUNDS:
        file = files.audio(task.prompt)
    else:
        file = files.video(task.prompt)
    urls = [f"{base_url}{file.path}?_jwt=sandbox"]
    return {"status": "SUCCEEDED", "output": [] if directives.empty else urls}
