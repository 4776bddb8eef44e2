"""Assets at Runware: images, uploaded by a task (runware.ai/docs/platform/image-upload).

Runware deletes an image 30 days after its last use; it has no request that deletes or lists them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from service.domain.jobs.results import ErrorCode, ErrorStage
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
from service.providers.kit.coercion import json_or_none
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    is_success,
    message_of,
    rejection,
    retry_later,
)
from service.providers.protocol import Call, Inconclusive, Reply
from service.providers.runware.errors import classify, error_of
from service.providers.runware.items import read_items

MAX_BYTES: Final = 20 * MEBIBYTE
"""A limit of ours: Runware documents none, and scales images down to 2048 pixels."""
_END: Final = b'"}]'
"""What follows the image in the body."""


class RunwareAssets:
    """The images uploaded to Runware."""

    rules = AssetRules(
        max_bytes=MAX_BYTES, media_types=frozenset({"image/png", "image/jpeg", "image/webp"})
    )

    def upload(self, new: NewAsset) -> UploadCall:
        image = f"data:{new.media_type};base64,"
        task = {"taskType": "imageUpload", "taskUUID": new.ref, "image": image}
        before = msgspec.json.encode([task]).removesuffix(_END)
        return UploadCall(
            path="", media_type="application/json", before=before, after=_END, in_base64=True
        )

    def read_upload(self, reply: Reply) -> ProviderAsset | Refusal:
        body = json_or_none(reply.body)
        try:
            items = read_items(body)
        except UnreadableJson:
            items = []
        for item in items:
            if found := asset_id(item.fields.get("imageUUID")):
                return ProviderAsset(id=found, url=asset_url(item.fields.get("imageURL")))
        failures = [item.fields for item in items if item.is_failure]
        if failures:
            error = error_of(failures[0], ErrorStage.SUBMIT)
            is_vague = classify(error.provider_code) is None
            if error.code is ErrorCode.RATE_LIMITED or (is_vague and reply.status in BUSY_STATUSES):
                return retry_later(reply, error.message)
            if is_success(reply.status) or not is_vague:
                return error
        if reply.status in BUSY_STATUSES:
            return retry_later(reply, message_of(body))
        if not is_success(reply.status):
            return rejection(reply.status, message_of(body))
        return Inconclusive(message="the answer has no image id")

    def delete(self, provider_asset_id: str) -> Call | None:  # noqa: ARG002 - there is no such request
        return None

    def read_delete(self, reply: Reply) -> Refusal | None:  # noqa: ARG002
        return None

    def page(self, account: str | None, offset: int, limit: int) -> Call | None:  # noqa: ARG002
        return None

    def read_page(self, reply: Reply) -> Sequence[ProviderAsset] | Refusal:  # noqa: ARG002
        return []
