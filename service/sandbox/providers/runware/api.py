"""Runware's endpoint: arrays of tasks, POSTed to `/v1`."""

import hmac
from typing import Any, Final
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import parse_directives
from service.sandbox.emulator import (
    Emulator,
    TaskRun,
    wait_for_callbacks,
    wait_for_disconnect,
)
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.providers.runware import checks, results
from service.sandbox.providers.runware.instant import (
    INSTANT_TYPES,
    StoredMedia,
    instant_result,
)
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import RUNWARE_RETRY_DELAYS
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "runware"
PATH: Final = "/v1"
_PROMPT_KEYS: Final = ("positivePrompt", "prompt", "text")
_MAX_COUNTERS: Final = 50
_CONNECTION_RESULTS: Final[dict[str, Json]] = {
    "authentication": {"taskType": "authentication", "connectionSessionUUID": str(uuid4())},
    "ping": {"taskType": "ping", "pong": True},
}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The response to one task of the array; *task* and its *run* if the task was accepted."""

    data: tuple[Json, ...] = ()
    errors: tuple[Json, ...] = ()
    task: LedgerTask | None = None
    run: TaskRun | None = None


class Runware:
    """The handler of `POST /v1`: each task of the array starts work or reads the state of work."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._stored = StoredMedia()
        self._token = token

    def routes(self) -> list[Route]:
        # The guard lets everything pass: the API key may be in the body, which the handler reads.
        return build_routes(self._ledger, "POST", PATH, self._post, lambda _: None)

    async def _post(self, request: Request) -> Response:
        body = await _read_array(request)
        if not self._is_authorized(request, body):
            return json_response(results.error_body(401, []), 401)
        if not body:
            error = checks.error_item({}, "invalidRequest", "Send an array of tasks.")
            return json_response({"errors": [error]}, 400)
        tasks = [task for task in body if task.get("taskType") != "authentication"]
        return self._forced_error(tasks) or await self._run(request, body)

    def _is_authorized(self, request: Request, body: list[Json]) -> bool:
        """Accept the API key in the header, or in a first task of type `authentication`."""
        first = body[0] if body else {}
        key = first.get("apiKey") if first.get("taskType") == "authentication" else None
        given = key if isinstance(key, str) else ""
        in_body = hmac.compare_digest(given.encode(), self._token.encode())
        return in_body or has_token(request, self._token)

    def _forced_error(self, tasks: list[Json]) -> Response | None:
        """Reject the whole array if the prompt of one task demands it."""
        for task in tasks:
            prompt = _prompt(task)
            key = str(task.get("taskUUID", prompt))
            error = self._ledger.count_forced_error(NAME, key, parse_directives(prompt))
            if error is not None:
                body = results.error_body(error.status, tasks)
                return json_response(body, error.status, retry_after_header(error.retry_after))
        return None

    async def _run(self, request: Request, tasks: list[Json]) -> Response:
        replies = [self._handle(task, str(request.base_url)) for task in tasks]
        for reply in replies:
            if reply.task is None or reply.run is None:
                continue
            if results.is_sync(reply.task.request):
                await reply.run
            elif reply.task.directives.early:
                await wait_for_callbacks(reply.run)
        if any(reply.task is not None and reply.task.directives.hang for reply in replies):
            await wait_for_disconnect(request)
            return json_response(results.error_body(504, tasks), 504)
        return _merge_replies(replies)

    def _handle(self, task: Json, base_url: str) -> Reply:
        if errors := checks.input_errors(task, self._stored):
            return Reply(errors=tuple(errors))
        self._count(task["taskType"])
        if task["taskType"] in checks.CONNECTION_TYPES:
            return Reply(data=(_CONNECTION_RESULTS[task["taskType"]],))
        if task["taskType"] in checks.READS:
            return self._read(task)
        if self._ledger.find(NAME, task["taskUUID"]):
            message = "taskUUID must be unique: there is already a task with this one."
            error = checks.error_item(task, "conflictTaskUUID", message, "taskUUID")
            return Reply(errors=(error,))
        if task["taskType"] in INSTANT_TYPES:
            return self._answer_at_once(task)
        return self._accept(task, base_url)

    def _answer_at_once(self, request: Json) -> Reply:
        result = {**results.ack(request), **instant_result(request, self._stored)}
        task = _new_task(request)
        task.paid, task.state = False, (result,)
        self._ledger.add(task)
        self._ledger.end(task)
        return Reply(data=(result,))

    def _count(self, task_type: str) -> None:
        """Count the request by task type; clients choose the type, so limit the counters."""
        key = f"POST {PATH} {task_type}"
        if key in self._ledger.requests or len(self._ledger.requests) < _MAX_COUNTERS:
            self._ledger.requests[key] += 1

    def _accept(self, request: Json, base_url: str) -> Reply:
        task = _new_task(request)
        scenario = apply_directives(
            results.scenario(request, task.directives, base_url),
            task.directives,
            results.forged_callback(request, task.directives),
        )
        final = scenario[-1].state
        self._stored.add_results(final)
        run = self._emulator.start(task, scenario, RUNWARE_RETRY_DELAYS)
        if task.directives.at_once:
            data, errors = results.split(final)
            return Reply(data=data, errors=errors, task=task, run=run)
        return Reply(data=(results.ack(request),), task=task, run=run)

    def _read(self, read: Json) -> Reply:
        task = self._ledger.find(NAME, read["taskUUID"])
        if task is None or task.directives.gone:
            message = "There is no task with this taskUUID, or it has expired."
            error = checks.error_item(read, "taskNotFound", message, "taskUUID")
            return Reply(errors=(error,))
        return _details(read, task) if read["taskType"] == "getTaskDetails" else _state(task)


async def _read_array(request: Request) -> list[Json]:
    """Read the tasks of the body; return no tasks unless it is an array of objects."""
    body: Any = await read_json(request)
    is_array = isinstance(body, list) and all(isinstance(task, dict) for task in body)
    return body if is_array else []


def _new_task(request: Json) -> LedgerTask:
    prompt = _prompt(request)
    return LedgerTask(
        provider=NAME,
        id=request["taskUUID"],
        operation=request["taskType"],
        prompt=prompt,
        at=now(),
        directives=parse_directives(prompt),
        request=request,
        ref=request["taskUUID"],
        reply_url=request.get("webhookURL"),
        state=(results.processing(request),),
    )


def _prompt(task: Json) -> str:
    return " ".join(text for key in _PROMPT_KEYS if isinstance(text := task.get(key), str))


def _state(task: LedgerTask) -> Reply:
    """Answer `getResponse`: all items so far, including those returned before."""
    failed = [item for item in task.state if item.get("status") == "error"]
    others = [{"status": "success", **item} for item in task.state if item.get("status") != "error"]
    return Reply(data=tuple(others), errors=tuple(failed))


def _details(read: Json, task: LedgerTask) -> Reply:
    """Answer `getTaskDetails`: the request and the response of *task*."""
    state = _state(task)
    response = {"data": state.data} | ({"errors": state.errors} if state.errors else {})
    details = {"request": [task.request], "response": response}
    return Reply(data=({**results.ack(read), **details},))


def _merge_replies(replies: list[Reply]) -> Response:
    """Build the response to the whole array; an error of one task does not affect the others."""
    data: list[Json] = []
    errors: list[Json] = []
    for reply in replies:
        if reply.task is not None and results.is_sync(reply.task.request):
            final_data, final_errors = results.split(reply.task.state)
        else:
            final_data, final_errors = reply.data, reply.errors
        data += final_data
        errors += final_errors
    body = {"data": data} | ({"errors": errors} if errors else {})
    return json_response(body, 200 if data or not errors else 400)
