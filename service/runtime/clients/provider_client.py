"""The HTTP client for providers: httpx, one small pool each, and what became of a request."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import msgspec
import structlog

from service.providers.protocol import Call, Inconclusive, Provider, Reply, RetryLater
from service.runtime.clients.webhook_client import USER_AGENT
from service.runtime.settings import ProviderAccount

MAX_ANSWER: Final = 16 * 1024 * 1024
RECONNECT_SECONDS: Final = 3
"""How long a provider is left alone that cannot be reached at all."""
_POOL: Final = httpx.Limits(max_connections=10, max_keepalive_connections=10)
Trace = Callable[[str, Any], Awaitable[None]]
"""Told by httpcore what a request does, by the names of its documentation's page "Extensions"."""
log = structlog.get_logger()


class ProviderClient:
    """Sends calls to one provider, with its credential, through one small pool."""

    def __init__(self, account: ProviderAccount, context: ssl.SSLContext) -> None:
        self._account = account
        self._client = httpx.AsyncClient(
            verify=context,
            limits=_POOL,
            trust_env=False,
            follow_redirects=False,
            headers={"user-agent": USER_AGENT, "accept": "application/json"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, call: Call, timeout_seconds: float) -> Reply | RetryLater | Inconclusive:
        """Send *call*: Busy when no byte of it left, Unknown when it left and no answer came.

        Whatever goes wrong is told in this way, because nobody else can tell the two apart.
        """
        has_left = False

        async def trace(event: str, _: Any) -> None:
            nonlocal has_left
            has_left = has_left or event == "http11.send_request_headers.started"

        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._send(call, timeout_seconds, trace)
        except Exception as exc:
            if not isinstance(exc, httpx.HTTPError | httpx.InvalidURL | OSError):
                log.exception("provider.failed")
            if has_left:
                return Inconclusive(message=f"no answer: {type(exc).__name__}")
            message = f"cannot connect: {type(exc).__name__}"
            return RetryLater(message=message, retry_after_seconds=RECONNECT_SECONDS)

    async def _send(self, call: Call, timeout_seconds: float, trace: Trace) -> Reply | Inconclusive:
        headers = {"authorization": f"Bearer {self._account.token}"}
        if call.body is not None:
            headers["content-type"] = "application/json"
        async with self._client.stream(
            call.method,
            self._account.base_url + call.path,
            content=call.body,
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=10, pool=None),
            extensions={"trace": trace},
        ) as response:
            parts, size = [], 0
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    return Inconclusive(message=f"an answer of more than {MAX_ANSWER} bytes")
            lowered = {name.lower(): value for name, value in response.headers.items()}
            return Reply(status=response.status_code, headers=lowered, body=b"".join(parts))


class ProviderChannel(msgspec.Struct, frozen=True, kw_only=True):
    """How we reach one provider, and where it reaches us."""

    provider: Provider
    client: ProviderClient
    max_jobs: int
    callback_base: str
