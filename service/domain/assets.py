"""Assets: files of a tenant that were uploaded to a provider, as inputs of jobs."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.primitives.timestamps import SECOND

UPLOAD_SECONDS: Final = 600
"""The time for one upload, from the first byte of the file to the provider's answer."""
_UUID: Final = re.compile(
    "-(?<=[0-9a-fA-F]{8}-)(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # begins with a rare character
)
_BEFORE: Final = 8
"""Characters of a UUID before its first dash."""
_WINDOW: Final = 65_536
"""Characters searched at once: other threads wait until a search has ended."""
_UUID_LENGTH: Final = 36


class AssetStatus(StrEnum):
    """What is known of an upload."""

    UPLOADING = "uploading"
    READY = "ready"
    UNKNOWN = "unknown"
    """The provider may have the file or not: its answer was lost, or this service was stopped."""


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One file of *tenant* at *account* of *provider*; *size* is in bytes, None until it is known.

    *provider_asset_id* is what jobs use as their input; None unless the asset is ready.
    """

    id: str
    tenant: str
    provider: str
    account: str
    name: str
    media_type: str
    created_at: int
    status: AssetStatus = AssetStatus.UPLOADING
    provider_asset_id: str | None = None
    size: int | None = None
    url: str | None = None

    def status_at(self, at: int) -> AssetStatus:
        """The status at that time: an upload that is not over in time was interrupted."""
        is_late = at > self.created_at + (UPLOAD_SECONDS + 60) * SECOND
        if self.status is AssetStatus.UPLOADING and is_late:
            return AssetStatus.UNKNOWN
        return self.status


def uuids_in(text: str) -> set[str]:
    """Find the UUIDs in *text*, in lower case.

    The ids of assets are UUIDs (Runware), or end with one (useapi.net).
    """
    found = set()
    for start in range(0, len(text), _WINDOW):
        for match in _UUID.finditer(text, start, start + _WINDOW + _UUID_LENGTH):
            found.add(text[match.start() - _BEFORE : match.end()].lower())
    return found


def asset_uuid(provider_asset_id: str | None) -> str | None:
    """The UUID by which the asset of this id is found; the last one, if there are several."""
    text = provider_asset_id or ""
    matches = list(_UUID.finditer(text))
    return text[matches[-1].start() - _BEFORE : matches[-1].end()].lower() if matches else None


def foreign_uuids(assets: Sequence[Asset], tenant: str, provider: str) -> set[str]:
    """The UUIDs of *assets* that belong only to other tenants at *provider*."""
    owners: dict[str | None, set[str]] = {}
    for asset in assets:
        if asset.provider == provider:
            owners.setdefault(asset_uuid(asset.provider_asset_id), set()).add(asset.tenant)
    return {uuid for uuid, tenants in owners.items() if uuid and tenant not in tenants}
