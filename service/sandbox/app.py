"""The application: the three providers side by side, a page about them, and the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import HELP
from service.sandbox.emulator import Emulator
from service.sandbox.ledger import Json
from service.sandbox.runware.api import Runware
from service.sandbox.runway_ai.api import RunwayAi
from service.sandbox.useapi.api import Useapi
from service.sandbox.web import Tokens, answer, not_served

_MAX_BODY_BYTES: Final = 32 * 1024 * 1024


def create_sandbox(tokens: Tokens | None = None, *, pace: float = 1.0) -> Starlette:
    """Make the application; *pace* scales every delay: at 1 a task takes about two seconds."""
    tokens = tokens or Tokens()
    stage = Emulator(pace)
    app = Starlette(
        routes=[
            *Useapi(stage, tokens.useapi).routes(),
            *Runware(stage, tokens.runware).routes(),
            *RunwayAi(stage, tokens.runway_ai).routes(),
            *_open_routes(stage, tokens),
        ],
        exception_handlers={HTTPException: not_served},
        lifespan=lambda _: _staged(stage),
        max_body_size=_MAX_BODY_BYTES,
    )
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def _staged(stage: Emulator) -> AsyncIterator[None]:
    async with stage.open():
        yield


def _open_routes(stage: Emulator, tokens: Tokens) -> list[Route]:
    """Serve what needs no credentials."""

    async def about(request: Request) -> Response:
        return answer(_about(str(request.base_url).rstrip("/"), tokens))

    async def ledger(_: Request) -> Response:
        return answer(stage.tasks.ledger())

    return [Route("/", about), Route("/ledger", ledger)]


def _about(url: str, tokens: Tokens) -> Json:
    return {
        "what": "Belfry's sandbox: three providers, emulated. Nothing here costs money.",
        "providers": {
            "useapi": {"base_url": f"{url}/v1/runwayml", "token": tokens.useapi},
            "runware": {"base_url": f"{url}/v1", "token": tokens.runware},
            "runway_ai": {"base_url": url, "token": tokens.runway_ai},
        },
        "ledger": f"{url}/ledger",
        "magic_words": HELP,
    }
