"""Webhook receivers on raw sockets, whose answers a test chooses."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from uuid import uuid4

from standardwebhooks import Webhook

Answer = Callable[["Conversation"], Awaitable[None]]


class Received:
    """One request, byte for byte."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> dict[str, Any]:
        return dict(self.json)

    def verify(self, secret: str) -> None:
        """Verify the signature with the official library; raises if it is wrong."""
        Webhook(secret).verify(self.body, self.headers)


class Conversation:
    """A request, and the connection that an answer writes to."""

    def __init__(self, writer: asyncio.StreamWriter, received: Received) -> None:
        self.writer, self.received = writer, received

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with a status code; underscores in header names become dashes."""
    lines = [f"HTTP/1.1 {code} Status", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def answer(conversation: Conversation) -> None:
        await conversation.send(head + body)

    return answer


def json_answer(code: int, body: Any, **headers: str) -> Answer:
    """Answer with a JSON body, as a provider does."""
    return status(code, json.dumps(body).encode(), content_type="application/json", **headers)


async def hang(_: Conversation) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def drip(conversation: Conversation) -> None:
    """Send a body byte by byte, and never finish."""
    await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        await conversation.send(b".")
        await asyncio.sleep(0.1)


async def processing(conversation: Conversation) -> None:
    """Send `102 Processing` for ever."""
    while True:
        await conversation.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.1)


async def endless(conversation: Conversation) -> None:
    """Send headers for ever."""
    await conversation.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await conversation.send(b"x-more: and more\r\n")
        await asyncio.sleep(0.1)


async def reset(conversation: Conversation) -> None:
    conversation.writer.transport.abort()


@cache
def _compressed_zeros() -> bytes:
    return gzip.compress(bytes(1_000_000)) * 100  # concatenated gzip members


async def bomb(conversation: Conversation) -> None:
    """Send a small gzip body that is a hundred megabytes when it is decompressed."""
    body = _compressed_zeros()
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    await conversation.send(head.encode() + body)


def held_until(gate: asyncio.Event, code: int = 200) -> Answer:
    """Answer when *gate* is set."""

    async def answer(conversation: Conversation) -> None:
        await gate.wait()
        await status(code)(conversation)

    return answer


class Receiver:
    """Records every request; answers with each of *script* once, then with *otherwise*."""

    def __init__(self) -> None:
        self.path = f"/{uuid4()}"
        """Unique, because another receiver may have used the port shortly before."""
        self.url = ""
        self.received: list[Received] = []
        self.script: list[Answer] = []
        self.otherwise: Answer = status(200)
        self.accounts: dict[str, Any] | None = {}
        """Answers GET /accounts, which a service sends in the background; that is not recorded."""
        self.greet: list[Callable[[], Awaitable[None]]] = []
        """Called once each, for a new connection before its request is read."""
        self._arrived = asyncio.Condition()

    async def wait(self, count: int = 1, seconds: float = 20.0) -> list[Received]:
        """Wait until *count* requests have arrived; returns all requests so far."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def wait_for(
        self, matches: Callable[[Received], bool], seconds: float = 20.0
    ) -> Received:
        """Wait for the first request that *matches*."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: any(map(matches, self.received)))
        return next(filter(matches, self.received))

    @property
    def types(self) -> list[str]:
        return [received.event["type"] for received in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.greet:
                await self.greet.pop(0)()
            while True:
                received = await _read(reader)
                if not received.path.startswith(self.path):
                    await status(404)(Conversation(writer, received))
                    continue
                if self.accounts is not None and received.path.endswith("/accounts"):
                    answer = json_answer(200, self.accounts, connection="close")
                    await answer(Conversation(writer, received))
                    return
                async with self._arrived:
                    self.received.append(received)
                    self._arrived.notify_all()
                answer = self.script.pop(0) if self.script else self.otherwise
                await answer(Conversation(writer, received))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split(" ")[1], headers, body)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port."""
    receiver, tasks = Receiver(), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    receiver.url = (
        f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}{receiver.path}"
    )
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
