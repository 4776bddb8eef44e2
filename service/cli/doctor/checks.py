"""Checks of `belfry doctor`: keys, service and providers. Messages contain no secrets."""

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
from service.providers.kit.http_status import BUSY_STATUSES
from service.providers.protocol import Call, Provider, Reply
from service.runtime.clients.provider_client import ProviderClient
from service.runtime.settings import ProviderAccount, Settings

_PROVIDER_TIMEOUT_SECONDS: Final = 10
_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


def check_keys(settings: Settings) -> tuple[tuple[str, ...], Diagnostic]:
    """Return the secret keys and their diagnostic; unlike a start, create no keys."""
    keys = settings.secret_keys
    if settings.keys_file is None:
        message = f"found {len(keys)} in BELFRY_SECRET_KEYS"
        return keys, Diagnostic(Severity.OK, "keys", message)
    path = Path(settings.keys_file).absolute()
    try:
        keys, mode = tuple(path.read_text().split()), path.stat().st_mode
    except FileNotFoundError:
        message = (
            f"BELFRY_SECRET_KEYS is not set and {path} does not exist: start `belfry serve`, "
            "which creates it"
        )
        return (), Diagnostic(Severity.ERROR, "keys", message)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not text"
        message = f"cannot read {path} ({reason}): run doctor as the user of `belfry serve`"
        return (), Diagnostic(Severity.ERROR, "keys", message)
    if not keys:
        message = f"{path} is empty: set BELFRY_SECRET_KEYS"
        return keys, Diagnostic(Severity.ERROR, "keys", message)
    message = f"found {len(keys)} in {path}"
    if mode & _READABLE_BY_OTHERS:
        message = f"{message}, which other users can read: run chmod 600 {path}"
        return keys, Diagnostic(Severity.WARNING, "keys", message)
    return keys, Diagnostic(Severity.OK, "keys", message)


async def check_service(client: httpx.AsyncClient, url: str, clock: ClockSkew) -> list[Diagnostic]:
    """Read `/readyz` of the service at *url*."""
    shown_url = _without_secrets(url)
    response = await ask(client, "GET", f"{url.rstrip('/')}/readyz")
    if isinstance(response, str):
        message = f"cannot reach {shown_url} ({response}): start it with `belfry serve`"
        return [Diagnostic(Severity.ERROR, "service", message)]
    clock.compare("the service", response.headers.get("date"))
    try:
        state = msgspec.json.decode(response.content, type=Readiness)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = (
            f"the server at {shown_url} is not Belfry (HTTP {response.status_code}): "
            "set BELFRY_URL, or HOST and PORT"
        )
        return [Diagnostic(Severity.ERROR, "service", message)]
    severity = Severity.OK if state.ready else Severity.ERROR
    return [Diagnostic(severity, "service", f"store: {state.store}, loops: {state.loops}")]


async def check_provider(
    settings: Settings, provider: Provider, tls: ssl.SSLContext, clock: ClockSkew
) -> list[Diagnostic]:
    """Check the credential of *provider* with a free request, if the provider has one."""
    name, account = provider.name, settings.accounts[provider.name]
    variables = provider.account
    token_variable, base_url_variable = variables.token_variable, variables.base_url_variable
    if account.token is None:
        return [Diagnostic(Severity.NOTE, name, f"not configured: {token_variable} is not set")]
    call = provider.check()
    if call is None:
        message = f"{token_variable} is set; {provider.title} has no free request to check it with"
        return [Diagnostic(Severity.NOTE, name, message)]
    client = ProviderClient(account, tls, provider.account.credential)
    try:
        reply = await client.send(call, _PROVIDER_TIMEOUT_SECONDS)
    finally:
        await client.close()
    if not isinstance(reply, Reply):
        host = urlsplit(account.base_url).hostname
        message = f"{host}: {reply.message}; check {base_url_variable}"
        return [Diagnostic(Severity.ERROR, name, message)]
    clock.compare(name, reply.headers.get("date"))
    error = provider.read_check(reply)
    if error is None:
        message = (
            f"{token_variable} is accepted{_describe_accounts(provider, account, call, reply)}"
        )
        return [Diagnostic(Severity.OK, name, message)]
    problem = error.message.replace(account.token, "…").rstrip(".")
    if error.retryable or reply.status in BUSY_STATUSES:
        return [Diagnostic(Severity.WARNING, name, f"{problem}: try again later")]
    fix = _suggest_fix(error, token_variable, base_url_variable)
    return [Diagnostic(Severity.ERROR, name, f"{problem}: {fix}")]


def _describe_accounts(
    provider: Provider, account: ProviderAccount, call: Call, reply: Reply
) -> str:
    """Describe the linked accounts, if *call* has asked for them; their names are not shown."""
    linked = provider.account.linked
    limits = linked.read(reply) if linked is not None and linked.call == call else None
    if limits is None:
        return ""
    cap = account.max_jobs if account.is_max_jobs_set else max(limits.values(), default=0)
    numbers = ", ".join(str(min(cap, limit)) for limit in limits.values())
    return f"; linked accounts: {len(limits)}" + (f"; jobs at once: {numbers}" if limits else "")


def _suggest_fix(error: JobError, token_variable: str, base_url_variable: str) -> str:
    if error.code is ErrorCode.UNAUTHORIZED:
        return f"set {token_variable} to a valid credential"
    if error.code is ErrorCode.INSUFFICIENT_CREDITS:
        return "add credits or renew the subscription at the provider"
    return f"check the account at the provider, and {base_url_variable}"


def _without_secrets(url: str) -> str:
    """Return scheme and host of an unchecked *url*: user, path and query may be secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        return "BELFRY_URL"
