"""Connections on raw sockets: heads, Host, waiting, pipelining, unread answers, the cap."""

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
    """The service runs on uvloop, most tests on asyncio; their transports differ."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class App:
    """Answers; counts what is at work, and holds some of it until its gate opens."""

    def __init__(self) -> None:
        self.gate, self.at_work = asyncio.Event(), 0
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
        self.at_work += 1
        return PlainTextResponse(str(len(await request.body())))

    async def medium(self, _: Request) -> Response:
        return Response(bytes(MEDIUM))

    async def big(self, _: Request) -> Response:
        return Response(bytes(BIG))

    async def held(self, _: Request) -> Response:
        self.at_work += 1
        await self.gate.wait()
        return PlainTextResponse("held")

    async def stream(self, _: Request) -> Response:
        return StreamingResponse(self._endless())

    async def fail(self, _: Request) -> Response:
        return StreamingResponse(self._broken())

    async def _endless(self) -> AsyncIterator[bytes]:
        self.at_work += 1
        try:
            while True:
                yield bytes(16 * 1024)
                await asyncio.sleep(0)
        finally:
            self.at_work -= 1

    async def _broken(self) -> AsyncIterator[bytes]:
        yield bytes(MEDIUM)
        raise ConnectionError("while it was sent")

    async def works(self, count: int) -> None:
        """Wait until as many requests have reached the application."""

        async def look() -> bool:
            return self.at_work == count

        await eventually(look)


class Peer:
    """A client on a raw socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with its Content-Length."""
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
        """Read until the end, be it a proper one or a reset."""
        with suppress(ConnectionError):
            await self.rest()
        return True

    async def refusal(self) -> tuple[int, dict[str, Any]]:
        """Read a problem, after which the connection must end."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert await self.rest() == b""
        problem = json.loads(body)
        assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
        return status, problem


class Place:
    """A server, and as many clients as a test needs."""

    def __init__(self, app: App, server: Server, stack: AsyncExitStack) -> None:
        self.app, self._server, self._stack = app, server, stack
        host, port = server.url.removeprefix("http://").split(":")
        self._address = (host, int(port))

    async def peer(self, *, narrow: bool = False) -> Peer:
        """Connect; little is under way to a *narrow* one, the rest waits in the server."""
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
async def place(**limits: Any) -> AsyncIterator[Place]:
    """Serve with long limits but for those that are given."""
    long = {f"{name}_seconds": LONG for name in ("head", "idle", "send", "linger")}
    app = App()
    server = Server(app.starlette, Wakeups(), "127.0.0.1", 0, Limits(**{**long, **limits}))
    task = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    async with AsyncExitStack() as stack:
        yield Place(app, server, stack)
        app.gate.set()
    server.stop()
    await task


def head_of(size: int, path: str = "/short") -> bytes:
    start = b"GET " + path.encode() + b" HTTP/1.1\r\nhost: x\r\nx: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


async def test_a_head_of_64_kib_is_taken_and_one_byte_more_is_refused_with_431() -> None:
    async with place() as at:
        taken, refused = await at.peer(), await at.peer()
        taken.send(head_of(HEAD_BYTES))
        refused.send(head_of(HEAD_BYTES + 1))

        assert (await taken.answer())[0] == 200
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
async def test_an_endless_head_is_refused(name: str) -> None:
    async with place() as at:
        peer = await at.peer()
        for part in ENDLESS[name]():
            peer.send(part)

        status, _ = await peer.refusal()

    assert status == 431


async def test_of_an_endless_head_no_more_is_read_than_a_refused_client_may_send() -> None:
    async with place() as at:
        peer, sent = await at.peer(), 0
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        with suppress(ConnectionError):
            while sent < 114:
                peer.send(b"x: " + b"a" * (1024 * 1024) + b"\r\n")
                await peer.writer.drain()
                sent += 1

    assert sent < 114, f"the rest, beyond {MAX_DISCARDED} bytes, finds the connection reset"


@pytest.mark.parametrize(
    "before",
    [GET, b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n" + b"b" * 70_000],
    ids=["a GET", "a POST"],
)
async def test_the_head_of_a_later_request_is_limited_too(before: bytes) -> None:
    async with place() as at:
        exact, more = await at.peer(), await at.peer()
        for peer, size in ((exact, HEAD_BYTES), (more, HEAD_BYTES + 1)):
            peer.send(before)
            assert (await peer.answer())[0] == 200
            peer.send(head_of(size))

        assert (await exact.answer())[0] == 200
        assert (await more.refusal())[0] == 431


async def test_a_pipelined_head_without_end_is_refused_after_the_answers_before_it() -> None:
    async with place() as at:
        peer = await at.peer()
        peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET + head_of(3 * HEAD_BYTES)[:-4])
        await at.app.works(1)
        at.app.gate.set()

        first, second = await peer.answer(), await peer.answer()
        status, _ = await peer.refusal()

    assert (first[2], second[2], status) == (b"held", b"short", 431)


async def test_a_head_that_comes_byte_by_byte_ends_with_408() -> None:
    async with place(head_seconds=SHORT) as at:
        peer = await at.peer()

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nx: " + b"a" * 10_000:
                peer.send(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        status, problem = await peer.refusal()
        dripping.cancel()

    assert (status, problem["code"]) == (408, "timed_out")


async def test_half_a_head_on_a_connection_in_use_ends_with_408() -> None:
    async with place(head_seconds=SHORT) as at:
        peer = await at.peer()
        peer.send(GET)
        await peer.answer()
        peer.send(GET[:20])

        assert (await peer.refusal())[0] == 408


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_a_connection_without_a_request_is_closed_without_an_answer(sent: bytes) -> None:
    async with place(head_seconds=SHORT) as at:
        peer = await at.peer()
        peer.send(sent)

        assert await peer.rest() == b""


async def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    async with place(idle_seconds=1.0) as at:
        idle, used, held = await at.peer(), await at.peer(), await at.peer()
        held.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        idle.send(GET)
        await idle.answer()

        closed = asyncio.create_task(idle.rest())
        rounds = 0
        while not closed.done():
            used.send(GET)
            await used.answer()
            rounds += 1
            await asyncio.sleep(0.01)
        used.send(GET)
        at.app.gate.set()

        assert (await used.answer())[0] == 200
        assert (await held.answer())[2] == b"held"
        assert await closed == b""
        assert rounds > 1


async def test_the_idle_time_begins_again_with_each_answer() -> None:
    async with place(idle_seconds=SHORT) as at:
        peer = await at.peer()
        for _ in range(3):
            peer.send(GET)
            assert (await peer.answer())[0] == 200

        assert await peer.rest() == b""


async def test_a_body_that_never_ends_after_its_answer_is_cut_off() -> None:
    async with place(head_seconds=SHORT) as at:
        peer = await at.peer()
        peer.send(b"POST /short HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nb")
        assert (await peer.answer())[2] == b"short"

        async def drip() -> None:
            while True:
                peer.send(b"b")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await peer.is_cut()
        dripping.cancel()


async def test_a_connection_whose_body_ends_after_its_answer_is_idle_from_then_on() -> None:
    async with place(head_seconds=SHORT) as at:
        peer = await at.peer()
        peer.send(b"POST /short HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nb")
        await peer.answer()
        peer.send(b"bb")
        later = await at.peer()
        assert await later.rest() == b"", "the time for a head is over"

        peer.send(GET)

        assert (await peer.answer())[2] == b"short"


HOSTS: dict[str, tuple[bytes, int]] = {
    "1.1 without": (b"GET /short HTTP/1.1\r\n\r\n", 400),
    "1.1 with two": (b"GET /short HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n", 400),
    "1.0 with two": (b"GET /short HTTP/1.0\r\nhost: x\r\nHost: y\r\n\r\n", 400),
    "1.1 with one": (b"GET /short HTTP/1.1\r\nHOST: x\r\n\r\n", 200),
    "1.1 with an empty one": (b"GET /short HTTP/1.1\r\nhost:\r\n\r\n", 200),
    "1.0 without": (b"GET /short HTTP/1.0\r\n\r\n", 200),
}


@pytest.mark.parametrize("name", HOSTS)
async def test_http_1_1_needs_one_host(name: str) -> None:
    sent, expected = HOSTS[name]
    async with place() as at:
        peer = await at.peer()
        peer.send(sent)

        status, _, body = await peer.answer()
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
async def test_what_is_no_request_is_refused_with_a_problem(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place() as at:
        peer = await at.peer()
        peer.send(UNREADABLE[name])

        status, problem = await peer.refusal()

    assert (status, problem["code"]) == (400, "bad_request")
    assert "Invalid HTTP" not in caplog.text


async def test_a_body_that_cannot_be_read_is_refused_while_the_application_waits_for_it() -> None:
    async with place() as at:
        peer = await at.peer()
        peer.send(
            b"POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        await at.app.works(1)
        peer.send(b"no length\r\n")

        assert (await peer.refusal())[0] == 400


async def test_an_unwanted_upgrade_is_ignored() -> None:
    upgrade = b"GET /short HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with place() as at:
        peer = await at.peer()
        peer.send(upgrade + GET)

        assert [(await peer.answer())[2] for _ in range(2)] == [b"short", b"short"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    posts = [
        b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"b" * size
        for size in (0, 70_000, 3, 200_000, 65_536)
    ]
    async with place() as at:
        peer = await at.peer()
        peer.send(GET.join([b"", *posts, b""]))

        answers = [(await peer.answer())[2] for _ in range(11)]

    assert answers[::2] == [b"short"] * 6
    assert answers[1::2] == [b"0", b"70000", b"3", b"200000", b"65536"]


async def test_more_pipelined_requests_than_may_wait_are_refused_after_the_others() -> None:
    async with place() as at:
        peer = await at.peer()
        peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET * 5000)
        await at.app.works(1)
        at.app.gate.set()

        answers = [(await peer.answer())[0] for _ in range(1 + MAX_PIPELINED)]
        status, problem = await peer.refusal()

    assert answers == [200] * (1 + MAX_PIPELINED)
    assert (status, str(MAX_PIPELINED) in problem["detail"]) == (400, True)


async def test_a_stream_whose_client_stops_reading_is_cut_off() -> None:
    async with place(send_seconds=SHORT) as at:
        await unread(at, "stream")
        await at.app.works(1)

        await at.app.works(0)

        assert await eventually(at.none_is_open)


async def unread(at: Place, path: str, header: str = "") -> None:
    """Ask for something and read no more than the beginning of it."""
    peer = await at.peer(narrow=True)
    peer.send(f"GET /{path} HTTP/1.1\r\nhost: x\r\n{header}\r\n".encode())
    await peer.reader.readexactly(10)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["big", "medium", "fail"])
@pytest.mark.parametrize("header", ["", "connection: close\r\n"], ids=["open", "last"])
async def test_a_client_that_stops_reading_its_answer_is_cut_off(path: str, header: str) -> None:
    async with place(send_seconds=SHORT, idle_seconds=SHORT) as at:
        await unread(at, path, header)

        assert await eventually(at.none_is_open)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer() -> None:
    async with place(send_seconds=SHORT) as at:
        peer = await at.peer()
        peer.send(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        await peer.reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < BIG:
            received += len(await peer.reader.readexactly(min(512 * 1024, BIG - received)))
            await asyncio.sleep(0.02)

        peer.send(GET)
        assert (await peer.answer())[2] == b"short"


# In one process with its peers uvloop may never close after this one; a process of its own does
# (test_file_limits.py tests the limit there).
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_at_the_cap_a_new_connection_takes_the_place_of_the_longest_waiting() -> None:
    async with place(connections=3) as at:
        silent, idle, half = await at.peer(), await at.peer(), await at.peer()
        idle.send(GET)
        await idle.answer()
        half.send(GET)
        await half.answer()
        half.send(GET[:-2])

        first = await at.peer()
        first.send(GET)
        assert (await first.answer())[0] == 200
        assert await silent.is_cut()
        second = await at.peer()
        second.send(GET)
        assert (await second.answer())[0] == 200
        assert await idle.is_cut()

        half.send(GET[-2:])
        assert (await half.answer())[0] == 200


async def test_when_all_connections_are_at_work_a_new_one_is_told_to_come_back() -> None:
    async with place(connections=2) as at:
        busy = [await at.peer(), await at.peer()]
        for peer in busy:
            peer.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        await at.app.works(2)

        late = await at.peer()
        late.send(GET)
        status, headers, body = await late.answer()
        at.app.gate.set()
        answers = [(await peer.answer())[2] for peer in busy]

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["code"] == "unavailable"
    assert answers == [b"held", b"held"]


async def test_of_many_refused_connections_only_some_linger() -> None:
    async with place(connections=1, spare=3) as at:
        busy = await at.peer()
        busy.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        await at.app.works(1)
        late = [await at.peer() for _ in range(20)]

        await asyncio.gather(*(peer.is_cut() for peer in late))
        at.app.gate.set()

        assert (await busy.answer())[2] == b"held"


async def test_a_refused_client_that_does_not_close_is_cut_off() -> None:
    async with place(linger_seconds=SHORT) as at:
        peer = await at.peer()
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
