"""The server's limits on raw sockets: heads, Host, idle time, pipelining, unread responses."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from service.runtime.http_server.connections import HEAD_BYTES, Limits
from service.runtime.http_server.http_protocol import MAX_DISCARDED, MAX_PIPELINED
from service.runtime.http_server.server import Server
from service.runtime.wakeups import Wakeups
from tests.support.service_harness import eventually

pytestmark = pytest.mark.anyio

GET = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n"
MEDIUM, BIG = 60 * 1024, 32 * 1024 * 1024
LONG, SHORT = 60.0, 0.3


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both loops: the service uses uvloop, most tests asyncio; their transports differ."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class App:
    """Counts the requests in progress; `/held` responds only when the gate opens."""

    def __init__(self) -> None:
        self.gate, self.in_progress = asyncio.Event(), 0
        self.starlette = Starlette(
            routes=[
                Route("/short", self.short, methods=["GET", "POST"]),
                Route("/length", self.length, methods=["POST"]),
                Route("/medium", self.medium),
                Route("/big", self.big),
                Route("/held", self.held),
                Route("/stream", self.stream),
                Route("/fail", self.fail),
            ]
        )

    async def short(self, _: Request) -> Response:
        return PlainTextResponse("short")

    async def length(self, request: Request) -> Response:
        self.in_progress += 1
        return PlainTextResponse(str(len(await request.body())))

    async def medium(self, _: Request) -> Response:
        return Response(bytes(MEDIUM))

    async def big(self, _: Request) -> Response:
        return Response(bytes(BIG))

    async def held(self, _: Request) -> Response:
        self.in_progress += 1
        await self.gate.wait()
        return PlainTextResponse("held")

    async def stream(self, _: Request) -> Response:
        return StreamingResponse(self._endless())

    async def fail(self, _: Request) -> Response:
        return StreamingResponse(self._broken())

    async def _endless(self) -> AsyncIterator[bytes]:
        self.in_progress += 1
        try:
            while True:
                yield bytes(16 * 1024)
                await asyncio.sleep(0)
        finally:
            self.in_progress -= 1

    async def _broken(self) -> AsyncIterator[bytes]:
        yield bytes(MEDIUM)
        raise ConnectionError("while it was sent")

    async def reached(self, count: int) -> None:
        """Wait until *count* requests are in progress."""

        async def has_reached() -> bool:
            return self.in_progress == count

        await eventually(has_reached)


class Peer:
    """A client on a raw socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response with a Content-Length."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """Read until the server closes."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    async def is_cut(self) -> bool:
        """Read until the server closes or resets the connection."""
        with suppress(ConnectionError):
            await self.rest()
        return True

    async def refusal(self) -> tuple[int, dict[str, Any]]:
        """Read a problem response; the server must close the connection after it."""
        status, headers, body = await self.response()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert await self.rest() == b""
        problem = json.loads(body)
        assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
        return status, problem


class RunningServer:
    """A server and its clients."""

    def __init__(self, app: App, server: Server, stack: AsyncExitStack) -> None:
        self.app, self._server, self._stack = app, server, stack
        host, port = server.url.removeprefix("http://").split(":")
        self._address = (host, int(port))

    async def peer(self, *, narrow: bool = False) -> Peer:
        """Connect; with a *narrow* receive buffer, most of a response waits in the server."""
        plain = socket.socket()
        if narrow:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        plain.settimeout(0)
        await asyncio.get_running_loop().sock_connect(plain, self._address)
        reader, writer = await asyncio.open_connection(sock=plain, limit=2**17)
        self._stack.push_async_callback(_abort, writer)
        return Peer(reader, writer)

    async def none_is_open(self) -> bool:
        return not self._server.server_state.connections


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[RunningServer]:
    """Serve with long timeouts, except for the given *limits*."""
    long = {f"{name}_seconds": LONG for name in ("head", "idle", "send", "linger")}
    app = App()
    server = Server(app.starlette, Wakeups(), "127.0.0.1", 0, Limits(**{**long, **limits}))
    task = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    async with AsyncExitStack() as stack:
        yield RunningServer(app, server, stack)
        app.gate.set()
    server.stop()
    await task


def head_of(size: int, path: str = "/short") -> bytes:
    start = b"GET " + path.encode() + b" HTTP/1.1\r\nhost: x\r\nx: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


async def test_a_head_of_64_kib_is_accepted_and_one_byte_more_is_refused_with_431() -> None:
    async with serving() as server:
        accepted, refused = await server.peer(), await server.peer()
        accepted.send(head_of(HEAD_BYTES))
        refused.send(head_of(HEAD_BYTES + 1))

        assert (await accepted.response())[0] == 200
        status, problem = await refused.refusal()

    assert (status, problem["code"]) == (431, "too_large")
    assert "64 KiB" in problem["detail"]


ENDLESS: dict[str, Callable[[], list[bytes]]] = {
    "one header in one piece": lambda: [b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 256 * 1024],
    "one header in many": lambda: [b"GET / HTTP/1.1\r\nx: ", *[b"a" * 1000] * 300],
    "many headers": lambda: [
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        *[b"x: " + b"a" * 99 + b"\r\n"] * 999,
    ],
    "one URL": lambda: [b"GET /", *[b"a" * 10_000] * 10],
    "one method": lambda: [b"\r\n" * 100_000],
    "one name": lambda: [b"GET / HTTP/1.1\r\n", *[b"a" * 10_000] * 10],
    "blanks": lambda: [b"GET / HTTP/1.1\r\nhost: x\r\nx:", b" " * 100_000],
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_a_head_that_is_too_large_is_refused(name: str) -> None:
    async with serving() as server:
        peer = await server.peer()
        for part in ENDLESS[name]():
            peer.send(part)

        status, _ = await peer.refusal()

    assert status == 431


async def test_the_server_stops_reading_an_endless_head_after_the_refusal() -> None:
    async with serving() as server:
        peer, sent = await server.peer(), 0
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        with suppress(ConnectionError):
            while sent < 114:
                peer.send(b"x: " + b"a" * (1024 * 1024) + b"\r\n")
                await peer.writer.drain()
                sent += 1

    assert sent < 114, f"the connection is reset after {MAX_DISCARDED} more bytes"


@pytest.mark.parametrize(
    "before",
    [GET, b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n" + b"b" * 70_000],
    ids=["a GET", "a POST"],
)
async def test_the_head_of_a_second_request_is_limited_too(before: bytes) -> None:
    async with serving() as server:
        exact, more = await server.peer(), await server.peer()
        for peer, size in ((exact, HEAD_BYTES), (more, HEAD_BYTES + 1)):
            peer.send(before)
            assert (await peer.response())[0] == 200
            peer.send(head_of(size))

        assert (await exact.response())[0] == 200
        assert (await more.refusal())[0] == 431


async def test_a_pipelined_head_that_is_too_large_is_refused_after_the_earlier_responses() -> None:
    async with serving() as server:
        peer = await server.peer()
        peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET + head_of(3 * HEAD_BYTES)[:-4])
        await server.app.reached(1)
        server.app.gate.set()

        first, second = await peer.response(), await peer.response()
        status, _ = await peer.refusal()

    assert (first[2], second[2], status) == (b"held", b"short", 431)


async def test_a_head_sent_byte_by_byte_is_refused_with_408() -> None:
    async with serving(head_seconds=SHORT) as server:
        peer = await server.peer()

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nx: " + b"a" * 10_000:
                peer.send(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        status, problem = await peer.refusal()
        dripping.cancel()

    assert (status, problem["code"]) == (408, "timed_out")


async def test_an_incomplete_second_head_is_refused_with_408() -> None:
    async with serving(head_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(GET)
        await peer.response()
        peer.send(GET[:20])

        assert (await peer.refusal())[0] == 408


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_a_connection_without_a_request_is_closed_without_a_response(sent: bytes) -> None:
    async with serving(head_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(sent)

        assert await peer.rest() == b""


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async with serving(idle_seconds=1.0) as server:
        idle, used, held = await server.peer(), await server.peer(), await server.peer()
        held.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        idle.send(GET)
        await idle.response()

        closed = asyncio.create_task(idle.rest())
        rounds = 0
        while not closed.done():
            used.send(GET)
            await used.response()
            rounds += 1
            await asyncio.sleep(0.01)
        used.send(GET)
        server.app.gate.set()

        assert (await used.response())[0] == 200
        assert (await held.response())[2] == b"held"
        assert await closed == b""
        assert rounds > 1


async def test_the_idle_timeout_restarts_with_each_response() -> None:
    async with serving(idle_seconds=SHORT) as server:
        peer = await server.peer()
        for _ in range(3):
            peer.send(GET)
            assert (await peer.response())[0] == 200

        assert await peer.rest() == b""


async def test_a_connection_is_closed_if_its_body_never_ends_after_the_response() -> None:
    async with serving(head_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(b"POST /short HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nb")
        assert (await peer.response())[2] == b"short"

        async def drip() -> None:
            while True:
                peer.send(b"b")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await peer.is_cut()
        dripping.cancel()


async def test_a_connection_whose_body_ends_after_the_response_becomes_idle() -> None:
    async with serving(head_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(b"POST /short HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nb")
        await peer.response()
        peer.send(b"bb")
        later = await server.peer()
        assert await later.rest() == b"", "the timeout for a head has passed"

        peer.send(GET)

        assert (await peer.response())[2] == b"short"


HOSTS: dict[str, tuple[bytes, int]] = {
    "1.1 without": (b"GET /short HTTP/1.1\r\n\r\n", 400),
    "1.1 with two": (b"GET /short HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n", 400),
    "1.0 with two": (b"GET /short HTTP/1.0\r\nhost: x\r\nHost: y\r\n\r\n", 400),
    "1.1 with one": (b"GET /short HTTP/1.1\r\nHOST: x\r\n\r\n", 200),
    "1.1 with an empty one": (b"GET /short HTTP/1.1\r\nhost:\r\n\r\n", 200),
    "1.0 without": (b"GET /short HTTP/1.0\r\n\r\n", 200),
}


@pytest.mark.parametrize("name", HOSTS)
async def test_http_1_1_requires_exactly_one_host(name: str) -> None:
    sent, expected = HOSTS[name]
    async with serving() as server:
        peer = await server.peer()
        peer.send(sent)

        status, _, body = await peer.response()
        closed = status == 200 or await peer.rest() == b""

    assert (status, closed) == (expected, True)
    assert status == 200 or "Host" in json.loads(body)["detail"]


UNREADABLE = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303"),
    "another version": b"GET / HTTP/3.7\r\nhost: x\r\n\r\n",
    "a blank in a name": b"GET / HTTP/1.1\r\nho st: x\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "an upgrade with a body": b"POST /length HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\n"
    b"connection: upgrade\r\ncontent-length: 3\r\n\r\nGET",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_invalid_request_is_refused_with_a_problem(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server:
        peer = await server.peer()
        peer.send(UNREADABLE[name])

        status, problem = await peer.refusal()

    assert (status, problem["code"]) == (400, "bad_request")
    assert "Invalid HTTP" not in caplog.text


async def test_an_invalid_chunked_body_is_refused_while_the_application_reads_it() -> None:
    async with serving() as server:
        peer = await server.peer()
        peer.send(
            b"POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        await server.app.reached(1)
        peer.send(b"no length\r\n")

        assert (await peer.refusal())[0] == 400


async def test_an_upgrade_without_a_body_is_ignored() -> None:
    upgrade = b"GET /short HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with serving() as server:
        peer = await server.peer()
        peer.send(upgrade + GET)

        assert [(await peer.response())[2] for _ in range(2)] == [b"short", b"short"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    posts = [
        b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"b" * size
        for size in (0, 70_000, 3, 200_000, 65_536)
    ]
    async with serving() as server:
        peer = await server.peer()
        peer.send(GET.join([b"", *posts, b""]))

        responses = [(await peer.response())[2] for _ in range(11)]

    assert responses[::2] == [b"short"] * 6
    assert responses[1::2] == [b"0", b"70000", b"3", b"200000", b"65536"]


async def test_too_many_pipelined_requests_are_refused_after_the_earlier_responses() -> None:
    async with serving() as server:
        peer = await server.peer()
        peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET * 5000)
        await server.app.reached(1)
        server.app.gate.set()

        responses = [(await peer.response())[0] for _ in range(1 + MAX_PIPELINED)]
        status, problem = await peer.refusal()

    assert responses == [200] * (1 + MAX_PIPELINED)
    assert (status, str(MAX_PIPELINED) in problem["detail"]) == (400, True)


async def test_a_stream_is_closed_if_its_client_stops_reading() -> None:
    async with serving(send_seconds=SHORT) as server:
        await unread(server, "stream")
        await server.app.reached(1)

        await server.app.reached(0)

        assert await eventually(server.none_is_open)


async def unread(server: RunningServer, path: str, header: str = "") -> None:
    """Send a request and read only the first bytes of the response."""
    peer = await server.peer(narrow=True)
    peer.send(f"GET /{path} HTTP/1.1\r\nhost: x\r\n{header}\r\n".encode())
    await peer.reader.readexactly(10)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["big", "medium", "fail"])
@pytest.mark.parametrize("header", ["", "connection: close\r\n"], ids=["open", "last"])
async def test_a_connection_is_closed_if_its_client_stops_reading(path: str, header: str) -> None:
    async with serving(send_seconds=SHORT, idle_seconds=SHORT) as server:
        await unread(server, path, header)

        assert await eventually(server.none_is_open)


async def test_a_client_that_reads_slowly_gets_the_whole_response() -> None:
    async with serving(send_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        await peer.reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < BIG:
            received += len(await peer.reader.readexactly(min(512 * 1024, BIG - received)))
            await asyncio.sleep(0.02)

        peer.send(GET)
        assert (await peer.response())[2] == b"short"


# With the clients in the same process, uvloop may never close after this test;
# test_file_limits.py tests the limit in a separate process.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_at_the_limit_a_new_connection_replaces_the_one_that_has_waited_longest() -> None:
    async with serving(connections=3) as server:
        silent, idle, half = await server.peer(), await server.peer(), await server.peer()
        idle.send(GET)
        await idle.response()
        half.send(GET)
        await half.response()
        half.send(GET[:-2])

        first = await server.peer()
        first.send(GET)
        assert (await first.response())[0] == 200
        assert await silent.is_cut()
        second = await server.peer()
        second.send(GET)
        assert (await second.response())[0] == 200
        assert await idle.is_cut()

        half.send(GET[-2:])
        assert (await half.response())[0] == 200


async def test_a_new_connection_gets_503_when_all_connections_are_busy() -> None:
    async with serving(connections=2) as server:
        busy = [await server.peer(), await server.peer()]
        for peer in busy:
            peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        await server.app.reached(2)

        late = await server.peer()
        late.send(GET)
        status, headers, body = await late.response()
        server.app.gate.set()
        responses = [(await peer.response())[2] for peer in busy]

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["code"] == "unavailable"
    assert responses == [b"held", b"held"]


async def test_only_a_limited_number_of_refused_connections_lingers() -> None:
    async with serving(connections=1, spare=3) as server:
        busy = await server.peer()
        busy.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        await server.app.reached(1)
        late = [await server.peer() for _ in range(20)]

        await asyncio.gather(*(peer.is_cut() for peer in late))
        server.app.gate.set()

        assert (await busy.response())[2] == b"held"


async def test_a_refused_client_that_does_not_close_is_disconnected() -> None:
    async with serving(linger_seconds=SHORT) as server:
        peer = await server.peer()
        peer.send(b"hello\r\n\r\n")
        await peer.rest()

        async def is_reset() -> bool:
            peer.send(b"more")
            try:
                await peer.writer.drain()
            except ConnectionError:
                return True
            return False

        assert await eventually(is_reset)
