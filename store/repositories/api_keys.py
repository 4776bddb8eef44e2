"""API keys."""

from service.domain.primitives.errors import NotFound
from service.domain.security.api_keys import ApiKey
from service.transactions.store_protocols import Page
from store.repositories.repository import Repository
from store.rows import decode_key, encode_key


class ApiKeyRepository(Repository):
    async def put(self, key: ApiKey) -> None:
        async with self._database.writing() as session:
            await session.queue("put_key", **encode_key(key))

    async def by_hash(self, key_hash: str) -> ApiKey | None:
        async with self._database.reading() as session:
            rows = await session.fetch("key_by_hash", hash=key_hash)
        return decode_key(rows[0]) if rows else None

    async def exists(self, key_id: str) -> bool:
        async with self._database.reading() as session:
            return bool(await session.fetch("key_exists", id=key_id))

    async def find(self, page: Page) -> list[ApiKey]:
        rows = await self._list("list_keys", {}, page)
        return [decode_key(row) for row in rows]

    async def delete(self, key_id: str) -> None:
        async with self._database.writing() as session:
            if not await session.fetch("delete_key", id=key_id):
                raise NotFound("There is no such key.")

    async def is_empty(self) -> bool:
        async with self._database.reading() as session:
            return not await session.fetch("has_keys")
