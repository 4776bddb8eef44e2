"""`belfry doctor`: one line for each thing that serving needs, and how to mend what is amiss."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from itertools import chain
from typing import Final

import httpx
from rich.console import Console
from rich.text import Text

from service.cli.doctor.callback_checks import look_at_callbacks
from service.cli.doctor.checks import look_at_keys, look_at_provider, look_at_service
from service.cli.doctor.diagnostics import Clock, Level, Remark
from service.providers import registry
from service.runtime.settings import Settings, SettingsError, from_env

_COLOURS: Final = {
    Level.OK: "green",
    Level.NOTE: "dim",
    Level.WARNING: "yellow",
    Level.FAULT: "bold red",
}


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Report on the service that *environ* describes; 1 if anything is at fault."""
    console = Console(highlight=False)
    with console.status("Looking …"):
        remarks = asyncio.run(examine(environ))
    for remark in remarks:
        console.print(_line(remark), soft_wrap=True)
    return 1 if any(remark.level is Level.FAULT for remark in remarks) else 0


async def examine(environ: Mapping[str, str]) -> list[Remark]:
    try:
        settings = from_env(environ)
    except SettingsError as exc:
        told = (f"{fault.path}: {fault.message}" for fault in exc.faults)
        return [Remark(Level.FAULT, "settings", message) for message in told]
    keys, remark = look_at_keys(settings)
    url = environ.get("BELFRY_URL") or settings.local_url
    return [_summary(settings), remark, *await _look_around(settings, keys, url)]


def _summary(settings: Settings) -> Remark:
    database = "SQLite" if settings.is_sqlite else "PostgreSQL"
    set_up = sum(account.token is not None for account in settings.accounts.values())
    message = f"{database}, {set_up} of {len(settings.accounts)} providers set up"
    return Remark(Level.OK, "settings", message)


async def _look_around(settings: Settings, keys: tuple[str, ...], url: str) -> list[Remark]:
    """Ask everybody at once, so that the slowest alone is waited for."""
    tls, clock = ssl.create_default_context(), Clock()
    async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=None) as client:  # noqa: S113 - each look has a limit of its own
        found = await asyncio.gather(
            look_at_service(client, url, clock),
            look_at_callbacks(client, settings, keys),
            *(look_at_provider(settings, one, tls, clock) for one in registry().values()),
        )
    return [*chain.from_iterable(found), clock.remark()]


def _line(remark: Remark) -> Text:
    """Lay out one line; a stranger's words must not move the cursor or change the colours."""
    level = (f"{remark.level:<9}", _COLOURS[remark.level])
    message = "".join(char if char.isprintable() else " " for char in remark.message)
    return Text.assemble(level, f"{remark.about:<11}", message)
