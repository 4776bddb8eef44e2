"""runway-ai.ai's fifteen endpoints, which answer when the task has ended."""

from typing import Final
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, wait_for_disconnect
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.media.files import MediaFile
from service.sandbox.media.server import MediaServer, render
from service.sandbox.providers.runway_ai.endpoints import ENDPOINTS, Endpoint, input_error
from service.sandbox.providers.runway_ai.outputs import metadata, new_file
from service.sandbox.scenario import Step
from service.sandbox.web import (
    Handler,
    build_routes,
    has_token,
    json_response,
    read_json,
    retry_after_header,
)

NAME: Final = "runway_ai"
_WORK_SECONDS: Final = 2.0


class RunwayAi:
    """The handlers of runway-ai.ai, one per endpoint."""

    def __init__(self, emulator: Emulator, library: MediaServer, token: str) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._library = library
        self._token = token

    def routes(self) -> list[Route]:
        routes: list[Route] = []
        for endpoint in ENDPOINTS:
            path, handler = f"/v1/{endpoint.name}", self._handler(endpoint)
            routes += build_routes(self._ledger, endpoint.method, path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return json_response({"error": "Unauthorized"}, 401)

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: Request) -> Response:
            given = await _read_parameters(request)
            if given is None:
                return json_response({"error": "The body must be a JSON object"}, 400)
            if error := input_error(endpoint, given):
                return json_response({"error": error}, 400)
            media: dict[str, MediaFile] = {}
            for name, kind in endpoint.media.items():
                file = self._library.find(given[name], str(request.base_url))
                if file is None or kind not in ("media", file.kind):
                    return _not_found(name, kind)
                media[name] = file
            return self._forced_error(given) or await self._run(request, endpoint, given, media)

        return handle

    def _forced_error(self, given: Json) -> Response | None:
        prompt = _prompt(given)
        error = self._ledger.count_forced_error(NAME, prompt, parse_directives(prompt))
        if error is None:
            return None
        body = {"error": f"The request was refused ({error.status})"}
        return json_response(body, error.status, retry_after_header(error.retry_after))

    async def _run(
        self, request: Request, endpoint: Endpoint, given: Json, media: dict[str, MediaFile]
    ) -> Response:
        """Wait as long as the work takes; *media* are the files that *given* names."""
        task = _new_task(endpoint, given)
        directives = task.directives
        step = Step(_WORK_SECONDS + directives.slow, ())
        await self._emulator.start(task, (step,), ())
        if directives.hang:
            await wait_for_disconnect(request)
            return json_response({"error": "Gateway timeout"}, 504)
        if directives.moderated:
            return json_response({"error": "The request violates our content policy"}, 400)
        if directives.fail:
            return json_response({"error": "The generation failed"}, 500)
        if directives.empty:
            return json_response({})
        return await self._result(str(request.base_url), endpoint, given, media)

    async def _result(
        self, base_url: str, endpoint: Endpoint, given: Json, media: dict[str, MediaFile]
    ) -> Response:
        """Make, describe or delete a file, and build the documented response."""
        if endpoint.result_key is not None:
            file = new_file(endpoint.name, given, media)
            return json_response({endpoint.result_key: f"{base_url}{file.path}"})
        ((name, file),) = media.items()
        if endpoint.method == "GET":
            return json_response(metadata(file, len(await run_in_threadpool(render, file))))
        if not self._library.delete(file):
            return _not_found(name, "media")
        return json_response({"message": "Media successfully deleted"})


def _not_found(name: str, kind: str) -> Response:
    """Reject the URL of a file that this sandbox did not make, or that was deleted."""
    what = "file" if kind == "media" else kind
    return json_response({"error": f"Media not found: there is no {what} at {name}"}, 404)


async def _read_parameters(request: Request) -> Json | None:
    """Merge query and body, the body winning; return None unless the body is a JSON object."""
    query = dict(request.query_params)
    if not await request.body():
        return query
    body = await read_json(request)
    return {**query, **body} if isinstance(body, dict) else None


def _new_task(endpoint: Endpoint, given: Json) -> LedgerTask:
    prompt = _prompt(given)
    return LedgerTask(
        provider=NAME,
        id=str(uuid4()),
        operation=endpoint.name,
        prompt=prompt,
        at=now(),
        directives=parse_directives(prompt),
        request=given,
        paid=endpoint.paid,
    )


def _prompt(given: Json) -> str:
    """Join all text parameters; as there is no reference, they also identify the request."""
    return " ".join(
        text for key, text in given.items() if isinstance(text, str) and key != "auth_token"
    )
