"""`belfry migrate-store`: copies a SQLite store to PostgreSQL."""

import asyncio
import sys

import click

from service.domain.primitives.errors import StartError
from service.runtime.settings import from_env


@click.command("migrate-store")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def migrate_store(source: str, target: str) -> None:
    """Copy a SQLite store to PostgreSQL.

    FROM is sqlite:///PATH, TO is postgresql://USER:PASSWORD@HOST/DATABASE. The service must be
    stopped and the new database empty. Copies everything or nothing, and prints the number of
    rows by table.
    """
    for url, scheme in ((source, "sqlite:"), (target, "postgres")):
        if not url.startswith(scheme):
            raise click.UsageError("FROM is sqlite:///PATH and TO is postgresql://…")
    try:
        # Checks the target URL. A PostgreSQL setting requires keys, but the copy needs none.
        from_env({"BELFRY_DATABASE_URL": target, "BELFRY_SECRET_KEYS": "k" * 64})
        asyncio.run(_copy(source, target))
    except StartError as exc:
        raise click.ClickException(str(exc)) from exc
    keys = source.removeprefix("sqlite:///") + ".keys"
    click.echo(
        "\nCopied every row. Start Belfry with BELFRY_DATABASE_URL set to the new database and\n"
        f"BELFRY_SECRET_KEYS set to the old keys: the old value, or the content of {keys}.\n"
        "Without these keys, the callback URLs issued so far are invalid."
    )


async def _copy(source: str, target: str) -> None:
    try:
        from store.copy_to_postgres import copy_store
    except ImportError:
        sys.exit("PostgreSQL needs its driver: pip install 'belfry[postgres]'")
    await copy_store(source, target, lambda table, rows: click.echo(f"{table:16}{rows:>12,}"))
