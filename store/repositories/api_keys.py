"""API keys in the store."""

from service.domain.primitives.errors import NotFound
from service.domain.security.api_keys import ApiKey
from service.transactions.store_protocols import Page
from store.repositories.repository import LAST, Repository
from store.rows import key_of, key_row


class ApiKeyRepository(Repository):
    async def put_key(self, key: ApiKey) -> None:
        """Keep *key*; nothing changes if it is there already."""
        async with self._database.writing() as session:
            await session.queue("put_key", **key_row(key))

    async def key_by_hash(self, key_hash: str) -> ApiKey | None:
        async with self._database.reading() as session:
            rows = await session.fetch("key_by_hash", hash=key_hash)
        return key_of(rows[0]) if rows else None

    async def key_exists(self, key_id: str) -> bool:
        """Say whether a key is still there, and was not revoked."""
        async with self._database.reading() as session:
            return bool(await session.fetch("key_exists", id=key_id))

    async def keys(self, page: Page) -> list[ApiKey]:
        async with self._database.reading() as session:
            rows = await session.fetch("list_keys", cursor=page.cursor or LAST, limit=page.limit)
        return [key_of(row) for row in rows]

    async def delete_key(self, key_id: str) -> None:
        async with self._database.writing() as session:
            if not await session.fetch("delete_key", id=key_id):
                raise NotFound("There is no such key.")

    async def has_keys(self) -> bool:
        async with self._database.reading() as session:
            return bool(await session.fetch("has_keys"))
