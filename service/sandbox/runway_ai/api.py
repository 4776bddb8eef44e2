"""runway-ai.ai: fifteen endpoints that answer when the work is done."""

from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import directives as magic
from service.sandbox.directives import Directives
from service.sandbox.emulator import Emulator, wait_hung_up
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.runway_ai.endpoints import ENDPOINTS, Endpoint, fault, result
from service.sandbox.scenario import Step
from service.sandbox.web import Handler, Unreadable, answer, holds, read_json, retry_after, route

NAME: Final = "runway_ai"
_WORK_SECONDS: Final = 2.0


class RunwayAi:
    """One handler for each endpoint of runway-ai.ai, all of the same make."""

    def __init__(self, stage: Emulator, token: str) -> None:
        self._stage = stage
        self._tasks = stage.tasks
        self._token = token

    def routes(self) -> list[Route]:
        return [
            made
            for endpoint in ENDPOINTS
            for made in route(
                self._tasks,
                endpoint.method,
                f"/v1/{endpoint.name}",
                self._handler(endpoint),
                self._guard,
            )
        ]

    def _guard(self, request: Request) -> Response | None:
        return None if holds(request, self._token) else answer({"error": "Unauthorized"}, 401)

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: Request) -> Response:
            given = await _parameters(request)
            if given is None:
                return answer({"error": "The body must be a JSON object"}, 400)
            if words := fault(endpoint, given):
                return answer({"error": words}, 400)
            return self._refused(given) or await self._work(request, endpoint, given)

        return handle

    def _refused(self, given: Json) -> Response | None:
        prompt = _prompt(given)
        refusal = self._tasks.refuse(NAME, prompt, magic.read(prompt))
        if refusal is None:
            return None
        said = {"error": f"The request was refused ({refusal.status})"}
        return answer(said, refusal.status, retry_after(refusal.after))

    async def _work(self, request: Request, endpoint: Endpoint, given: Json) -> Response:
        task = _new_task(endpoint, given)
        step = Step(_WORK_SECONDS + task.magic.slow, ())
        await self._stage.play(task, (step,), ())
        if task.magic.hang:
            await wait_hung_up(request)
            return answer({"error": "Gateway timeout"}, 504)
        return _outcome(endpoint, task.magic)


def _outcome(endpoint: Endpoint, spell: Directives) -> Response:
    if spell.moderated:
        return answer({"error": "The request violates our content policy"}, 400)
    if spell.fail:
        return answer({"error": "The generation failed"}, 500)
    return answer({} if spell.empty else result(endpoint))


async def _parameters(request: Request) -> Json | None:
    """Read the query, and the body over it; None when the body is no JSON object."""
    query = dict(request.query_params)
    if not await request.body():
        return query
    try:
        body = await read_json(request)
    except Unreadable:
        return None
    return {**query, **body} if isinstance(body, dict) else None


def _new_task(endpoint: Endpoint, given: Json) -> LedgerTask:
    prompt = _prompt(given)
    return LedgerTask(
        provider=NAME,
        id=str(uuid4()),
        operation=endpoint.name,
        prompt=prompt,
        at=now(),
        magic=magic.read(prompt),
        request=given,
        paid=endpoint.paid,
    )


def _prompt(given: Json) -> str:
    """Join all text given: without a ref, it is also what a call is known by."""
    return " ".join(
        text for key, text in given.items() if isinstance(text, str) and key != "auth_token"
    )
