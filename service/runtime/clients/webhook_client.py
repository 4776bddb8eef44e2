"""The HTTP client for webhooks (aiohttp); it never connects to the addresses we block.

The receivers' URLs come from tenants, who must not reach the operator's internal network.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
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
from service.domain.primitives.retry_after import retry_after_seconds
from service.domain.security.address_policy import Network, is_blocked
from service.runtime.clients import request_timing
from service.runtime.clients.request_timing import Timings, mark, milliseconds
from service.runtime.clock import Clock

LOOKUP_SECONDS: Final = 5
_LOOKUP_THREADS: Final = 16
MAX_HEADERS: Final = 32
MAX_HEADER: Final = 256
"""Characters of a response header that are kept."""
_PRIVATE_HEADERS: Final = frozenset({"set-cookie", "authorization", "www-authenticate"})
NOT_ALLOWED: Final = "the receiver's address is not allowed; BELFRY_ALLOW_TARGETS may allow it"
BLOCKED: Final[ContextVar[list[str]]] = ContextVar("blocked")
"""The blocked addresses of the current request; only the log may show them, not the tenant."""
USER_AGENT: Final = f"Belfry/{version('belfry')}"
log = structlog.get_logger()


class BlockedAddress(OSError):
    """The host of a receiver resolves to an address that we never connect to."""


class WebhookClient:
    """Sends webhooks.

    All connections pass the socket factory, which checks the resolved address. The client has at
    most *max_sockets* sockets open and half as many requests in progress.
    """

    def __init__(self, clock: Clock, allowed: Sequence[Network], max_sockets: int) -> None:
        self._clock, self._allowed = clock, tuple(allowed)
        self._lookups = ThreadPoolExecutor(_LOOKUP_THREADS, "lookup")
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                max_sockets,
                socket_factory=self._socket,
                resolver=_Resolver(self._lookups),
                ttl_dns_cache=30,
                ssl=request_timing.timed_context(),
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
            BLOCKED.get([]).append(str(address[0]))
            raise BlockedAddress(NOT_ALLOWED)
        mark("connecting")
        return socket.socket(family, kind, protocol)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AttemptResult:
        """Send one POST request; a failure of the receiver or the network is in the result."""
        at, timings = self._clock(), request_timing.start()
        blocked: list[str] = []
        BLOCKED.set(blocked)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                result = await self._attempt(url, body, headers, at)
        except TimeoutError:
            result = AttemptResult(at=at, duration_ms=0, error=f"no answer in {ATTEMPT_SECONDS} s")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            error = NOT_ALLOWED if blocked else describe_failure(exc)
            result = AttemptResult(at=at, duration_ms=0, error=error)
        if blocked:
            log.warning("delivery.blocked", host=URL(url, encoded=True).host, addresses=blocked)
        return _with_timings(result, timings)

    async def _attempt(
        self, url: str, body: bytes, headers: Mapping[str, str], at: int
    ) -> AttemptResult:
        async with self._session.post(
            URL(url, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
        ) as response:
            mark("first_byte")
            excerpt = await _read_excerpt(response.content)
            return AttemptResult(
                at=at,
                duration_ms=0,
                status_code=response.status,
                excerpt=_text(excerpt, response.headers.get("content-encoding", "identity")),
                retry_after_seconds=retry_after_seconds(response.headers.get("retry-after"), at),
                headers=_without_credentials(response.headers),
            )

    def get(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send one GET request through the same guard; the caller limits its size and time."""
        return self._session.get(URL(url, encoded=True), allow_redirects=False)


class _Connector(aiohttp.TCPConnector):
    """Limits open sockets to *max_sockets*; aiohttp's own limit does not count idle connections."""

    def __init__(self, max_sockets: int, **kwargs: Any) -> None:
        super().__init__(limit=max_sockets // 2, **kwargs)
        self._max_sockets = max_sockets

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **kwargs)
        mark("connected")
        return connection

    async def _create_connection(self, *args: Any) -> ResponseHandler:
        """Close the oldest idle connections first: each new one may use two sockets."""
        idle = sum(len(connections) for connections in self._conns.values())
        for _ in range(idle + 2 * len(self._acquired) - self._max_sockets):
            if not self._conns:
                break
            key, connections = next(iter(self._conns.items()))
            connections.popleft()[0].abort()
            if not connections:
                del self._conns[key]
        return await super()._create_connection(*args)

    async def _resolve_host(self, *args: Any, **kwargs: Any) -> list[ResolveResult]:
        return two_addresses(await super()._resolve_host(*args, **kwargs))


class _Resolver(AbstractResolver):
    """DNS lookups with a timeout in their own thread pool, so that slow DNS blocks nothing else."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        mark("dns_started")
        async with asyncio.timeout(LOOKUP_SECONDS):
            found: list[Any] = await loop.run_in_executor(
                self._pool, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
            )
        mark("dns_done")
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=address_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for address_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: the WebhookClient closes the pool."""


def two_addresses(found: list[ResolveResult]) -> list[ResolveResult]:
    """Choose two addresses to connect to, one from each family where there are both.

    aiohttp starts the connections 0.25 s apart (RFC 8305), each with its own socket. The next
    request gets other addresses, because aiohttp rotates the list with every use.
    """
    other_family = [one for one in found if one["family"] != found[0]["family"]]
    return [found[0], other_family[0]] if other_family else found[:2]


def _with_timings(result: AttemptResult, timings: Timings) -> AttemptResult:
    mark("ended")
    tcp_connected = "tcp_connected" if "tcp_connected" in timings else "connected"
    return msgspec.structs.replace(
        result,
        duration_ms=milliseconds(timings, "started", "ended"),
        dns_ms=milliseconds(timings, "dns_started", "dns_done"),
        connect_ms=milliseconds(timings, "connecting", tcp_connected),
        tls_ms=milliseconds(timings, "tcp_connected", "connected"),
        first_byte_ms=milliseconds(timings, "started", "first_byte"),
    )


def _without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Keep the headers that help to find an error, up to `MAX_HEADERS`."""
    named = [(name.lower(), value) for name, value in headers.items()]
    plain = [(n, v) for n, v in named if n not in _PRIVATE_HEADERS and v.isprintable()]
    return {name: value[:MAX_HEADER] for name, value in plain[:MAX_HEADERS]}


async def _read_excerpt(content: aiohttp.StreamReader) -> bytes:
    """Read up to `EXCERPT_BYTES`; the connection stays usable if the body ends before that."""
    parts, size = [], 0
    while size < EXCERPT_BYTES and (part := await content.read(EXCERPT_BYTES - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _text(excerpt: bytes, encoding: str) -> str:
    """Decode the start of a body; a compressed one is not unpacked, as we asked for `identity`."""
    if encoding.lower() != "identity":
        return f"({encoding[:MAX_HEADER]}, not unpacked)"
    return excerpt.decode("utf-8", "replace").replace("\x00", "\ufffd")


def describe_failure(exc: BaseException) -> str:
    """Describe a failed request in at most 300 characters, without its URL and any address.

    The URL's query may hold a secret, and a tenant must not learn internal addresses.
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
