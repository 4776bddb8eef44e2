"""The load: prepared requests over keep-alive connections, each with one request in flight."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from typing import Final, cast

HOST: Final = "127.0.0.1"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def request(
    method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Write a whole request down."""
    named = {"host": HOST, "content-type": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    head = f"{method} {target} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def size_of(message: bytes | bytearray) -> int | None:
    """Find how long the message that begins here is; None while its head is not in."""
    head = message.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = _LENGTH.search(message, 0, head + 2)
    return head + 4 + (int(length[1]) if length else 0)


class Pool:
    """Connections to one port or several, in turn; a request waits for a free one or a source."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self._all: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._waiting: deque[bytes] = deque()
        self._source: Iterator[bytes] = iter(())
        self._idle = asyncio.Event()

    @classmethod
    async def open(cls, size: int, *ports: int) -> "Pool":
        pool, loop = cls(), asyncio.get_running_loop()
        for port in islice(cycle(ports), size):
            _, connection = await loop.create_connection(lambda: _Connection(pool), HOST, port)
            pool._all.append(connection)
        pool._free.extend(pool._all)
        return pool

    async def flood(self, source: Iterator[bytes]) -> None:
        """Send what *source* has, as fast as it is answered, until all is answered."""
        self._source = source
        for _ in range(len(self._free)):
            self.send_next(self._free.popleft())
        await self.idle()

    def send(self, message: bytes) -> None:
        """Send at once, or as soon as a connection is free; in turn, so that none idles out."""
        if self._free:
            self._free.popleft().send(message)
        else:
            self._waiting.append(message)

    async def idle(self) -> None:
        """Wait until everything is answered."""
        self._idle.clear()
        if len(self._free) < len(self._all):
            await self._idle.wait()

    def send_next(self, connection: "_Connection") -> None:
        message = self._waiting.popleft() if self._waiting else next(self._source, None)
        if message is not None:
            connection.send(message)
            return
        self._free.append(connection)
        if len(self._free) == len(self._all):
            self._idle.set()

    def lost(self, connection: "_Connection") -> None:
        """Go on without it; what was under way on it was answered with nothing, status 0."""
        self._all.remove(connection)
        if connection in self._free:
            self._free.remove(connection)
        else:
            self.statuses[0] += 1
        if len(self._free) == len(self._all):
            self._idle.set()

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()

    def require(self, status: int) -> None:
        """RuntimeError unless every answer so far had *status*."""
        if set(self.statuses) != {status}:
            raise RuntimeError(f"answers were {dict(self.statuses)}, not all {status}")


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.send = self._transport.write

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        size = size_of(data)
        if size is None or len(data) < size:
            self._rest = data
            return
        self._rest = b""
        self._pool.statuses[int(data[9:12])] += 1
        self._pool.send_next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._pool.lost(self)

    def close(self) -> None:
        self._transport.close()


async def fetch(
    port: int, target: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """GET once, over a connection of its own."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request("GET", target, headers={"connection": "close", **(headers or {})}))
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]
