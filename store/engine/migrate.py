"""Brings the schema of a database up to date."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from service.domain.primitives.errors import StartError
from store.engine.dialect import Migration

Execute = Callable[[str], Awaitable[Iterable[Mapping[str, Any]]]]
"""Runs one statement and returns its rows."""


async def migrate(execute: Execute, migrations: Sequence[Migration]) -> None:
    """Apply the *migrations* that are missing; the caller has opened the transaction.

    StartError when the database has migrations that this version does not know.
    """
    await execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY)")
    applied = {row["name"] for row in await execute("SELECT name FROM migrations")}
    if unknown := sorted(applied - {migration.name for migration in migrations}):
        raise StartError(
            "BELFRY_DATABASE_URL: the database was made by another version of Belfry, which has "
            f"the migration {unknown[-1]}; use that version or a later one"
        )
    for migration in migrations:
        if migration.name not in applied:
            for statement in migration.statements:
                await execute(statement)
            await execute(f"INSERT INTO migrations (name) VALUES ('{migration.name}')")  # noqa: S608 - a file name of ours
