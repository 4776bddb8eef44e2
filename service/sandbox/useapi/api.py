"""useapi.net's Runway API: what makes tasks, the tasks and the scheduler, under `/v1/runwayml`."""

import itertools
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox import directives as magic
from service.sandbox.directives import ForcedError
from service.sandbox.emulator import Emulator, wait_early, wait_hung_up
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import USEAPI_WAITS
from service.sandbox.useapi import bodies as useapi_bodies
from service.sandbox.useapi import checks as useapi_checks
from service.sandbox.useapi import errors as useapi_errors
from service.sandbox.useapi.endpoints import IMAGES, VIDEOS
from service.sandbox.web import Unreadable, answer, holds, read_json, retry_after, route

NAME: Final = "useapi"
PREFIX: Final = "/v1/runwayml"
_MAX_JOBS: Final = 5
_PAGE: Final = 1000
_KEPT_SECONDS: Final = 7 * 24 * 3600
_DESCRIBE_SECONDS: Final = 1.0
_DESCRIPTION: Final = (
    "Subject: A bell in a stone tower, seen from below.\n\n"
    "Scene: Early light falls through the louvres onto the ropes and the oak frame.\n\n"
    "Style: Calm, photographic, warm light, shallow depth of field."
)


class Useapi:
    """The handlers of useapi.net; its two kinds of 429 take turns."""

    def __init__(self, stage: Emulator, token: str) -> None:
        self._stage = stage
        self._tasks = stage.tasks
        self._token = token
        self._full_is_runways = itertools.cycle((False, True))

    def routes(self) -> list[Route]:
        table = (
            *(("POST", f"/{endpoint}", self._create) for endpoint in (*IMAGES, *VIDEOS)),
            ("GET", "/frames/describe/{image_asset_id}", self._describe),
            ("GET", "/tasks/{task_id}", self._show),
            ("GET", "/tasks/", self._list),
            ("GET", "/accounts/", self._accounts),
            ("GET", "/scheduler/", self._scheduled),
            ("DELETE", "/scheduler/{task_id}", self._unschedule),
        )
        return [
            made
            for method, path, handler in table
            for made in route(self._tasks, method, PREFIX + path, handler, self._guard)
        ]

    def _guard(self, request: Request) -> Response | None:
        known = holds(request, self._token)
        return None if known else answer(useapi_errors.UNAUTHORIZED, 401)

    async def _create(self, request: Request) -> Response:
        endpoint, body = _endpoint(request), await _body(request)
        if fault := useapi_checks.fault(endpoint, body):
            return _no(400, fault)
        if refused := self._refused(body) or self._full(body):
            return refused
        return await self._accept(request, endpoint, body)

    def _refused(self, body: Json) -> Response | None:
        prompt = useapi_bodies.prompt_of(body)
        key = body.get("replyRef") or prompt
        refusal = self._tasks.refuse(NAME, key, magic.read(prompt))
        if refusal is None:
            return None
        said = useapi_errors.error(refusal.status)
        if refusal.status == HTTPStatus.TOO_MANY_REQUESTS and not next(self._full_is_runways):
            said = self._busy(body)
        return answer(said | _retry_at(refusal), refusal.status, retry_after(refusal.after))

    def _full(self, body: Json) -> Response | None:
        free = _max_jobs(body) - len(self._running(_email(body)))
        return None if free > 0 else answer(self._busy(body), 429)

    def _busy(self, body: Json) -> Json:
        email = _email(body)
        return useapi_errors.busy(email, _max_jobs(body), self._running(email))

    def _running(self, email: str) -> list[LedgerTask]:
        return [task for task in self._tasks.running(NAME) if task.account == email]

    async def _accept(self, request: Request, endpoint: str, body: Json) -> Response:
        task = _new_task(endpoint, body)
        said = useapi_bodies.created(task)
        spell, first = task.magic, task.state[0]
        script = useapi_bodies.script(first, body, spell, task.at)
        script = apply_directives(script, spell, useapi_bodies.forgery(first, body))
        playing = self._stage.play(task, script, USEAPI_WAITS)
        if spell.early:
            await wait_early(playing)
        if spell.hang:
            await wait_hung_up(request)
            return answer(useapi_errors.error(504), 504)
        return answer(said)

    async def _describe(self, request: Request) -> Response:
        asset_id = request.path_params["image_asset_id"]
        spell = magic.read(asset_id)
        if refusal := self._tasks.refuse(NAME, asset_id, spell):
            said = useapi_errors.error(refusal.status)
            return answer(said, refusal.status, retry_after(refusal.after))
        await self._stage.pause(_DESCRIBE_SECONDS + spell.slow)
        if spell.fail or spell.moderated:
            return _no(400, "Unable to describe this image")
        return answer({"prompt": "" if spell.empty else _DESCRIPTION})

    async def _show(self, request: Request) -> Response:
        task = self._tasks.find(NAME, request.path_params["task_id"])
        if task is None:
            return _no(404, "Task not found")
        if task.magic.gone or now() - task.at > _KEPT_SECONDS * SECOND:
            return _no(410, "Job has expired")
        return answer(task.state[0])

    async def _list(self, request: Request) -> Response:
        offset, limit = _number(request, "offset"), _number(request, "limit")
        if offset is None or not limit:
            return _no(400, "Parameters offset (0…1000) and limit (1…1000) are required")
        statuses = set(filter(None, request.query_params.get("statuses", "").split(",")))
        kept = [task for task in self._tasks.newest(NAME) if not task.magic.gone]
        bodies = [task.state[0] for task in kept if _belongs(task, request)]
        wanted = [body for body in bodies if not statuses or body["status"] in statuses]
        return answer(wanted[offset : offset + limit])

    async def _accounts(self, _: Request) -> Response:
        email = useapi_bodies.DEFAULT_EMAIL
        return answer({email: {"email": email, "maxJobs": _MAX_JOBS}})

    async def _scheduled(self, _: Request) -> Response:
        return answer([useapi_errors.tracked(task) for task in self._tasks.running(NAME)])

    async def _unschedule(self, request: Request) -> Response:
        """Stop tracking: no more callbacks and a free slot, while the task itself goes on."""
        task = self._tasks.find(NAME, request.path_params["task_id"])
        if task is None or task.ended:
            return _no(404, "Unable to locate running task")
        task.reply_url = None
        self._tasks.release(task)
        return Response(status_code=204)


async def _body(request: Request) -> Any:
    try:
        return await read_json(request)
    except Unreadable:
        return None


def _endpoint(request: Request) -> str:
    return request.url.path.removeprefix(PREFIX).strip("/")


def _new_task(endpoint: str, body: Json) -> LedgerTask:
    at, email, prompt = now(), _email(body), useapi_bodies.prompt_of(body)
    first = useapi_bodies.new_body(endpoint, body, email, at)
    return LedgerTask(
        provider=NAME,
        id=first["taskId"],
        operation=endpoint.replace("/", "."),
        prompt=prompt,
        at=at,
        magic=magic.read(prompt),
        request=body,
        ref=body.get("replyRef"),
        reply_url=body.get("replyUrl"),
        account=email,
        paid=not body.get("exploreMode"),
        state=(first,),
    )


def _no(status: int, error: str) -> Response:
    return answer({"error": error, "code": status}, status)


def _email(body: Json) -> str:
    return str(body.get("email") or useapi_bodies.DEFAULT_EMAIL)


def _max_jobs(body: Json) -> int:
    return int(body.get("maxJobs") or _MAX_JOBS)


def _retry_at(refusal: ForcedError) -> Json:
    if refusal.after is None:
        return {}
    return {"retryAfter": rfc3339(now() + refusal.after * SECOND)}


def _belongs(task: LedgerTask, request: Request) -> bool:
    """Ask of one account where `email` names it; useapi.net wants that as soon as there are two."""
    email = request.query_params.get("email", "")
    return not email or email.lower() == task.account.lower()


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _PAGE else None
