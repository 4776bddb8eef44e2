"""Callbacks as received."""

from service.domain.callbacks import Callback
from service.transactions.store_protocols import Filters, Page
from store.repositories.repository import Repository
from store.rows import decode_callback


class CallbackRepository(Repository):
    async def get(self, tenant: str, callback_id: str) -> Callback:
        row = await self._fetch_one("callback", "callback", tenant=tenant, id=callback_id)
        return decode_callback(row)

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Callback]:
        query = "list_callbacks_selective" if "job" in filters else "list_callbacks"
        rows = await self._list(query, filters, page, tenant=tenant)
        return [decode_callback(row) for row in rows]
