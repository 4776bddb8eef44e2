"""The store: Belfry's data in SQLite or PostgreSQL."""

from service.domain.primitives.errors import StartError, Unavailable
from service.transactions.store_protocols import Store
from store.engine.session import Database


async def open_store(database_url: str, at: int) -> Store:
    """Open the database and apply missing migrations.

    On SQLite, leases of an earlier process end *at* once (microseconds), because only one process
    can use the file. StartError names the setting that is wrong.
    """
    from store.sql_store import SqlStore

    store = SqlStore(await _open(database_url))
    try:
        await store.expire_leases(at)
    except Unavailable as exc:
        await store.close()
        raise StartError(f"BELFRY_DATABASE_URL: {exc}") from exc
    return store


async def _open(database_url: str) -> Database:
    """Import only the driver that is used."""
    if database_url.startswith("sqlite:"):
        from store.engine.sqlite import open_sqlite

        return await open_sqlite(database_url)
    try:
        from store.engine.postgres import open_postgres
    except ImportError as exc:
        raise StartError(
            "BELFRY_DATABASE_URL: PostgreSQL needs its driver: pip install 'belfry[postgres]'"
        ) from exc
    return await open_postgres(database_url)
