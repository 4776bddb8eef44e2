"""The asset calls of useapi.net: upload, list, show, delete."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.providers.useapi import errors
from service.sandbox.providers.useapi.accounts import Account
from service.sandbox.providers.useapi.assets import EXTENSIONS, AssetStore, is_example
from service.sandbox.web import json_response

_MAX_OFFSET: Final = 1000
_MAX_LIMIT: Final = 50
_KINDS: Final = (None, "image", "video", "audio")

AccountFinder = Callable[[Request], Account | Response]
"""Finds the account a request is for, or the response that rejects it."""


class AssetCalls:
    """The handlers of `/assets`; *account_of* finds the account of an upload and of a list."""

    def __init__(self, assets: AssetStore, account_of: AccountFinder) -> None:
        self._assets = assets
        self._account_of = account_of

    async def upload(self, request: Request) -> Response:
        """Take a file: the body is its content, the Content-Type its media type."""
        account = self._account_of(request)
        if isinstance(account, Response):
            return account
        name = request.query_params.get("name")
        if not name:
            return errors.response(400, "Parameter name is required")
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in EXTENSIONS:
            return errors.response(400, f"Content-Type must be one of {', '.join(EXTENSIONS)}")
        content = await request.body()
        if not content:
            return errors.response(400, "The body must be the content of the file")
        asset = self._assets.upload(account.email, name, media_type, len(content))
        return json_response(asset.uploaded())

    async def list_newest(self, request: Request) -> Response:
        account, query = self._account_of(request), request.query_params
        if isinstance(account, Response):
            return account
        offset, limit = _number(query.get("offset")), _number(query.get("limit"))
        if offset is None or offset > _MAX_OFFSET or not limit or limit > _MAX_LIMIT:
            return errors.response(400, "Parameters offset (0…1000) and limit (1…50) are required")
        if query.get("mediaType") not in _KINDS:
            return errors.response(400, "mediaType must be video, image or audio")
        found = self._assets.newest(account.email, query.get("mediaType"))
        return json_response([asset.listed() for asset in found[offset : offset + limit]])

    async def show(self, request: Request) -> Response:
        asset = self._assets.find(request.path_params["asset_id"])
        return (
            errors.response(404, "Not found.") if asset is None else json_response(asset.listed())
        )

    async def delete(self, request: Request) -> Response:
        asset = self._assets.find(request.path_params["asset_id"])
        if asset is None:
            return errors.response(404, "Not found.")
        if is_example(asset.asset_id):
            return errors.response(400, "The example image of the sandbox cannot be deleted")
        self._assets.delete(asset.asset_id)
        return Response(status_code=204)


def _number(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= 4  # noqa: PLR2004
    return int(text) if text and is_number else None
