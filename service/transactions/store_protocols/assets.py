"""What the service asks of the store about assets."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.assets import Asset


class AssetStore(Protocol):
    async def add(self, asset: Asset) -> None: ...
    async def finish(self, asset: Asset) -> None:
        """Write what became of an upload, unless the asset was deleted in the meantime."""

    async def get(self, tenant: str, asset_id: str) -> Asset: ...
    async def find(
        self, tenant: str, provider: str, limit: int, cursor: str | None = None
    ) -> list[Asset]:
        """Up to *limit* assets before *cursor* (the id of the last one seen), newest first."""

    async def by_uuid(self, uuids: Sequence[str]) -> list[Asset]:
        """The assets of all tenants whose id at the provider has one of these UUIDs."""

    async def delete(self, tenant: str, asset_id: str) -> None: ...
