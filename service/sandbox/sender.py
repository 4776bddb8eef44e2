"""The sender: POSTs callbacks as the providers do, again and again until a 2xx or the last try."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.ledger import CallbackTry, Json, LedgerTask, now
from service.sandbox.scenario import FORGED, Callback

# Runware documents 250 ms, doubled up to 8 s; useapi.net documents nothing, so this is a guess.
RUNWARE_WAITS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
USEAPI_WAITS: Final = (1.0, 1.0)
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "belfry-sandbox"}
_MAX_PORT: Final = 65535
# Runware wants its 2xx within about five seconds. Waiting for a free connection costs no time.
_TIMEOUT: Final = httpx.Timeout(5.0, pool=None)


def open_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers=_HEADERS,
        timeout=_TIMEOUT,
        limits=httpx.Limits(max_connections=10),
        trust_env=False,
        follow_redirects=False,
    )


class CallbackSender:
    """Sends callbacks through *client*; the *waits* between tries are scaled by *pace*."""

    def __init__(self, client: httpx.AsyncClient, pace: float) -> None:
        self._client = client
        self._pace = pace

    async def send(self, task: LedgerTask, callback: Callback, waits: Sequence[float]) -> None:
        """Deliver *callback*, unless nobody asked for it or *task* is no longer tracked."""
        if task.reply_url is None:
            return
        if callback.kind == FORGED:
            await self._try(task, forge(task.reply_url), callback)
            return
        for wait in (*waits, None):
            if await self._try(task, task.reply_url, callback) or wait is None:
                return
            await asyncio.sleep(wait * self._pace)

    async def _try(self, task: LedgerTask, url: str, callback: Callback) -> bool:
        status_code = await self._post(url, callback.body)
        task.callbacks.append(
            CallbackTry(at=rfc3339(now()), status_code=status_code, kind=callback.kind)
        )
        return status_code is not None and httpx.codes.is_success(status_code)

    async def _post(self, url: str, body: Json) -> int | None:
        try:
            response = await self._client.post(url, content=msgspec.json.encode(body))
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return response.status_code


def forge(url: str) -> str:
    """Break the signature in the `t` of *url*, or add one that nobody made."""
    parts = urlsplit(url)
    pairs = [pair for pair in parts.query.split("&") if pair]
    if not any(pair.startswith("t=") for pair in pairs):
        pairs.append("t=forged")
    return urlunsplit(parts._replace(query="&".join(_mangled(pair) for pair in pairs)))


def _mangled(pair: str) -> str:
    """Change a letter in the middle: the last one of a base64 text may be without meaning."""
    if not pair.startswith("t="):
        return pair
    at = 2 + (len(pair) - 2) * 3 // 4
    return pair[:at] + ("A" if pair[at : at + 1] != "A" else "B") + pair[at + 1 :]


def is_callable_url(url: object) -> bool:
    """Say whether *url* is text that a callback could be sent to."""
    try:
        parsed = httpx.URL(url) if isinstance(url, str) else httpx.URL()
        named = bool(parsed.host) and (parsed.port or 80) <= _MAX_PORT
    except (httpx.InvalidURL, ValueError):
        return False
    return named and parsed.scheme in {"http", "https"}
