"""Whether providers can call back: the address, and what answers there."""

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from service.cli.doctor.diagnostics import ANSWER_SECONDS, Diagnostic, Severity, ask
from service.domain.security.address_policy import is_blocked
from service.domain.security.callback_signer import CallbackSigner
from service.providers import providers_with_callbacks
from service.runtime.clock import now
from service.runtime.settings import Settings

_TRIED: Final = "useapi"
_FROM_OUTSIDE: Final = "set BELFRY_PUBLIC_URL to the address that leads here from outside"
_ANSWERS: Final = {
    401: "a password is asked for: let POST /callbacks/ through without one",
    403: "access is refused: let POST /callbacks/ through",
    404: "something answers, but not with these keys: it needs the same BELFRY_SECRET_KEYS, and a "
    "proxy must leave path and query as they are",
    502: "a proxy answers, but finds no service behind it: is it where HOST and PORT say?",
    503: "the service cannot write its store, or a proxy finds no service behind it",
    504: "a proxy answers, but the service behind it does not",
}


async def check_callbacks(
    client: httpx.AsyncClient, settings: Settings, keys: tuple[str, ...]
) -> list[Diagnostic]:
    url, far = (
        settings.public_url,
        [one for one in providers_with_callbacks() if settings.accounts[one].is_remote],
    )
    if url is None and far:
        message = f"BELFRY_PUBLIC_URL is not set, so {', '.join(far)} cannot call back"
        return [Diagnostic(Severity.FAULT, "callbacks", f"{message}: {_FROM_OUTSIDE}")]
    if url is None:
        message = "BELFRY_PUBLIC_URL is not set: only providers on this machine can call back"
        return [Diagnostic(Severity.NOTE, "callbacks", message)]
    return [await _reach(client, url, keys), *await _check_address(url, wanted=bool(far))]


async def _reach(client: httpx.AsyncClient, url: str, keys: tuple[str, ...]) -> Diagnostic:
    """Call back as a provider would, for a job that never was; the URL used is a secret."""
    if not keys:
        return Diagnostic(Severity.NOTE, "callbacks", "not tried: there is no key to sign with")
    ref = str(uuid4())
    token = CallbackSigner(keys).sign(_TRIED, ref, now())
    path = f"{url}/callbacks/{_TRIED}/{ref}?t={token}"
    response = await ask(client, "POST", path, b"{}")
    if isinstance(response, str):
        message = f"{url} cannot be reached from here ({response}): {_FROM_OUTSIDE}"
        return Diagnostic(Severity.FAULT, "callbacks", message)
    # late or unreadable, as the service says it: others' 400 comes with a page
    if response.status_code in (204, 400) and not response.content:
        return Diagnostic(Severity.OK, "callbacks", f"{url} leads here, and the keys fit")
    return Diagnostic(Severity.FAULT, "callbacks", f"{url}: {_stray(response.status_code)}")


def _stray(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004
        told = "it redirects, which providers need not follow: give BELFRY_PUBLIC_URL as it ends up"
    else:
        told = _ANSWERS.get(status, "what answers is not Belfry: let it lead to this service")
    return f"{told} (HTTP {status})"


async def _check_address(url: str, *, wanted: bool) -> list[Diagnostic]:
    """Judge the address as providers far away would see it; *wanted* if there are any."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    found = await _resolved(host)
    if not found:
        message = f"the name {host} is not known here: is BELFRY_PUBLIC_URL spelt as it should be?"
        return [Diagnostic(Severity.WARNING, "callbacks", message)]
    if private := next(filter(is_blocked, found), None):
        message = f"{host} is {private}, which cannot be reached from outside"
        level = Severity.WARNING if wanted else Severity.NOTE
        return [
            Diagnostic(level, "callbacks", f"{message}: {_FROM_OUTSIDE}" if wanted else message)
        ]
    if parts.scheme == "http":
        message = "http lets others read the signatures: put TLS in front and set https://…"
        return [Diagnostic(Severity.WARNING, "callbacks", message)]
    return []


async def _resolved(host: str) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
