"""The HTTP client for webhooks: aiohttp, guarded, to receivers whose URLs strangers gave."""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from os import strerror
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from service.domain.deliveries.retry_policy import ATTEMPT_SECONDS, EXCERPT_BYTES, AttemptResult
from service.domain.security.address_policy import Network, is_blocked
from service.runtime.clients import request_timing as stopwatch
from service.runtime.clients.request_timing import Timings, mark, milliseconds
from service.runtime.clock import Clock

LOOKUP_SECONDS: Final = 5
_LOOKUPS: Final = 16
MAX_HEADERS: Final = 32
MAX_HEADER: Final = 256
_PRIVATE_HEADERS: Final = frozenset({"set-cookie", "authorization", "www-authenticate"})
_NOT_ALLOWED: Final = "the receiver's address is not allowed; BELFRY_ALLOW_TARGETS may allow it"
_BLOCKED: Final[ContextVar[list[str]]] = ContextVar("blocked")
"""The addresses that the POST of this task was kept from: for the log alone."""
USER_AGENT: Final = f"Belfry/{version('belfry')}"
log = structlog.get_logger()


class BlockedAddress(OSError):
    """The name of a receiver leads to an address we never connect to."""


class WebhookClient:
    """POSTs to receivers. The socket factory sees each final address: the one choke point.

    It never has more than *max_sockets* open, and half as many POSTs under way.
    """

    def __init__(self, clock: Clock, allowed: Sequence[Network], max_sockets: int) -> None:
        self._clock, self._allowed = clock, tuple(allowed)
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "lookup")
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                max_sockets,
                socket_factory=self._socket,
                resolver=_Resolver(self._lookups),
                ttl_dns_cache=30,
                ssl=stopwatch.timed_context(),
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_blocked(str(address[0]), self._allowed):
            _BLOCKED.get([]).append(str(address[0]))
            raise BlockedAddress(_NOT_ALLOWED)
        mark("connecting")
        return socket.socket(family, kind, protocol)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AttemptResult:
        """POST once and say what came of it; every failure of the other side is an Outcome."""
        at, laps = self._clock(), stopwatch.start()
        blocked: list[str] = []
        _BLOCKED.set(blocked)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                result = await self._attempt(url, body, headers, at)
        except TimeoutError:
            result = AttemptResult(at=at, duration_ms=0, error=f"no answer in {ATTEMPT_SECONDS} s")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            error = _NOT_ALLOWED if blocked else _describe(exc)
            result = AttemptResult(at=at, duration_ms=0, error=error)
        if blocked:
            log.warning("delivery.blocked", host=URL(url, encoded=True).host, addresses=blocked)
        return _timed(result, laps)

    async def _attempt(
        self, url: str, body: bytes, headers: Mapping[str, str], at: int
    ) -> AttemptResult:
        async with self._session.post(
            URL(url, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
        ) as response:
            mark("answered")
            excerpt = await _read_some(response.content)
            return AttemptResult(
                at=at,
                duration_ms=0,
                status_code=response.status,
                excerpt=_text(excerpt, response.headers.get("content-encoding", "identity")),
                retry_after_seconds=retry_after(response.headers.get("retry-after"), at),
                headers=_shown_headers(response.headers),
            )


class _Connector(aiohttp.TCPConnector):
    """Keeps idle connections as long as *max_sockets* leaves room; its own limit ignores them."""

    def __init__(self, max_sockets: int, **named: Any) -> None:
        super().__init__(limit=max_sockets // 2, **named)
        self._max_sockets = max_sockets

    async def connect(self, *args: Any, **named: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **named)
        mark("connected")
        return connection

    async def _create_connection(self, *args: Any) -> ResponseHandler:
        """Close the oldest idle connections first: each new one may take two sockets."""
        idle = sum(len(connections) for connections in self._conns.values())
        for _ in range(idle + 2 * len(self._acquired) - self._max_sockets):
            if not self._conns:
                break
            key, connections = next(iter(self._conns.items()))
            connections.popleft()[0].abort()
            if not connections:
                del self._conns[key]
        return await super()._create_connection(*args)

    async def _resolve_host(self, *args: Any, **named: Any) -> list[ResolveResult]:
        return two_addresses(await super()._resolve_host(*args, **named))


def two_addresses(found: list[ResolveResult]) -> list[ResolveResult]:
    """Choose what to connect to, from both families if there are both.

    All that are chosen are tried at once, 0.25 s apart (RFC 8305), each with a socket of its own.
    The next attempt tries others: aiohttp turns the list round with every use.
    """
    others = [one for one in found if one["family"] != found[0]["family"]]
    return [*found[:1], *others[:1]] if others else found[:2]


def _timed(result: AttemptResult, laps: Timings) -> AttemptResult:
    mark("over")
    reached = "reached" if "reached" in laps else "connected"
    return msgspec.structs.replace(
        result,
        duration_ms=milliseconds(laps, "started", "over"),
        dns_ms=milliseconds(laps, "looking", "found"),
        connect_ms=milliseconds(laps, "connecting", reached),
        tls_ms=milliseconds(laps, "reached", "connected"),
        first_byte_ms=milliseconds(laps, "started", "answered"),
    )


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Keep what helps to find a fault; never what may be a credential."""
    named = [(name.lower(), value) for name, value in headers.items()]
    plain = [(n, v) for n, v in named if n not in _PRIVATE_HEADERS and v.isprintable()]
    return {name: value[:MAX_HEADER] for name, value in plain[:MAX_HEADERS]}


def _text(excerpt: bytes, encoding: str) -> str:
    """Show what can be read of an answer; of one that is compressed, unasked, that is nothing."""
    if encoding.lower() != "identity":
        return f"({encoding[:MAX_HEADER]}, not unpacked)"
    return excerpt.decode("utf-8", "replace").replace("\x00", "\ufffd")


async def _read_some(content: aiohttp.StreamReader) -> bytes:
    """Read up to the cap; an answer that ends before it leaves the connection usable."""
    parts, size = [], 0
    while size < EXCERPT_BYTES and (part := await content.read(EXCERPT_BYTES - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def retry_after(value: str | None, at: int) -> int | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return int(value[:9])
    try:
        return max(0, int(parsedate_to_datetime(value).timestamp()) - at // 1_000_000)
    except (TypeError, ValueError, OverflowError):
        return None


def _describe(exc: BaseException) -> str:
    """Say what went wrong, without the URL, whose query may bear a secret, and any address.

    To which address a name leads inside our network is not for the tenant to know.
    """
    cause: BaseException = exc
    while (inner := cause.__cause__ or getattr(cause, "os_error", None)) is not None:
        cause = inner
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or 'handshake failed'}"
    text = str(cause)
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror):
        text = strerror(cause.errno) if cause.errno else "the connection failed"
    return f"{type(cause).__name__}: {text}"[:300]


class _Resolver(AbstractResolver):
    """Look-ups in a pool of their own with a time limit, so that slow DNS starves nobody else."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        mark("looking")
        async with asyncio.timeout(LOOKUP_SECONDS):
            found = await loop.run_in_executor(self._pool, _look_up, host, port, family)
        mark("found")
        return [_result(host, port, info) for info in found]

    async def close(self) -> None:
        """Nothing to close: the pool belongs to the poster."""


def _look_up(host: str, port: int, family: int) -> list[Any]:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)


def _result(host: str, port: int, info: Any) -> ResolveResult:
    family, _, protocol, _, address = info
    return ResolveResult(
        hostname=host,
        host=address[0],
        port=port,
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST,
    )
