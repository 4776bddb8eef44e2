"""The HTTP client for providers (httpx): one small pool for each, and how each request ended."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import msgspec
import structlog

from service.providers.assets.protocol import UploadCall
from service.providers.protocol import (
    Call,
    Credential,
    Inconclusive,
    Provider,
    Reply,
    RetryLater,
    bearer,
)
from service.runtime.clients.upload_body import UploadBody
from service.runtime.clients.webhook_client import USER_AGENT
from service.runtime.clock import Clock, now
from service.runtime.settings import ProviderAccount

MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
RECONNECT_SECONDS: Final = 3
"""The pause after a failed attempt to connect to a provider."""
JOB_CONNECTIONS: Final = 10
UPLOAD_CONNECTIONS: Final = 8
"""The most connections of one client, for jobs and for uploads."""
_POOL: Final = httpx.Limits(
    max_connections=JOB_CONNECTIONS, max_keepalive_connections=JOB_CONNECTIONS
)
_UPLOAD_POOL: Final = httpx.Limits(max_connections=UPLOAD_CONNECTIONS, max_keepalive_connections=2)
"""Uploads take long; they have their own connections, so that no job waits for them."""
UPLOAD_IDLE_SECONDS: Final = 20.0
"""The time for a connection, and for the provider to take the next bytes of a file."""
UPLOAD_ANSWER_SECONDS: Final = 120.0
Trace = Callable[[str, Any], Awaitable[None]]
"""Called by httpcore with each step of a request; https://www.encode.io/httpcore/extensions/."""
log = structlog.get_logger()


class ProviderClient:
    """Sends calls to one provider through one small pool; *credential* authenticates them."""

    def __init__(
        self,
        account: ProviderAccount,
        context: ssl.SSLContext,
        credential: Credential = bearer,
        clock: Clock = now,
    ) -> None:
        self._account, self._credential, self._clock = account, credential, clock
        self._client, self._upload_client = (
            httpx.AsyncClient(
                verify=context,
                limits=limits,
                trust_env=False,
                follow_redirects=False,
                headers={"user-agent": USER_AGENT, "accept": "application/json"},
            )
            for limits in (_POOL, _UPLOAD_POOL)
        )

    async def close(self) -> None:
        await self._client.aclose()
        await self._upload_client.aclose()

    async def send(self, call: Call, timeout_seconds: float) -> Reply | RetryLater | Inconclusive:
        """Send *call* and return the response, whatever its status.

        RetryLater when the request was not sent, so that it is safe to repeat; Inconclusive when it
        was sent but no complete response came. No error of the request is raised: only here is it
        known whether the request was sent.
        """
        was_sent = False

        async def trace(step: str, _: Any) -> None:
            nonlocal was_sent
            was_sent = was_sent or step == "http11.send_request_headers.started"

        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._send(call, timeout_seconds, trace)
        except Exception as exc:
            if not isinstance(exc, httpx.HTTPError | httpx.InvalidURL | OSError):
                log.exception("provider.failed")
            if was_sent:
                return Inconclusive(message=f"no answer: {type(exc).__name__}")
            message = f"cannot connect: {type(exc).__name__}"
            return RetryLater(message=message, retry_after_seconds=RECONNECT_SECONDS)

    async def _send(self, call: Call, timeout_seconds: float, trace: Trace) -> Reply | Inconclusive:
        headers = {} if call.body is None else {"content-type": "application/json"}
        headers |= call.headers
        is_absolute = call.path.startswith(("https://", "http://"))
        if not is_absolute:
            headers |= self._credential(self._account.token or "", self._clock())
        async with self._client.stream(
            call.method,
            call.path if is_absolute else self._account.base_url + call.path,
            content=call.body,
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=10, pool=None),
            extensions={"trace": trace},
        ) as response:
            return await _read(response)

    async def upload(
        self,
        call: UploadCall,
        file: AsyncIterator[bytes],
        size: int | None,
        timeout_seconds: float,
    ) -> Reply | RetryLater | Inconclusive:
        """Send *call* with *file* as it comes; *size* is that of the file in bytes, if known.

        RetryLater when the provider cannot have the whole file; Inconclusive when it may have it,
        but no complete response came. What *file* raises is raised.
        """
        body = UploadBody(call, file)
        headers = {"content-type": call.media_type}
        if (length := body.length(size)) is not None:
            headers["content-length"] = str(length)
        headers |= self._credential(self._account.token or "", self._clock())
        url = self._account.base_url + call.path
        timeout = httpx.Timeout(UPLOAD_IDLE_SECONDS, read=UPLOAD_ANSWER_SECONDS)
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._upload_client.stream(
                    "POST", url, content=body, headers=headers, timeout=timeout
                ) as response,
            ):
                return await _read(response)
        except Exception as exc:
            if body.error is not None:
                raise body.error from None
            if not isinstance(exc, httpx.HTTPError | httpx.InvalidURL | OSError):
                log.exception("provider.failed")
            if body.complete:
                return Inconclusive(message=f"no answer: {type(exc).__name__}")
            message = f"the upload did not succeed: {type(exc).__name__}"
            return RetryLater(message=message, retry_after_seconds=RECONNECT_SECONDS)


async def _read(response: httpx.Response) -> Reply | Inconclusive:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return Inconclusive(message=f"an answer of more than {MAX_RESPONSE_BYTES} bytes")
    lowered = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status=response.status_code, headers=lowered, body=b"".join(parts))


class ProviderChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A provider with its client; *callback_base* is the start of the callback URLs it is given.

    *max_jobs* is how many jobs may be in progress at its account at once, see
    `ProviderAccount`.
    """

    provider: Provider
    client: ProviderClient
    max_jobs: int
    is_max_jobs_set: bool = False
    callback_base: str
