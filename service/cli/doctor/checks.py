"""What `belfry doctor` looks at: keys, service, providers. No secret is in what it remarks."""

import ssl
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from handlers.health import Readiness
from service.cli.doctor.diagnostics import ClockSkew, Diagnostic, Severity, ask
from service.domain.jobs.results import ErrorCode, JobError
from service.providers.http_status import BUSY_STATUSES
from service.providers.protocol import AccountSettings, Call, Provider, Reply
from service.runtime.clients.provider_client import ProviderClient
from service.runtime.settings import ProviderAccount, Settings

_PROVIDER_SECONDS: Final = 10
_OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH


def check_keys(settings: Settings) -> tuple[tuple[str, ...], Diagnostic]:
    """Read the keys as a start would, but make none."""
    keys, file = settings.secret_keys, settings.keys_file
    if file is None:
        return keys, Diagnostic(Severity.OK, "keys", f"{len(keys)} in BELFRY_SECRET_KEYS")
    path = Path(file).absolute()
    try:
        keys, mode = tuple(path.read_text().split()), path.stat().st_mode
    except FileNotFoundError:
        message = f"no BELFRY_SECRET_KEYS and no {path}, which `belfry serve` makes as it starts"
        return (), Diagnostic(Severity.FAULT, "keys", message)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not text"
        message = f"{path} cannot be read ({why}): look as the user who runs `belfry serve`"
        return (), Diagnostic(Severity.FAULT, "keys", message)
    return keys, _kept(keys, path, mode)


def _kept(keys: tuple[str, ...], path: Path, mode: int) -> Diagnostic:
    if not keys:
        return Diagnostic(Severity.FAULT, "keys", f"{path} is empty: set BELFRY_SECRET_KEYS")
    if mode & _OTHERS_READ:
        message = f"{len(keys)} in {path}, which others may read: chmod 600 {path}"
        return Diagnostic(Severity.WARNING, "keys", message)
    return Diagnostic(Severity.OK, "keys", f"{len(keys)} in {path}")


async def check_service(client: httpx.AsyncClient, url: str, clock: ClockSkew) -> list[Diagnostic]:
    response = await ask(client, "GET", f"{url.rstrip('/')}/readyz")
    if isinstance(response, str):
        message = f"nothing answers at {_shown(url)} ({response}): start it with `belfry serve`"
        return [Diagnostic(Severity.FAULT, "service", message)]
    clock.compare("the service", response.headers.get("date"))
    try:
        state = msgspec.json.decode(response.content, type=Readiness)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = f"what answers at {_shown(url)} is not Belfry: set BELFRY_URL, or HOST and PORT"
        return [Diagnostic(Severity.FAULT, "service", f"{message} (HTTP {response.status_code})")]
    level = Severity.OK if state.ready else Severity.FAULT
    return [Diagnostic(level, "service", f"store: {state.store}, loops: {state.loops}")]


async def check_provider(
    settings: Settings, provider: Provider, tls: ssl.SSLContext, clock: ClockSkew
) -> list[Diagnostic]:
    account, token = settings.accounts[provider.name], provider.account.token_variable
    if account.token is None:
        return [Diagnostic(Severity.NOTE, provider.name, f"not set up: {token} is not set")]
    call = provider.check()
    if call is None:
        message = f"{token} is set; {provider.title} has no free read to try it with"
        return [Diagnostic(Severity.NOTE, provider.name, message)]
    return [await _tried(account, provider, call, tls, clock)]


async def _tried(
    account: ProviderAccount, provider: Provider, call: Call, tls: ssl.SSLContext, clock: ClockSkew
) -> Diagnostic:
    name, variables = provider.name, provider.account
    client = ProviderClient(account, tls)
    try:
        reply = await client.send(call, _PROVIDER_SECONDS)
    finally:
        await client.close()
    if not isinstance(reply, Reply):
        host, variable = urlsplit(account.base_url).hostname, variables.base_url_variable
        message = f"{host}: {reply.message}; is {variable} right?"
        return Diagnostic(Severity.FAULT, name, message)
    clock.compare(name, reply.headers.get("date"))
    error = provider.read_check(reply)
    if error is None:
        return Diagnostic(Severity.OK, name, f"{variables.token_variable} is accepted")
    level = Severity.WARNING if error.retryable or reply.status in BUSY_STATUSES else Severity.FAULT
    said = error.message.replace(account.token or "", "…").rstrip(".")
    return Diagnostic(level, name, f"{said}: {_mending(error, level, variables)}")


def _mending(error: JobError, level: Severity, variables: AccountSettings) -> str:
    if level is Severity.WARNING:
        return "look again later"
    if error.code is ErrorCode.UNAUTHORIZED:
        return f"set {variables.token_variable} to one that is valid"
    if error.code is ErrorCode.INSUFFICIENT_CREDITS:
        return "settle it with the provider"
    return f"set it up there, or set {variables.base_url_variable} right"


def _shown(url: str) -> str:
    """Leave out what may be secret in a URL that nobody has checked."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        return "BELFRY_URL"
