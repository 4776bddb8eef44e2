"""useapi.net's Runway API under `/v1/runwayml`: task creation, tasks and the scheduler."""

import itertools
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, wait_for_callbacks, wait_for_disconnect
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.providers.useapi import bodies, checks, errors
from service.sandbox.providers.useapi.endpoints import IMAGES, VIDEOS
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import USEAPI_RETRY_DELAYS
from service.sandbox.web import (
    InvalidJson,
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "useapi"
PREFIX: Final = "/v1/runwayml"
_MAX_JOBS: Final = 5
_MAX_PAGE: Final = 1000
_RETENTION_SECONDS: Final = 7 * 24 * 3600
_DESCRIBE_SECONDS: Final = 1.0
_DESCRIPTION: Final = (
    "Subject: A bell in a stone tower, seen from below.\n\n"
    "Scene: Early light falls through the louvres onto the ropes and the oak frame.\n\n"
    "Style: Calm, photographic, warm light, shallow depth of field."
)


class Useapi:
    """The handlers of useapi.net.

    useapi.net documents two bodies of 429: its own and the one that comes from Runway. Forced
    errors alternate between them.
    """

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._token = token
        self._is_429_from_runway = itertools.cycle((False, True))

    def routes(self) -> list[Route]:
        handlers = (
            *(("POST", f"/{endpoint}", self._create) for endpoint in (*IMAGES, *VIDEOS)),
            ("GET", "/frames/describe/{image_asset_id}", self._describe),
            ("GET", "/tasks/{task_id}", self._show),
            ("GET", "/tasks/", self._list),
            ("GET", "/accounts/", self._accounts),
            ("GET", "/scheduler/", self._scheduled),
            ("DELETE", "/scheduler/{task_id}", self._unschedule),
        )
        routes: list[Route] = []
        for method, path, handler in handlers:
            routes += build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return json_response(errors.UNAUTHORIZED, 401)

    async def _create(self, request: Request) -> Response:
        endpoint = request.url.path.removeprefix(PREFIX).strip("/")
        try:
            body = await read_json(request)
        except InvalidJson:
            body = None
        if error := checks.input_error(endpoint, body):
            return _error_response(400, error)
        if rejection := self._forced_error(body) or self._account_full(body):
            return rejection
        return await self._accept(request, endpoint, body)

    def _forced_error(self, body: Json) -> Response | None:
        prompt = bodies.prompt_of(body)
        key = body.get("replyRef") or prompt
        error = self._ledger.count_forced_error(NAME, key, parse_directives(prompt))
        if error is None:
            return None
        error_body = errors.error_body(error.status)
        if error.status == HTTPStatus.TOO_MANY_REQUESTS and not next(self._is_429_from_runway):
            error_body = self._busy_body(body)
        if error.retry_after is not None:
            error_body = error_body | {"retryAfter": rfc3339(now() + error.retry_after * SECOND)}
        return json_response(error_body, error.status, retry_after_header(error.retry_after))

    def _account_full(self, body: Json) -> Response | None:
        free_slots = _max_jobs(body) - len(self._running(_email(body)))
        return None if free_slots > 0 else json_response(self._busy_body(body), 429)

    def _busy_body(self, body: Json) -> Json:
        email = _email(body)
        return errors.busy_body(email, _max_jobs(body), self._running(email))

    def _running(self, email: str) -> list[LedgerTask]:
        return [task for task in self._ledger.running(NAME) if task.account == email]

    async def _accept(self, request: Request, endpoint: str, body: Json) -> Response:
        task = _new_task(endpoint, body)
        directives, first_state = task.directives, task.state[0]
        response = bodies.submit_response(task)  # before the run changes the task's state
        scenario = apply_directives(
            bodies.scenario(first_state, body, directives, task.at, str(request.base_url)),
            directives,
            bodies.forged_callback(first_state, body),
        )
        run = self._emulator.start(task, scenario, USEAPI_RETRY_DELAYS)
        if directives.early:
            await wait_for_callbacks(run)
        if directives.hang:
            await wait_for_disconnect(request)
            return json_response(errors.error_body(504), 504)
        return json_response(response)

    async def _describe(self, request: Request) -> Response:
        asset_id = request.path_params["image_asset_id"]
        directives = parse_directives(asset_id)
        if error := self._ledger.count_forced_error(NAME, asset_id, directives):
            body = errors.error_body(error.status)
            return json_response(body, error.status, retry_after_header(error.retry_after))
        await self._emulator.sleep(_DESCRIBE_SECONDS + directives.slow)
        if directives.fail or directives.moderated:
            return _error_response(400, "Unable to describe this image")
        return json_response({"prompt": "" if directives.empty else _DESCRIPTION})

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None:
            return _error_response(404, "Task not found")
        if task.directives.gone or now() - task.at > _RETENTION_SECONDS * SECOND:
            return _error_response(410, "Job has expired")
        return json_response(task.state[0])

    async def _list(self, request: Request) -> Response:
        """List tasks; `email` selects an account (useapi.net requires it with two or more)."""
        offset, limit = _read_number(request, "offset"), _read_number(request, "limit")
        if offset is None or not limit:
            return _error_response(
                400, "Parameters offset (0…1000) and limit (1…1000) are required"
            )
        statuses = set(filter(None, request.query_params.get("statuses", "").split(",")))
        email = request.query_params.get("email", "").lower()
        found = [
            task.state[0]
            for task in self._ledger.newest(NAME)
            if not task.directives.gone
            and (not email or email == task.account.lower())
            and (not statuses or task.state[0]["status"] in statuses)
        ]
        return json_response(found[offset : offset + limit])

    async def _accounts(self, _: Request) -> Response:
        email = bodies.DEFAULT_EMAIL
        return json_response({email: {"email": email, "maxJobs": _MAX_JOBS}})

    async def _scheduled(self, _: Request) -> Response:
        return json_response([errors.scheduler_entry(task) for task in self._ledger.running(NAME)])

    async def _unschedule(self, request: Request) -> Response:
        """Stop the callbacks of a task and free its slot; the task itself continues."""
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None or task.ended:
            return _error_response(404, "Unable to locate running task")
        task.reply_url = None
        self._ledger.release(task)
        return Response(status_code=204)


def _new_task(endpoint: str, body: Json) -> LedgerTask:
    at, email, prompt = now(), _email(body), bodies.prompt_of(body)
    state = bodies.new_body(endpoint, body, email, at)
    return LedgerTask(
        provider=NAME,
        id=state["taskId"],
        operation=endpoint.replace("/", "."),
        prompt=prompt,
        at=at,
        directives=parse_directives(prompt),
        request=body,
        ref=body.get("replyRef"),
        reply_url=body.get("replyUrl"),
        account=email,
        paid=not body.get("exploreMode"),
        state=(state,),
    )


def _error_response(status: int, error: str) -> Response:
    return json_response({"error": error, "code": status}, status)


def _email(body: Json) -> str:
    return str(body.get("email") or bodies.DEFAULT_EMAIL)


def _max_jobs(body: Json) -> int:
    return int(body.get("maxJobs") or _MAX_JOBS)


def _read_number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _MAX_PAGE else None
