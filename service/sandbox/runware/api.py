"""Runware: arrays of tasks, POSTed to `/v1`."""

import hmac
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import directives as magic
from service.sandbox.emulator import Emulator, Playing, wait_early, wait_hung_up
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.runware import checks as runware_checks
from service.sandbox.runware import results as runware_results
from service.sandbox.runware.checks import item
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import RUNWARE_WAITS
from service.sandbox.web import Unreadable, answer, holds, read_json, retry_after, route

NAME: Final = "runware"
PATH: Final = "/v1"
_PROMPTS: Final = ("positivePrompt", "prompt", "text")
_MAX_COUNTERS: Final = 50


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one task of the array; *playing* it, if it was accepted."""

    data: tuple[Json, ...] = ()
    errors: tuple[Json, ...] = ()
    task: LedgerTask | None = None
    playing: Playing | None = None


class Runware:
    """The one handler of Runware: a task may ask for work, or for the state of other work."""

    def __init__(self, stage: Emulator, token: str) -> None:
        self._stage = stage
        self._tasks = stage.tasks
        self._token = token

    def routes(self) -> list[Route]:
        # The credentials may be in the body, so that no guard can stand before it.
        return route(self._tasks, "POST", PATH, self._post, lambda _: None)

    async def _post(self, request: Request) -> Response:
        body = await _array(request)
        if not self._is_known(request, body):
            return answer(runware_results.refusal(401, []), 401)
        tasks = [task for task in body if task.get("taskType") != "authentication"]
        if not tasks:
            return answer({"errors": [item({}, "invalidRequest", "Send an array of tasks.")]}, 400)
        return self._refused(tasks) or await self._answered(request, tasks)

    def _is_known(self, request: Request, body: list[Json]) -> bool:
        first = body[0] if body else {}
        key = first.get("apiKey") if first.get("taskType") == "authentication" else None
        given = key if isinstance(key, str) else ""
        in_body = hmac.compare_digest(given.encode(), self._token.encode())
        return in_body or holds(request, self._token)

    def _refused(self, tasks: list[Json]) -> Response | None:
        """Refuse the whole array if one prompt says so: none of it is accepted then."""
        for task in tasks:
            prompt = _prompt(task)
            refusal = self._tasks.refuse(
                NAME, str(task.get("taskUUID", prompt)), magic.read(prompt)
            )
            if refusal is not None:
                said = runware_results.refusal(refusal.status, tasks)
                return answer(said, refusal.status, retry_after(refusal.after))
        return None

    async def _answered(self, request: Request, tasks: list[Json]) -> Response:
        replies = [self._take(task) for task in tasks]
        for reply in replies:
            if reply.playing is not None and reply.task is not None:
                await _until_due(reply.task, reply.playing)
        if any(reply.task is not None and reply.task.magic.hang for reply in replies):
            await wait_hung_up(request)
            return answer(runware_results.refusal(504, tasks), 504)
        return _together(replies)

    def _take(self, task: Json) -> Reply:
        if errors := runware_checks.errors(task):
            return Reply(errors=tuple(errors))
        self._count(task["taskType"])
        if task["taskType"] in runware_checks.READS:
            return self._read(task)
        if self._tasks.find(NAME, task["taskUUID"]):
            words = "taskUUID must be unique: there is already a task with this one."
            return Reply(errors=(item(task, "conflictTaskUUID", words, "taskUUID"),))
        return self._accept(task)

    def _count(self, kind: str) -> None:
        key = f"POST {PATH} {kind}"
        if key in self._tasks.requests or len(self._tasks.requests) < _MAX_COUNTERS:
            self._tasks.requests[key] += 1

    def _accept(self, request: Json) -> Reply:
        task = _new_task(request)
        script = runware_results.script(request, task.magic)
        script = apply_directives(script, task.magic, runware_results.forgery(request, task.magic))
        playing = self._stage.play(task, script, RUNWARE_WAITS)
        return Reply(data=(runware_results.ack(request),), task=task, playing=playing)

    def _read(self, read: Json) -> Reply:
        task = self._tasks.find(NAME, read["taskUUID"])
        if task is None or task.magic.gone:
            words = "There is no task with this taskUUID, or it has expired."
            return Reply(errors=(item(read, "taskNotFound", words, "taskUUID"),))
        return _details(read, task) if read["taskType"] == "getTaskDetails" else _state(task)


async def _array(request: Request) -> list[Json]:
    """Read the tasks of the body; anything but an array of objects reads as no tasks."""
    try:
        body: Any = await read_json(request)
    except Unreadable:
        return []
    is_array = isinstance(body, list) and all(isinstance(task, dict) for task in body)
    return body if is_array else []


async def _until_due(task: LedgerTask, playing: Playing) -> None:
    if runware_results.is_sync(task.request):
        await playing
    elif task.magic.early:
        await wait_early(playing)


def _new_task(request: Json) -> LedgerTask:
    prompt = _prompt(request)
    return LedgerTask(
        provider=NAME,
        id=request["taskUUID"],
        operation=request["taskType"],
        prompt=prompt,
        at=now(),
        magic=magic.read(prompt),
        request=request,
        ref=request["taskUUID"],
        reply_url=request.get("webhookURL"),
        state=(runware_results.processing(request),),
    )


def _prompt(task: Json) -> str:
    return " ".join(text for key in _PROMPTS if isinstance(text := task.get(key), str))


def _state(task: LedgerTask) -> Reply:
    """Tell everything so far, as getResponse does: earlier items repeat."""
    failed = [it for it in task.state if it.get("status") == "error"]
    rest = [{"status": "success", **it} for it in task.state if it.get("status") != "error"]
    return Reply(data=tuple(rest), errors=tuple(failed))


def _details(read: Json, task: LedgerTask) -> Reply:
    said = _state(task)
    response = {"data": said.data} | ({"errors": said.errors} if said.errors else {})
    details = {"request": [task.request], "response": response}
    return Reply(data=({**runware_results.ack(read), **details},))


def _together(replies: list[Reply]) -> Response:
    """Answer for the whole array: an error of one task leaves the others alone."""
    data: list[Json] = []
    errors: list[Json] = []
    for reply in replies:
        said = reply
        if reply.task is not None and runware_results.is_sync(reply.task.request):
            said = _state(reply.task)
        data += said.data
        errors += said.errors
    body = {"data": data} | ({"errors": errors} if errors else {})
    return answer(body, 200 if data or not errors else 400)
