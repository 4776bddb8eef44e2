"""Belfry remembers here: one store over SQLite or PostgreSQL."""

from service.errors import StartError
from service.ports import Store


async def open_store(database_url: str, at: int) -> Store:
    """Open the database and bring its schema up to date.

    SQLite has one process, so what an earlier one held is free again *at* once. StartError says
    which setting is at fault.
    """
    from store.sql import SqlStore
    from store.sqlite import open_sqlite

    if not database_url.startswith("sqlite:///"):
        raise StartError("BELFRY_DATABASE_URL: this version keeps its store in sqlite:///PATH")
    store = SqlStore(await open_sqlite(database_url))
    await store.void_leases(at)
    return store
