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

from service.cli.doctor.callback_checks import check_callbacks
from service.cli.doctor.checks import check_keys, check_provider, check_service
from service.cli.doctor.diagnostics import ClockSkew, Diagnostic, Severity
from service.providers import registry
from service.runtime.settings import Settings, SettingsError, from_env

_COLOURS: Final = {
    Severity.OK: "green",
    Severity.NOTE: "dim",
    Severity.WARNING: "yellow",
    Severity.FAULT: "bold red",
}


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Report on the service that *environ* describes; 1 if anything is at fault."""
    console = Console(highlight=False)
    with console.status("Looking …"):
        remarks = asyncio.run(examine(environ))
    for remark in remarks:
        console.print(_line(remark), soft_wrap=True)
    return 1 if any(remark.level is Severity.FAULT for remark in remarks) else 0


async def examine(environ: Mapping[str, str]) -> list[Diagnostic]:
    try:
        settings = from_env(environ)
    except SettingsError as exc:
        told = (f"{error.path}: {error.message}" for error in exc.errors)
        return [Diagnostic(Severity.FAULT, "settings", message) for message in told]
    keys, remark = check_keys(settings)
    url = environ.get("BELFRY_URL") or settings.local_url
    return [_summary(settings), remark, *await _look_around(settings, keys, url)]


def _summary(settings: Settings) -> Diagnostic:
    database = "SQLite" if settings.is_sqlite else "PostgreSQL"
    set_up = sum(account.token is not None for account in settings.accounts.values())
    message = f"{database}, {set_up} of {len(settings.accounts)} providers set up"
    return Diagnostic(Severity.OK, "settings", message)


async def _look_around(settings: Settings, keys: tuple[str, ...], url: str) -> list[Diagnostic]:
    """Ask everybody at once, so that the slowest alone is waited for."""
    tls, clock = ssl.create_default_context(), ClockSkew()
    async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=None) as client:  # noqa: S113 - each look has a limit of its own
        found = await asyncio.gather(
            check_service(client, url, clock),
            check_callbacks(client, settings, keys),
            *(check_provider(settings, one, tls, clock) for one in registry().values()),
        )
    return [*chain.from_iterable(found), clock.remark()]


def _line(remark: Diagnostic) -> Text:
    """Lay out one line; a stranger's words must not move the cursor or change the colours."""
    level = (f"{remark.level:<9}", _COLOURS[remark.level])
    message = "".join(char if char.isprintable() else " " for char in remark.message)
    return Text.assemble(level, f"{remark.about:<11}", message)
