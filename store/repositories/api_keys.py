"""API keys in the store."""

from service.domain.primitives.errors import NotFound
from service.domain.security.api_keys import Key
from service.transactions.store_protocols import Page
from store.repositories.repository import LAST, Part
from store.rows import key_of, key_row


class DoorStore(Part):
    async def put_key(self, key: Key) -> None:
        """Keep *key*; nothing changes if it is there already."""
        async with self._database.writing() as session:
            await session.run("put_key", **key_row(key))

    async def key_by_hash(self, key_hash: str) -> Key | None:
        async with self._database.reading() as session:
            rows = await session.rows("key_by_hash", hash=key_hash)
        return key_of(rows[0]) if rows else None

    async def key_exists(self, key_id: str) -> bool:
        """Say whether a key is still there, and was not revoked."""
        async with self._database.reading() as session:
            return bool(await session.rows("key_exists", id=key_id))

    async def keys(self, page: Page) -> list[Key]:
        async with self._database.reading() as session:
            rows = await session.rows("list_keys", cursor=page.cursor or LAST, limit=page.limit)
        return [key_of(row) for row in rows]

    async def delete_key(self, key_id: str) -> None:
        async with self._database.writing() as session:
            if not await session.rows("delete_key", id=key_id):
                raise NotFound("There is no such key.")

    async def has_keys(self) -> bool:
        async with self._database.reading() as session:
            return bool(await session.rows("has_keys"))
