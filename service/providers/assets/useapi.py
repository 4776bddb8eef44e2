"""Assets at useapi.net, uploaded to Runway (useapi.net/docs, post-runwayml-assets)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from service.domain.primitives.json_input import UnreadableJson
from service.providers.assets.protocol import (
    MEBIBYTE,
    AssetRules,
    NewAsset,
    ProviderAsset,
    Refusal,
    UploadCall,
    asset_id,
    asset_url,
)
from service.providers.kit.coercion import (
    as_bounded_list,
    as_dict,
    count,
    json_or_none,
    media_type,
    text,
)
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    is_success,
    message_of,
    rejection,
    retry_later,
)
from service.providers.kit.request_builder import get, segment
from service.providers.protocol import Call, Inconclusive, Reply
from service.providers.useapi.lookup import status_of

MAX_BYTES: Final = 200 * MEBIBYTE
"""A limit of ours: useapi.net documents none; Runway's own API takes 200 MB."""
_GONE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class UseApiAssets:
    """The assets of the Runway accounts behind useapi.net."""

    rules = AssetRules(
        max_bytes=MAX_BYTES,
        media_types=frozenset(
            {
                *(f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "mpo")),
                *(f"video/{kind}" for kind in ("mp4", "quicktime", "3gpp", "x-matroska", "x-flv")),
                *(f"video/{kind}" for kind in ("mpeg", "mp2t", "x-msvideo", "x-motion-jpeg")),
                *(f"video/{kind}" for kind in ("webm", "ogg")),
                *(f"audio/{kind}" for kind in ("wav", "wave", "mpeg", "flac", "ogg", "webm")),
            }
        ),
        has_accounts=True,
        page_size=50,
        max_offset=1000,
    )

    def upload(self, new: NewAsset) -> UploadCall:
        query = _with_account({"name": new.name}, new.account)
        return UploadCall(path=get("/assets/", query).path, media_type=new.media_type)

    def read_upload(self, reply: Reply) -> ProviderAsset | Refusal:
        if refusal := _refusal(reply):
            return refusal
        asset = _read(json_or_none(reply.body))
        return asset or Inconclusive(message="the answer has no asset id")

    def delete(self, provider_asset_id: str) -> Call | None:
        return Call(method="DELETE", path=f"/assets/{segment(provider_asset_id)}")

    def read_delete(self, reply: Reply) -> Refusal | None:
        status = status_of(reply, as_dict(json_or_none(reply.body)))
        return None if status in _GONE else _refusal(reply)

    def page(self, account: str | None, offset: int, limit: int) -> Call | None:
        query = {"offset": str(offset), "limit": str(limit)}
        return get("/assets/", _with_account(query, account))

    def read_page(self, reply: Reply) -> Sequence[ProviderAsset] | Refusal:
        if refusal := _refusal(reply):
            return refusal
        try:
            items = as_bounded_list(json_or_none(reply.body))
        except UnreadableJson as exc:
            return Inconclusive(message=f"the list of assets cannot be read: {exc}")
        return [asset for asset in map(_read, items) if asset is not None]


def _with_account(query: dict[str, str], account: str | None) -> dict[str, str]:
    return query if account is None else {**query, "email": account}


def _refusal(reply: Reply) -> Refusal | None:
    body = json_or_none(reply.body)
    status = status_of(reply, as_dict(body))
    if is_success(status):
        return None
    if status in BUSY_STATUSES:
        return retry_later(reply, message_of(body))
    return rejection(status, message_of(body))


def _read(item: Any) -> ProviderAsset | None:
    """Read an asset; None if it has no id. An upload has `size`, a list `fileSize`."""
    fields = as_dict(item)
    found = asset_id(fields.get("assetId"))
    if found is None:
        return None
    name, extension = text(fields.get("name")), text(fields.get("fileExtStandardized"))
    size = fields.get("size")
    return ProviderAsset(
        id=found,
        name=name,
        media_type=media_type(f".{extension}" if extension else None, name),
        size=count(fields.get("fileSize") if size is None else size),
        url=asset_url(fields.get("url")),
    )
