"""Reads files from URLs of tenants, through the guard of the webhook client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
import structlog
from yarl import URL

from service.runtime.clients.webhook_client import (
    BLOCKED,
    NOT_ALLOWED,
    WebhookClient,
    describe_failure,
)

IDLE_SECONDS: Final = 20
"""The time for the response to begin, and for each of its parts."""
_TOO_SLOW: Final = f"nothing came for {IDLE_SECONDS} s"
log = structlog.get_logger()


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is being read: media type in lower case, bytes if announced, and its parts."""

    media_type: str
    size: int | None
    chunks: AsyncIterator[bytes]


class DownloadFailed(Exception):
    """A file cannot be read; the message says why, without the URL and any address."""


@asynccontextmanager
async def download(client: WebhookClient, url: str) -> AsyncIterator[Download]:
    """Read the file at *url*; DownloadFailed also comes from its chunks.

    Redirects and compressed files are failures. The caller limits the size and the whole time.
    """
    async with AsyncExitStack() as stack:
        response = await _connect(client, url, stack)
        if response.status != HTTPStatus.OK:
            raise DownloadFailed(f"the answer has HTTP status {response.status}, not 200")
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise DownloadFailed("the file is compressed")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        yield Download(
            media_type=media_type,
            size=response.content_length,
            chunks=_chunks(response.content),
        )


async def _connect(
    client: WebhookClient, url: str, stack: AsyncExitStack
) -> aiohttp.ClientResponse:
    blocked: list[str] = []
    BLOCKED.set(blocked)
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await stack.enter_async_context(client.get(url))
    except TimeoutError:
        raise DownloadFailed(_TOO_SLOW) from None
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        if blocked:
            host = URL(url, encoded=True).host
            log.warning("download.blocked", host=host, addresses=blocked)
        raise DownloadFailed(NOT_ALLOWED if blocked else describe_failure(exc)) from exc


async def _chunks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    try:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await content.readany()
            if not chunk:
                return
            yield chunk
    except TimeoutError:
        raise DownloadFailed(_TOO_SLOW) from None
    except (aiohttp.ClientError, OSError) as exc:
        raise DownloadFailed(describe_failure(exc)) from exc
