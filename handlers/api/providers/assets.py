"""Endpoints for assets: upload, list, get, delete."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from starlette.exceptions import HTTPException

from handlers.http.bodies import announced_size, media_type_of, read_chunks
from handlers.http.endpoint import ApiRequest, NoQuery, Reply
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.assets import (
    AssetCreate,
    AssetView,
    ProviderAssetView,
    render_asset,
    render_provider_asset,
)
from service.domain.assets import Asset
from service.domain.primitives.errors import FieldError, Forbidden, Invalid
from service.domain.primitives.ids import is_seq
from service.domain.security.address_policy import url_error
from service.domain.security.api_keys import Scope
from service.providers.assets.protocol import AssetRules
from service.providers.kit.coercion import media_type
from service.runtime.clients.file_download import Download, DownloadFailed, download
from service.workers.asset_manager import File

MAX_NAME: Final = 255
"""Characters of an asset's name."""
_DEFAULT_NAME: Final = "asset"
_ACCOUNT: Final = re.compile(r"[^\s@]{1,100}@[^\s@]{1,200}")
_UNTYPED: Final = ("", "application/octet-stream", "binary/octet-stream")
"""Media types that say nothing, so that the name of a file counts."""


class UploadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of an upload whose body is the file."""

    name: str | None = None
    account: str | None = None


class AssetsQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list of assets; *account* is for all assets of an account."""

    all: Literal["true"] | None = None
    account: str | None = None

    def is_cursor(self, text: str) -> bool:
        return is_seq(text) if self.all else super().is_cursor(text)


async def upload(request: ApiRequest[UploadQuery]) -> Reply[AssetView]:
    """Upload a file to the provider: the body, or as JSON the URL of a file to be read."""
    context, provider = request.context, _provider(request)
    rules = context.assets.rules(provider)
    with context.assets.admitted(request.tenant):
        if media_type_of(request.http_request) == "application/json":
            asset = await _upload_url(request, provider, rules)
        else:
            asset = await _upload_body(request, provider, rules)
    location = f"/v1/providers/{provider}/assets/{asset.id}"
    view = render_asset(asset, context.clock())
    return Reply(view, HTTPStatus.CREATED, {"location": location})


async def list_assets(
    request: ApiRequest[AssetsQuery],
) -> ListResponse[AssetView] | ListResponse[ProviderAssetView]:
    """List your assets, newest first; `all=true`: those of the account (scope `admin`)."""
    context, query, provider = request.context, request.query, _provider(request)
    rules = context.assets.rules(provider)
    if query.all:
        return await _list_all(request, provider, rules)
    if query.account is not None:
        raise Invalid([FieldError("?account", "is only for all=true")])
    page = query.page()
    found = await context.store.assets.find(request.tenant, provider, page.limit, page.cursor)
    views = [render_asset(asset, context.clock()) for asset in found]
    return paginate(views, query.limit, [asset.id for asset in found])


async def get(request: ApiRequest[NoQuery]) -> AssetView:
    """Get an asset."""
    context = request.context
    asset = await context.assets.get(request.tenant, _provider(request), request.id("ast"))
    return render_asset(asset, context.clock())


async def delete(request: ApiRequest[NoQuery]) -> None:
    """Delete an asset, also at the provider if it can delete assets."""
    await request.context.assets.delete(request.tenant, _provider(request), request.id("ast"))


async def _upload_body(request: ApiRequest[UploadQuery], provider: str, rules: AssetRules) -> Asset:
    http_request, query = request.http_request, request.query
    kind = media_type_of(http_request)
    if kind not in rules.media_types:
        raise HTTPException(415, f"Content-Type must be {_allowed(rules)}, or JSON with a url.")
    size = announced_size(http_request, rules.max_bytes)
    name = _checked_name(query.name or _DEFAULT_NAME, "?name")
    account = _checked_account(query.account, rules, "?account")
    chunks = await _begun(read_chunks(http_request, rules.max_bytes), "")
    file = File(name=name, media_type=kind, size=size, chunks=chunks, account=account)
    return await request.context.assets.upload(request.tenant, provider, file)


async def _upload_url(request: ApiRequest[UploadQuery], provider: str, rules: AssetRules) -> Asset:
    context = request.context
    given = await request.body(AssetCreate)
    if error := url_error(given.url, context.settings.allow_targets):
        raise Invalid([FieldError("url", error)])
    if request.query.name is not None or request.query.account is not None:
        raise Invalid([FieldError("", "name and account are fields of the JSON body here")])
    path = unquote(urlsplit(given.url).path).rpartition("/")[2]
    name = _checked_name(given.name or path[-MAX_NAME:] or _DEFAULT_NAME, "name")
    account = _checked_account(given.account, rules, "account")
    try:
        async with download(context.webhook_client, given.url) as found:
            file = File(
                name=name,
                media_type=_media_type(found, rules, name, path),
                size=found.size,
                chunks=await _begun(_limited(found, rules.max_bytes), "url"),
                account=account,
            )
            return await context.assets.upload(request.tenant, provider, file)
    except DownloadFailed as exc:
        raise Invalid([FieldError("url", f"cannot be read: {exc}")]) from exc


async def _list_all(
    request: ApiRequest[AssetsQuery], provider: str, rules: AssetRules
) -> ListResponse[ProviderAssetView]:
    query = request.query
    if not request.principal.may(Scope.ADMIN):
        raise Forbidden("The list of all assets of an account needs the scope admin.")
    account = _checked_account(query.account, rules, "?account")
    offset, limit = int(query.page().cursor or 0), min(query.limit, rules.page_size)
    if offset > rules.max_offset:
        raise Invalid([FieldError("?cursor", "must be a next_cursor of this list")])
    found = await request.context.assets.page(provider, account, offset, limit)
    more = len(found) >= limit and offset + limit <= rules.max_offset
    return ListResponse(
        data=[render_provider_asset(provider, one, recorded) for one, recorded in found],
        next_cursor=str(offset + limit) if more else None,
    )


def _provider(request: ApiRequest[Any]) -> str:
    return str(request.http_request.path_params["provider"])


def _allowed(rules: AssetRules) -> str:
    return f"one of {', '.join(sorted(rules.media_types))}"


def _checked_name(name: str, path: str) -> str:
    if len(name) > MAX_NAME or not name.isprintable():
        raise Invalid([FieldError(path, f"may have at most {MAX_NAME} printable characters")])
    return name


def _checked_account(account: str | None, rules: AssetRules, path: str) -> str | None:
    """Return the account suffix, in lower case as jobs have it."""
    if account is None:
        return None
    if not rules.has_accounts:
        raise Invalid([FieldError(path, "cannot be chosen: the provider has one account")])
    if not _ACCOUNT.fullmatch(account):
        raise Invalid([FieldError(path, "must be an e-mail address")])
    return account.lower()


def _media_type(found: Download, rules: AssetRules, *names: str) -> str:
    kind = found.media_type
    if kind in _UNTYPED:
        kind = media_type(*names) or kind
    if kind not in rules.media_types:
        raise Invalid([FieldError("url", f"the file must be {_allowed(rules)}")])
    return kind


async def _limited(found: Download, max_bytes: int) -> AsyncIterator[bytes]:
    too_large = Invalid([FieldError("url", f"the file may have at most {max_bytes} bytes")])
    if found.size is not None and found.size > max_bytes:
        raise too_large
    size = 0
    async for chunk in found.chunks:
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        yield chunk


async def _begun(chunks: AsyncIterator[bytes], path: str) -> AsyncIterator[bytes]:
    """Read the first part, before anything is stored or sent; Invalid if the file is empty."""
    first = await anext(chunks, b"")
    if not first:
        raise Invalid([FieldError(path, "the file is empty")])

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return whole()
