"""The calls of useapi.net that have no callback: they answer with their result.

Every one is free. Directives are read from the prompt or from the name or id of the asset.
"""

import zlib
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator
from service.sandbox.ledger import Json, now
from service.sandbox.media.files import image
from service.sandbox.providers.useapi import errors
from service.sandbox.providers.useapi.accounts import Account, Accounts
from service.sandbox.providers.useapi.assets import AssetStore
from service.sandbox.providers.useapi.checks import SIZES
from service.sandbox.web import json_response, retry_after_header

_SECONDS: Final = 1.0
_DESCRIPTION: Final = (
    "Subject: A bell in a stone tower, seen from below.\n\n"
    "Scene: Early light falls through the louvres onto the ropes and the oak frame.\n\n"
    "Style: Calm, photographic, warm light, shallow depth of field."
)
_LANGUAGES: Final = frozenset({"en", "en_au", "en_uk", "en_us", "es", "fr", "de", "it", "pt", "nl"})
_VOICES: Final = ({"id": "1", "name": "Ada"}, {"id": "2", "name": "Bela"})
"""A guess: no description of this answer was found."""
_TRANSCRIPT: Final = ("The", "bell", "rings", "at", "noon.")
_MS_PER_WORD: Final = 400
_SEED_DIGITS: Final = len("4294967294")


class InstantCalls:
    """The handlers of the calls that answer at once."""

    def __init__(self, emulator: Emulator, accounts: Accounts, assets: AssetStore) -> None:
        self._emulator = emulator
        self._accounts = accounts
        self._assets = assets

    async def describe(self, request: Request) -> Response:
        asset_id = request.path_params["image_asset_id"]
        asset = self._assets.find(asset_id)
        text = f"{asset_id} {asset.name if asset else ''}"
        if asset is None and not errors.has_directive(text):
            return errors.response(400, "Unable to locate the image asset")
        if rejection := await self._pause(text):
            return rejection
        directives = parse_directives(text)
        if directives.fail or directives.moderated:
            return errors.response(400, "Unable to describe this image")
        return json_response({"prompt": "" if directives.empty else _DESCRIPTION})

    async def features(self, request: Request) -> Response:
        account = self.account_of(request)
        if isinstance(account, Response):
            return account
        return json_response(self._accounts.features(account))

    async def voices(self, request: Request) -> Response:
        account = self.account_of(request)
        return account if isinstance(account, Response) else json_response(_VOICES)

    async def transcribe(self, request: Request) -> Response:
        query = request.query_params
        if query.get("language") not in _LANGUAGES:
            return errors.response(400, "Parameter language is required")
        asset = self._assets.find(query.get("assetId"))
        if asset is None:
            return errors.response(404, "Not found.")
        if rejection := await self._pause(asset.name):
            return rejection
        return json_response(_transcript(asset.url, query["language"]))

    async def upscale_image(self, request: Request) -> Response:
        account, query = self.account_of(request), request.query_params
        if isinstance(account, Response):
            return account
        missing = [name for name in ("image_url", "width", "height") if not query.get(name)]
        if missing:
            return errors.response(400, f"Parameter {missing[0]} is required")
        if rejection := await self._pause(query["image_url"]):
            return rejection
        return json_response({"url": _image_url(request, f"{query['image_url']} {query['width']}")})

    async def preview(self, request: Request) -> Response:
        account, query = self.account_of(request), request.query_params
        if isinstance(account, Response):
            return account
        prompt = query.get("text_prompt", "")
        seed = query.get("seed") or str(zlib.crc32(prompt.encode()) or 1)
        if error := _preview_error(prompt, seed, query.get("aspect_ratio", "16:9")):
            return errors.response(400, error)
        if rejection := await self._pause(prompt):
            return rejection
        if parse_directives(prompt).moderated:
            return errors.response(403, "The prompt did not pass moderation")
        return json_response({"url": _image_url(request, prompt), "seed": int(seed)})

    def account_of(self, request: Request) -> Account | Response:
        """Find the account of a call without a task; with several, `email` is required."""
        email = request.query_params.get("email")
        if email:
            return self._accounts.find(email) or errors.unknown_account()
        return self._accounts.only() or errors.response(400, "Parameter email is required")

    async def _pause(self, text: str) -> Response | None:
        """Take as long as the vendor; return the error that the directives in *text* demand."""
        directives = parse_directives(text)
        error = self._emulator.ledger.count_forced_error(errors.PROVIDER, text, directives)
        if error is None:
            await self._emulator.sleep(_SECONDS + directives.slow)
            return None
        body = errors.error_body(error.status)
        return json_response(body, error.status, retry_after_header(error.retry_after))


def _preview_error(prompt: str, seed: str, aspect_ratio: str) -> str | None:
    if not prompt:
        return "Parameter text_prompt is required"
    if not (seed.isascii() and seed.isdigit() and len(seed) <= _SEED_DIGITS):
        return "seed must be within 1…4294967294"
    return None if aspect_ratio in SIZES else f"aspect_ratio must be one of {', '.join(SIZES)}"


def _transcript(media_url: str, language: str) -> Json:
    at = rfc3339(now())
    words = [
        {
            "start": index * _MS_PER_WORD,
            "end": (index + 1) * _MS_PER_WORD,
            "text": word,
            "confidence": 1,
            "speaker": None,
        }
        for index, word in enumerate(_TRANSCRIPT)
    ]
    return {
        "id": str(uuid4()),
        "createdAt": at,
        "updatedAt": at,
        "userId": 1,
        "mediaUrl": media_url,
        "languageCode": language,
        "words": words,
        "status": "completed",
        "utterances": None,
    }


def _image_url(request: Request, text: str) -> str:
    return f"{request.base_url}{image(text).path}"
