"""`belfry migrate-store`: from one machine to many."""

import asyncio
import sys

import click

from service.domain.primitives.errors import StartError
from service.runtime.settings import from_env


@click.command("migrate-store")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def migrate_store(source: str, target: str) -> None:
    """Copy a stopped SQLite store (sqlite:///PATH) to an empty postgresql:// database."""
    for url, scheme in ((source, "sqlite:"), (target, "postgres")):
        if not url.startswith(scheme):
            raise click.UsageError("FROM is sqlite:///PATH and TO is postgresql://…")
    try:
        from_env({"BELFRY_DATABASE_URL": target, "BELFRY_SECRET_KEYS": "k" * 64})
        asyncio.run(_copy(source, target))
    except StartError as exc:
        raise click.ClickException(str(exc)) from exc
    keys = source.removeprefix("sqlite:///") + ".keys"
    click.echo(
        "\nEvery row is there. Now start Belfry with BELFRY_DATABASE_URL set to the new database\n"
        f"and BELFRY_SECRET_KEYS to the old keys: as they were set, or the content of {keys}.\n"
        "Without them no callback URL handed out before would be valid."
    )


async def _copy(source: str, target: str) -> None:
    try:
        from store.copy_to_postgres import copy_store
    except ImportError:
        sys.exit("PostgreSQL needs its driver: pip install 'belfry[postgres]'")
    await copy_store(source, target, lambda table, rows: click.echo(f"{table:16}{rows:>12,}"))
