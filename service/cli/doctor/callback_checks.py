"""Checks whether providers can send callbacks: the public URL and the server behind it."""

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from service.cli.doctor.diagnostics import TIMEOUT_SECONDS, Diagnostic, Severity, ask
from service.domain.security.address_policy import is_blocked
from service.domain.security.callback_signer import CallbackSigner
from service.providers import providers_with_callbacks
from service.runtime.clock import now
from service.runtime.settings import Settings

_TEST_PROVIDER: Final = "useapi"
_FIX: Final = "set BELFRY_PUBLIC_URL to the URL that reaches this service from the internet"
_STATUS_MESSAGES: Final = {
    401: "the server requires authentication: allow POST /callbacks/ without it",
    403: "the server denies access: allow POST /callbacks/",
    404: "the callback URL is unknown: the service needs the same BELFRY_SECRET_KEYS, and a proxy "
    "must not change path or query",
    502: "a proxy responds but cannot reach the service: check HOST and PORT",
    503: "the service cannot write to its store, or a proxy cannot reach the service",
    504: "a proxy responds, but the service behind it does not",
}


async def check_callbacks(
    client: httpx.AsyncClient, settings: Settings, keys: tuple[str, ...]
) -> list[Diagnostic]:
    """Check the public URL; without one, only providers on this machine can send callbacks."""
    url = settings.public_url
    remote = [name for name in providers_with_callbacks() if settings.accounts[name].is_remote]
    if url is None and remote:
        message = f"BELFRY_PUBLIC_URL is not set, so {', '.join(remote)} cannot send callbacks"
        return [Diagnostic(Severity.ERROR, "callbacks", f"{message}: {_FIX}")]
    if url is None:
        message = "BELFRY_PUBLIC_URL is not set: only providers on this machine can send callbacks"
        return [Diagnostic(Severity.NOTE, "callbacks", message)]
    return [
        await _send_test_callback(client, url, keys),
        *await _check_address(url, has_remote_providers=bool(remote)),
    ]


async def _send_test_callback(
    client: httpx.AsyncClient, url: str, keys: tuple[str, ...]
) -> Diagnostic:
    """POST a signed callback for a job that does not exist.

    Messages must not contain the callback URL: its signature is a secret.
    """
    if not keys:
        message = "not checked: there is no secret key to sign a callback URL with"
        return Diagnostic(Severity.NOTE, "callbacks", message)
    ref = str(uuid4())
    token = CallbackSigner(keys).sign(_TEST_PROVIDER, ref, now())
    callback_url = f"{url}/callbacks/{_TEST_PROVIDER}/{ref}?t={token}"
    response = await ask(client, "POST", callback_url, b"{}")
    if isinstance(response, str):
        message = f"cannot reach {url} from this machine ({response}): {_FIX}"
        return Diagnostic(Severity.ERROR, "callbacks", message)
    status = response.status_code
    # Belfry answers a late or unreadable callback with 204 or 400 and no body; a 400 of another
    # server has a body.
    if status in (204, 400) and not response.content:
        message = f"{url} reaches this service, and the keys match"
        return Diagnostic(Severity.OK, "callbacks", message)
    if 300 <= status < 400:  # noqa: PLR2004
        problem = "the server redirects, which providers may not follow: set the final URL"
    else:
        problem = _STATUS_MESSAGES.get(
            status, "the server is not Belfry: route the URL to this service"
        )
    return Diagnostic(Severity.ERROR, "callbacks", f"{url}: {problem} (HTTP {status})")


async def _check_address(url: str, *, has_remote_providers: bool) -> list[Diagnostic]:
    """Check that the host of *url* resolves to public addresses, and that the scheme is https."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    addresses = await _resolve(host)
    if not addresses:
        message = f"cannot resolve {host}: check the spelling of BELFRY_PUBLIC_URL"
        return [Diagnostic(Severity.WARNING, "callbacks", message)]
    if private := next(filter(is_blocked, addresses), None):
        message = f"{host} resolves to {private}, which the internet cannot reach"
        if has_remote_providers:
            return [Diagnostic(Severity.WARNING, "callbacks", f"{message}: {_FIX}")]
        return [Diagnostic(Severity.NOTE, "callbacks", message)]
    if parts.scheme == "http":
        message = "http exposes the signatures of callback URLs: use a TLS proxy and https://…"
        return [Diagnostic(Severity.WARNING, "callbacks", message)]
    return []


async def _resolve(host: str) -> list[str]:
    """Return the IP addresses of *host*; none if it cannot be resolved in TIMEOUT_SECONDS."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
