"""The sandbox's application: emulated providers, their media, an overview page and the ledger."""

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.directives import HELP
from service.sandbox.emulator import Emulator
from service.sandbox.media import files
from service.sandbox.media.server import MediaServer
from service.sandbox.providers.fal import Fal
from service.sandbox.providers.ideogram import Ideogram
from service.sandbox.providers.leonardo import Leonardo
from service.sandbox.providers.luma.api import PREFIX as LUMA_PREFIX
from service.sandbox.providers.luma.api import Luma
from service.sandbox.providers.replicate.api import PREFIX as REPLICATE_PREFIX
from service.sandbox.providers.replicate.api import Replicate
from service.sandbox.providers.runware.api import Runware
from service.sandbox.providers.runway import Runway
from service.sandbox.providers.runway_ai.api import RunwayAi
from service.sandbox.providers.useapi.accounts import UseapiSetup
from service.sandbox.providers.useapi.api import Useapi
from service.sandbox.providers.useapi.assets import example_asset
from service.sandbox.providers.useapi_services import UseapiServices
from service.sandbox.web import Tokens, json_response, on_http_error

_MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_SAMPLES: Final = (
    files.image("a lighthouse"),
    files.video("a lighthouse"),
    files.audio("a lighthouse"),
    files.model("a lighthouse"),
)


def create_sandbox(
    tokens: Tokens | None = None, *, pace: float = 1.0, useapi: UseapiSetup | None = None
) -> Starlette:
    """Build the application.

    *pace* multiplies every delay; at 1 a task takes about two seconds. *useapi* sets up the
    accounts at useapi.net; by default there is one with credits for 200,000 tasks.
    """
    tokens, setup = tokens or Tokens(), useapi or UseapiSetup()
    emulator, library = Emulator(pace), MediaServer()
    app = Starlette(
        routes=[
            *Useapi(emulator, tokens.useapi, setup).routes(),
            *Runware(emulator, tokens.runware).routes(),
            *RunwayAi(emulator, library, tokens.runway_ai).routes(),
            *UseapiServices(emulator, tokens.useapi).routes(),
            *Fal(emulator, tokens.fal).routes(),
            *Ideogram(emulator, tokens.ideogram).routes(),
            *Leonardo(emulator, tokens.leonardo).routes(),
            *Runway(emulator, tokens.runway).routes(),
            *Replicate(emulator, tokens.replicate).routes(),
            *Luma(emulator, tokens.luma).routes(),
            *library.routes(),
            *_public_routes(emulator, tokens, setup),
        ],
        exception_handlers={HTTPException: on_http_error},
        lifespan=lambda _: emulator.open(),
        max_body_size=_MAX_BODY_BYTES,
    )
    app.router.redirect_slashes = False
    return app


def _public_routes(emulator: Emulator, tokens: Tokens, setup: UseapiSetup) -> list[Route]:
    """Build the two routes that need no credentials: the overview and the ledger."""

    async def overview(request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        page = {
            "what": "Belfry's sandbox emulates the providers. Its requests cost nothing.",
            "providers": {
                "useapi": {
                    "base_url": f"{url}/v1/runwayml",
                    "token": tokens.useapi,
                    "image_assetId": example_asset(setup.accounts[0].email),
                },
                "runware": {"base_url": f"{url}/v1", "token": tokens.runware},
                "runway_ai": {"base_url": url, "token": tokens.runway_ai},
                "useapi_services": {"base_url": url, "token": tokens.useapi},
                "fal": {"base_url": f"{url}/fal", "token": tokens.fal},
                "ideogram": {"base_url": f"{url}/ideogram", "token": tokens.ideogram},
                "leonardo": {"base_url": f"{url}/leonardo/v1", "token": tokens.leonardo},
                "runway": {"base_url": f"{url}/runway/v1", "token": tokens.runway},
                "replicate": {"base_url": url + REPLICATE_PREFIX, "token": tokens.replicate},
                "luma": {"base_url": url + LUMA_PREFIX, "token": tokens.luma},
            },
            "media": [f"{url}/{file.path}" for file in _SAMPLES],
            "ledger": f"{url}/ledger",
            "magic_words": HELP,
        }
        return json_response(page)

    async def ledger(_: Request) -> Response:
        return json_response(emulator.ledger.report())

    return [Route("/", overview), Route("/ledger", ledger)]
