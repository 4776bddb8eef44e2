"""Emulates the services of useapi.net beside Runway: Kling, MiniMax, PixVerse and others."""

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import Directives, parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media.files import audio, image, video
from service.sandbox.scenario import END, PROGRESS, Callback, Scenario, Step, apply_directives
from service.sandbox.sender import USEAPI_RETRY_DELAYS
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "useapi_services"
_STEP_SECONDS: Final = 0.5
_JOB_WORDS: Final = ("progress", "completed", "failed", "moderated")


class Files:
    """The URLs of the files of *prompt*; the other ones are of no interest to who asked."""

    def __init__(self, base_url: str, prompt: str) -> None:
        self.image = f"{base_url}{image(prompt).path}"
        self.other_image = f"{base_url}{image(prompt, 1).path}"
        self.video = f"{base_url}{video(prompt).path}"
        self.other_video = f"{base_url}{video(prompt, 1).path}"
        self.audio = f"{base_url}{audio(prompt).path}"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service: its *path*, its *calls*, and what its jobs look like.

    *job_id* makes an id of the vendor's form, *id_key* is its field. *words* are the statuses of a
    job in progress, complete, failed and moderated, *status_key* is their field. *result* is what a
    complete job has. *read_path* shows a job, by the query where it ends with `=`.
    """

    path: str
    calls: tuple[str, ...]
    id_key: str
    words: tuple[str, str, str, str]
    result: Callable[[Files], Json]
    status_key: str = "status"
    read_path: str = "jobs/{id}"
    submit_status: int = 200


SERVICES: Final = (
    Service(
        path="/v1/kling",
        calls=("videos/text2video", "videos/extend", "images/kolors"),
        id_key="task",
        status_key="status_name",
        words=("processing", "succeed", "failed", "failed"),
        result=lambda files: {
            "works": [
                {
                    "contentType": "video",
                    "resource": {"resource": files.video, "height": 720, "width": 1280},
                    "cover": {"resource": files.image},
                }
            ]
        },
        read_path="tasks/{id}",
    ),
    Service(
        path="/v1/minimax",
        calls=("videos/create", "images/create"),
        id_key="videoId",
        status_key="statusLabel",
        words=("processing", "completed", "failed", "moderated"),
        result=lambda files: {
            "videoURL": files.other_video,
            "downloadURL": files.video,
            "coverURL": files.image,
            "percent": 100,
        },
        read_path="videos/{id}",
    ),
    Service(
        path="/v2/pixverse",
        calls=("videos/create", "videos/extend", "music/create"),
        id_key="video_id",
        status_key="video_status_name",
        words=("GENERATING", "COMPLETED", "FAILED", "MODERATED"),
        result=lambda files: {
            "url": files.video,
            "first_frame": files.image,
            "avatar": files.other_image,
            "output_width": 640,
            "output_height": 360,
        },
        read_path="videos/{id}",
    ),
    Service(
        path="/v1/google-flow",
        calls=("videos", "images"),
        id_key="jobid",
        words=_JOB_WORDS,
        result=lambda files: {
            "response": {
                "operations": [
                    {"operation": {"metadata": {"video": {"fifeUrl": files.video, "seed": 123456}}}}
                ]
            }
        },
        submit_status=201,
    ),
    Service(
        path="/v1/dreamina",
        calls=("videos", "images"),
        id_key="jobid",
        words=_JOB_WORDS,
        result=lambda files: {"response": {"videoUrl": files.video, "width": 1280, "height": 720}},
        read_path="videos/{id}",
    ),
    Service(
        path="/v1/mureka",
        calls=("music/create", "speech"),
        id_key="jobid",
        words=_JOB_WORDS,
        result=lambda files: {"response": {"state": 3, "songs": [{"mp3_url": files.audio}]}},
    ),
    Service(
        path="/v1/tempolor",
        calls=("music/song", "music/instrumental"),
        id_key="job_id",
        words=_JOB_WORDS,
        result=lambda files: {"response": {"songs": [{"audio_url": files.audio}]}},
        read_path="music/{id}",
    ),
    Service(
        path="/v1/faceswap",
        calls=("swap", "swapid"),
        id_key="jobid",
        words=_JOB_WORDS,
        result=lambda files: {"attachments": [{"url": files.image}], "code": 200},
        read_path="jobs/",
    ),
    Service(
        path="/v3/midjourney",
        calls=("jobs/imagine", "jobs/button"),
        id_key="jobid",
        words=_JOB_WORDS,
        result=lambda files: {"response": {"attachments": [{"url": files.image}]}},
        submit_status=201,
    ),
)


class UseapiServices:
    """The handlers of all services."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator, self._ledger, self._token = emulator, emulator.ledger, token

    def routes(self) -> list[Route]:
        routes: list[Route] = []
        for service in SERVICES:
            paths = [("POST", call, self._create(service)) for call in service.calls]
            paths.append(("GET", service.read_path, self._show(service)))
            for method, path, handler in paths:
                full_path = f"{service.path}/{path}"
                routes += build_routes(self._ledger, method, full_path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return json_response({"error": "Unauthorized", "code": 401}, 401)

    def _create(self, service: Service) -> Any:
        async def create(request: Request) -> Response:
            body = await read_json(request)
            if not isinstance(body, dict):
                return json_response({"error": "Request body must be JSON", "code": 400}, 400)
            prompt = str(body.get("prompt") or "")
            directives = parse_directives(prompt)
            key = str(body.get("replyRef") or prompt)
            if error := self._ledger.count_forced_error(NAME, key, directives):
                refused = {"error": "The account is not available", "code": error.status}
                return json_response(refused, error.status, retry_after_header(error.retry_after))
            call = request.url.path.removeprefix(service.path).strip("/")
            task = _new_task(service, call, body, directives)
            accepted = task.state[0]
            files = Files(str(request.base_url), task.prompt)
            scenario = _scenario(service, task, directives, files)
            run = self._emulator.start(task, scenario, USEAPI_RETRY_DELAYS)
            if await delay_answer(request, task, run):
                return json_response({"error": "Gateway timeout", "code": 504}, 504)
            return json_response(accepted, service.submit_status)

        return create

    def _show(self, service: Service) -> Any:
        async def show(request: Request) -> Response:
            given = request.path_params.get("id") or request.query_params.get("jobid") or ""
            task = self._ledger.find(NAME, given)
            if task is None or not task.operation.startswith(service.path):
                return json_response({"error": "Not found.", "code": 404}, 404)
            if task.directives.gone:
                return json_response({"error": "Job has expired", "code": 410}, 410)
            return json_response(task.state[0])

        return show


def _new_task(service: Service, call: str, body: Json, directives: Directives) -> LedgerTask:
    at = now()
    is_kling = service.id_key == "task"
    task_id = str(at) if is_kling else f"j{uuid4().hex}-u1-bot:{service.path.rpartition('/')[2]}"
    task = LedgerTask(
        provider=NAME,
        id=task_id,
        operation=f"{service.path}/{call}",
        prompt=str(body.get("prompt") or ""),
        at=at,
        directives=directives,
        request=body,
        ref=body.get("replyRef"),
        reply_url=body.get("replyUrl"),
    )
    task.state = (_job(service, task, service.words[0], {}),)
    return task


def _job(service: Service, task: LedgerTask, word: str, more: Json) -> Json:
    """Build a job of *service* with the status *word*; Kling has its id in an object."""
    own = {"id": int(task.id)} if service.id_key == "task" else task.id
    return {
        service.id_key: own,
        service.status_key: word,
        "created": rfc3339(task.at),
        "replyRef": task.ref,
        "request": {"prompt": task.prompt, "replyUrl": task.reply_url},
        **more,
    }


def _scenario(service: Service, task: LedgerTask, directives: Directives, files: Files) -> Scenario:
    progress, completed, failed, moderated = service.words
    running = _job(service, task, progress, {})
    complete = _job(service, task, completed, service.result(files))
    end = complete
    if directives.moderated:
        end = _job(service, task, moderated, {"error": "Moderated: unsafe content", "code": 422})
    elif directives.fail:
        end = _job(service, task, failed, {"error": "Generation failed"})
    elif directives.empty:
        end = _job(service, task, completed, {})
    steps = (
        Step(_STEP_SECONDS, (running,), (Callback(running, PROGRESS),)),
        Step(_STEP_SECONDS, (end,), (Callback(end, END),)),
    )
    return apply_directives(steps, directives, complete)
