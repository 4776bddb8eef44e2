"""Luma's Dream Machine API under `/dream-machine/v1`: generations and credits."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.providers.luma import bodies
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import LUMA_RETRY_DELAYS, DeliveryRules
from service.sandbox.web import (
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "luma"
PREFIX: Final = "/dream-machine/v1"
_TYPES: Final = {
    "/generations": "video",
    "/generations/video": "video",
    "/generations/image": "image",
    "/generations/video/modify": "modify_video",
    "/generations/video/reframe": "reframe_video",
    "/generations/image/reframe": "reframe_image",
    "/generations/{id}/upscale": "upscale_video",
    "/generations/{id}/audio": "add_audio",
}
"""The generation type by path; older pages of the vendor have videos at `/generations`."""
_DELIVERY: Final = DeliveryRules(success_status=200)
_PAGE: Final = 100


class Luma:
    """The handlers of Luma."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._token = token

    def routes(self) -> list[Route]:
        handlers = (
            *(("POST", path, self._create) for path in _TYPES),
            ("GET", "/generations", self._list),
            ("GET", "/generations/{id}", self._show),
            ("GET", "/credits", self._credits),
            ("GET", "/ping", self._ping),
        )
        routes: list[Route] = []
        for method, path, handler in handlers:
            routes += build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return _error(401, "Invalid API key is provided")

    async def _create(self, request: Request) -> Response:
        source = request.path_params.get("id")
        path = request.url.path.removeprefix(PREFIX).rstrip("/")
        kind = _TYPES[path.replace(source, "{id}") if source else path]
        body = await read_json(request)
        if problem := bodies.input_error(kind, body):
            return _error(400, problem)
        if source and self._ledger.find(NAME, source) is None:
            return _error(404, "Generation not found")
        prompt = bodies.prompt_of(body)
        error = self._ledger.count_forced_error(NAME, prompt, parse_directives(prompt))
        if error:
            detail = bodies.DETAILS.get(error.status, "Luma is not available")
            return _error(error.status, detail, error.retry_after)
        return await self._accept(request, kind, body)

    async def _accept(self, request: Request, kind: str, body: Json) -> Response:
        at, prompt = now(), bodies.prompt_of(body)
        generation, directives = bodies.new_generation(kind, body, at), parse_directives(prompt)
        task = LedgerTask(
            provider=NAME,
            id=generation["id"],
            operation=kind,
            prompt=prompt,
            at=at,
            directives=directives,
            request=body,
            reply_url=body.get("callback_url"),
            state=(generation,),
        )
        scenario = apply_directives(
            bodies.scenario(generation, directives, str(request.base_url)),
            directives,
            bodies.forged_generation(generation),
        )
        run = self._emulator.start(task, scenario, LUMA_RETRY_DELAYS, _DELIVERY)
        if await delay_answer(request, task, run):
            return _error(504, "Gateway timeout")
        return json_response(generation, 201)

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["id"])
        if task is None or task.directives.gone:
            return _error(404, "Generation not found")
        return json_response(task.state[0])

    async def _list(self, _: Request) -> Response:
        tasks = [task.state[0] for task in self._ledger.newest(NAME)[:_PAGE]]
        page = {"has_more": False, "count": len(tasks), "limit": _PAGE, "offset": 0}
        return json_response({**page, "generations": tasks})

    async def _credits(self, _: Request) -> Response:
        return json_response({"credit_balance": 10_000.0})

    async def _ping(self, _: Request) -> Response:
        return json_response({"message": "pong"})


def _error(status: int, detail: str, retry_after: int | None = None) -> Response:
    return json_response({"detail": detail}, status, retry_after_header(retry_after))
