"""With few open files, incoming connections and webhooks do not use up each other's share."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from aiohttp.abc import ResolveResult

from service.providers import registry
from service.runtime.clients.provider_client import JOB_CONNECTIONS, UPLOAD_CONNECTIONS
from service.runtime.clients.webhook_client import WebhookClient, two_addresses
from service.runtime.clock import now
from service.runtime.http_server.file_limits import (
    MAX_CONNECTIONS,
    MAX_OTHER_FILES,
    SOCKETS_PER_POST,
    shares_of,
)
from service.runtime.settings import MAX_POSTS
from tests.support.receivers import Receiver, held_until
from tests.support.service_harness import ADMIN_KEY, Json, ServiceProcess, eventually

pytestmark = pytest.mark.anyio

FEW = 256
DATABASE_FILES, DNS_LOOKUPS = 40, 32
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
TOO_MANY = shares_of(FEW, MAX_POSTS).connections + 50
JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


@pytest.mark.parametrize("limit", [64, 256, 1024, 4096, 20_000, 2**20])
def test_connections_and_webhooks_leave_files_for_other_uses(limit: int) -> None:
    shares = shares_of(limit, MAX_POSTS)

    incoming = shares.connections + shares.spare + shares.backlog
    assert incoming + shares.webhook_sockets <= limit - min(128, limit // 4)
    assert min(shares.connections, shares.spare, shares.webhook_sockets) > 0


def test_the_files_for_other_uses_are_enough_for_every_provider() -> None:
    to_providers = len(registry()) * (JOB_CONNECTIONS + UPLOAD_CONNECTIONS)

    assert DATABASE_FILES + DNS_LOOKUPS + to_providers <= MAX_OTHER_FILES


def test_with_many_files_the_shares_are_the_documented_ones() -> None:
    shares = shares_of(20_000, MAX_POSTS)

    assert shares.connections == MAX_CONNECTIONS == 10_000
    assert shares.webhook_sockets == SOCKETS_PER_POST * MAX_POSTS == 1024


@asynccontextmanager
async def small_process(url: str, folder: Path) -> AsyncIterator[ServiceProcess]:
    process = ServiceProcess(url, folder)
    process.limit_open_files(200, FEW)
    try:
        await process.start()
        yield process
    finally:
        await process.close()


@asynccontextmanager
async def connected(port: int, count: int, sent: bytes) -> AsyncIterator[list[Streams]]:
    """Open *count* connections; each sends *sent*."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.push_async_callback(closed, writer)
            writer.write(sent)
            opened.append((reader, writer))
        yield opened


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def first_line(reader: asyncio.StreamReader) -> bytes:
    """Read the status line; empty when the service has closed the connection."""
    try:
        async with asyncio.timeout(20):
            return (await reader.readline()).strip()
    except ConnectionError:
        return b""


async def test_the_soft_limit_is_raised_to_the_hard_one(sqlite_url: str, tmp_path: Path) -> None:
    async with small_process(sqlite_url, tmp_path) as service:
        limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)

    assert limits == (FEW, FEW)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nx: "], ids=["silent", "half a head"])
async def test_too_many_waiting_connections_stop_neither_requests_nor_webhooks(
    sent: bytes, database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with (
        small_process(database_url, tmp_path) as service,
        connected(service.port, TOO_MANY, sent),
    ):
        await service.subscribe(receiver.url, "job.queued")
        jobs = [await service.post("/v1/jobs", JOB) for _ in range(20)]
        await receiver.wait(20)

        assert len({job["id"] for job in jobs}) == 20
        assert (await service.http.get("/readyz")).status_code == 200
    assert "Too many open files" not in service.log.read_text()


async def test_too_many_streams_do_not_stop_webhooks(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    stream = f"GET /v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n"
    async with small_process(database_url, tmp_path) as service:
        await service.subscribe(receiver.url, "job.queued")
        fit = shares_of(FEW, MAX_POSTS).connections - 1
        async with connected(service.port, fit, stream.encode()) as streams:
            lines = [await first_line(reader) for reader, _ in streams]
            async with (
                half_submitted(service.port) as finish,
                connected(service.port, 50, b"") as more,
            ):
                late = [await first_line(reader) for reader, _ in more]
                refused = await service.http.get("/v1/jobs")
                submitted = await finish()
                await receiver.wait(1)

        assert lines == [b"HTTP/1.1 200 OK"] * fit
        assert set(late) <= {b"HTTP/1.1 503 Service Unavailable", b""}
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert submitted == b"HTTP/1.1 202 Accepted"
    assert "Too many open files" not in service.log.read_text()


@asynccontextmanager
async def half_submitted(port: int) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Begin to submit a job; the body is sent when the yielded function is called."""
    body = msgspec.json.encode(JOB)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
        f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    async with connected(port, 1, head.encode()) as ((reader, writer),), asyncio.timeout(20):
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")

        async def finish() -> bytes:
            writer.write(body)
            return await first_line(reader)

        yield finish


class CountingReceiver:
    """Receivers that count their open connections."""

    def __init__(self) -> None:
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def posting(max_sockets: int) -> AsyncIterator[WebhookClient]:
    webhook_client = WebhookClient(now, [ip_network("127.0.0.0/8")], max_sockets)
    yield webhook_client
    await webhook_client.close()


async def test_idle_connections_to_receivers_are_closed_for_new_ones() -> None:
    counter = CountingReceiver()
    async with AsyncExitStack() as stack, posting(6) as webhook_client:
        for _ in range(20):
            server = await asyncio.start_server(counter.serve, "127.0.0.1", 0)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            results = [
                await webhook_client.post(f"http://127.0.0.1:{port}/", b"{}", {}) for _ in range(2)
            ]
            assert [result.status_code for result in results] == [204, 204]

        async def few_are_open() -> bool:
            return 0 < counter.open <= 6

        assert await eventually(few_are_open, 5)


async def test_requests_beyond_the_socket_limit_wait_and_none_fails(receiver: Receiver) -> None:
    gate = asyncio.Event()
    receiver.otherwise = held_until(gate)
    async with posting(6) as webhook_client, asyncio.TaskGroup() as group:
        posts = [group.create_task(webhook_client.post(receiver.url, b"{}", {})) for _ in range(20)]
        await receiver.wait(3)
        at_once = len(receiver.received)
        gate.set()

    assert at_once == 3
    assert [post.result().status_code for post in posts] == [200] * 20


def address(host: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return ResolveResult(hostname="x", host=host, port=80, family=family, proto=0, flags=0)


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([], []),
        (["1.1.1.1"], ["1.1.1.1"]),
        (["1.1.1.1", "1.1.1.2", "1.1.1.3"], ["1.1.1.1", "1.1.1.2"]),
        (["2600::1", "2600::2", "1.1.1.1"], ["2600::1", "1.1.1.1"]),
        (["1.1.1.1", "1.1.1.2", "2600::1", "2600::2"], ["1.1.1.1", "2600::1"]),
    ],
)
def test_at_most_two_addresses_are_tried_at_once(found: list[str], tried: list[str]) -> None:
    chosen = two_addresses([address(host) for host in found])

    assert [one["host"] for one in chosen] == tried
