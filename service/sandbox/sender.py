"""The callback sender: POSTs callbacks and retries until a 2xx, as the providers do."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.ledger import CallbackAttempt, LedgerTask, now
from service.sandbox.scenario import FORGED, PROGRESS, Callback

# Seconds between attempts. Runware documents 250 ms, doubled up to 8 s; useapi.net documents
# nothing, so its values are a guess.
RUNWARE_RETRY_DELAYS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
USEAPI_RETRY_DELAYS: Final = (1.0, 1.0)
# Replicate: several retries on an exponential backoff, the last after about a minute
# (replicate.com/docs/topics/webhooks/receive-webhook). Luma: three, 100 ms apart
# (docs.lumalabs.ai/changelog/callbacks-and-credits-balance).
REPLICATE_RETRY_DELAYS: Final = (2.0, 4.0, 8.0, 16.0, 30.0)
LUMA_RETRY_DELAYS: Final = (0.1, 0.1, 0.1)
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "belfry-sandbox"}
_MAX_PORT: Final = 65535
# Runware expects a 2xx within about five seconds. The wait for a free connection is unlimited.
_TIMEOUT: Final = httpx.Timeout(5.0, pool=None)


class DeliveryRules(msgspec.Struct, frozen=True, kw_only=True):
    """What only some providers do.

    *success_status* is the only status that ends the retries; None: any 2xx. *retries_progress*:
    callbacks before the last one are retried too.
    """

    success_status: int | None = None
    retries_progress: bool = True

    def is_success(self, status_code: int | None) -> bool:
        """Tell whether a response ends the retries; None is no response."""
        if status_code is None or self.success_status is None:
            return status_code is not None and httpx.codes.is_success(status_code)
        return status_code == self.success_status


def open_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers=_HEADERS,
        timeout=_TIMEOUT,
        limits=httpx.Limits(max_connections=10),
        trust_env=False,
        follow_redirects=False,
    )


class CallbackSender:
    """Sends callbacks through *client*; *pace* multiplies the delays between attempts."""

    def __init__(self, client: httpx.AsyncClient, pace: float) -> None:
        self._client = client
        self._pace = pace

    async def send(
        self,
        task: LedgerTask,
        callback: Callback,
        retry_delays: Sequence[float],
        rules: DeliveryRules,
    ) -> None:
        """Send *callback* to the task's reply URL; do nothing if it has none (any more).

        Retry after each of *retry_delays* (seconds) until a success. A forged callback is sent
        once, with an invalid signature of the vendor if there is one, else of the URL.
        """
        url, body = task.reply_url, msgspec.json.encode(callback.body)
        if url is None:
            return
        if callback.kind == FORGED:
            signed = task.sign(body) if task.sign else {}
            forged = {
                name: value[:-1] + ("0" if value[-1] != "0" else "1")
                for name, value in signed.items()
            }
            await self._attempt(
                task, url if signed else forge_signature(url), callback, body, forged
            )
            return
        if callback.kind == PROGRESS and not rules.retries_progress:
            retry_delays = ()
        for delay in (*retry_delays, None):
            headers = task.sign(body) if task.sign else {}
            status_code = await self._attempt(task, url, callback, body, headers)
            if rules.is_success(status_code) or delay is None:
                return
            await asyncio.sleep(delay * self._pace)

    async def _attempt(
        self,
        task: LedgerTask,
        url: str,
        callback: Callback,
        body: bytes,
        headers: dict[str, str],
    ) -> int | None:
        status_code = await self._post(url, body, headers)
        task.callbacks.append(
            CallbackAttempt(at=rfc3339(now()), status_code=status_code, kind=callback.kind)
        )
        return status_code

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> int | None:
        try:
            response = await self._client.post(url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return response.status_code


def forge_signature(url: str) -> str:
    """Make the signature in the `t` parameter of *url* invalid; add an invalid one if missing."""
    parts = urlsplit(url)
    pairs = [pair for pair in parts.query.split("&") if pair]
    if not any(pair.startswith("t=") for pair in pairs):
        pairs.append("t=forged")
    query = "&".join(_change_signature(pair) for pair in pairs)
    return urlunsplit(parts._replace(query=query))


def _change_signature(pair: str) -> str:
    """Change one character at three quarters of the value of `t=`.

    Not the last one: the last character of a base64 text may hold unused bits only.
    """
    if not pair.startswith("t="):
        return pair
    at = 2 + (len(pair) - 2) * 3 // 4
    return pair[:at] + ("A" if pair[at : at + 1] != "A" else "B") + pair[at + 1 :]


def is_http_url(url: object) -> bool:
    """Tell whether *url* is an http or https URL with a host and a valid port."""
    try:
        parsed = httpx.URL(url) if isinstance(url, str) else httpx.URL()
        has_address = bool(parsed.host) and (parsed.port or 80) <= _MAX_PORT
    except (httpx.InvalidURL, ValueError):
        return False
    return has_address and parsed.scheme in {"http", "https"}
