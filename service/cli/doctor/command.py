"""`belfry doctor`: prints one line per check, and for each problem how to fix it."""

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
    Severity.ERROR: "bold red",
}


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Check the service that *environ* configures; return 1 if there is an error, else 0."""
    console = Console(highlight=False)
    with console.status("Checking …"):
        diagnostics = asyncio.run(diagnose(environ))
    for diagnostic in diagnostics:
        console.print(_format(diagnostic), soft_wrap=True)
    return 1 if any(one.severity is Severity.ERROR for one in diagnostics) else 0


async def diagnose(environ: Mapping[str, str]) -> list[Diagnostic]:
    """Run all checks; with invalid settings report those only."""
    try:
        settings = from_env(environ)
    except SettingsError as exc:
        return [
            Diagnostic(Severity.ERROR, "settings", f"{error.path}: {error.message}")
            for error in exc.errors
        ]
    keys, keys_diagnostic = check_keys(settings)
    url = environ.get("BELFRY_URL") or settings.local_url
    network_diagnostics = await _check_network(settings, keys, url)
    return [_summarise_settings(settings), keys_diagnostic, *network_diagnostics]


def _summarise_settings(settings: Settings) -> Diagnostic:
    database = "SQLite" if settings.is_sqlite else "PostgreSQL"
    configured = sum(account.token is not None for account in settings.accounts.values())
    message = f"{database}, {configured} of {len(settings.accounts)} providers configured"
    return Diagnostic(Severity.OK, "settings", message)


async def _check_network(settings: Settings, keys: tuple[str, ...], url: str) -> list[Diagnostic]:
    """Check the service at *url*, the callbacks and all providers concurrently."""
    tls, clock = ssl.create_default_context(), ClockSkew()
    async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=None) as client:  # noqa: S113 - each check has its own timeout
        results = await asyncio.gather(
            check_service(client, url, clock),
            check_callbacks(client, settings, keys),
            *(check_provider(settings, one, tls, clock) for one in registry().values()),
        )
    return [*chain.from_iterable(results), clock.diagnostic()]


def _format(diagnostic: Diagnostic) -> Text:
    """Format one line; control characters in a provider's message must not reach the terminal."""
    severity = (f"{diagnostic.severity:<9}", _COLOURS[diagnostic.severity])
    message = "".join(char if char.isprintable() else " " for char in diagnostic.message)
    return Text.assemble(severity, f"{diagnostic.subject:<16}", message)
