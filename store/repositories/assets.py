"""Assets: files that were uploaded to providers."""

from collections.abc import Sequence

from msgspec.structs import asdict

from service.domain.assets import Asset, asset_uuid
from service.transactions.store_protocols import Page
from store.engine.session import Values
from store.repositories.repository import Repository, fetch_one
from store.rows import decode


class AssetRepository(Repository):
    async def add(self, asset: Asset) -> None:
        async with self._database.writing() as session:
            await session.queue("add_asset", **_encode(asset))

    async def finish(self, asset: Asset) -> None:
        async with self._database.writing() as session:
            await session.queue("finish_asset", **_encode(asset))

    async def get(self, tenant: str, asset_id: str) -> Asset:
        return decode(await self._fetch_one("asset", "asset", tenant=tenant, id=asset_id), Asset)

    async def find(
        self, tenant: str, provider: str, limit: int, cursor: str | None = None
    ) -> list[Asset]:
        page = Page(limit=limit, cursor=cursor)
        rows = await self._list("list_assets", {"provider": provider}, page, tenant=tenant)
        return [decode(row, Asset) for row in rows]

    async def by_uuid(self, uuids: Sequence[str]) -> list[Asset]:
        async with self._database.reading() as session:
            rows = await session.fetch("assets_by_uuid", uuids=list(uuids))
        return [decode(row, Asset) for row in rows]

    async def delete(self, tenant: str, asset_id: str) -> None:
        async with self._database.writing() as session:
            await fetch_one(session, "delete_asset", "asset", tenant=tenant, id=asset_id)


def _encode(asset: Asset) -> Values:
    return {
        **asdict(asset),
        "status": asset.status.value,
        "uuid": asset_uuid(asset.provider_asset_id),
    }
