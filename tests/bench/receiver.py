"""What answers in the generator's process: the subscriber, and the provider that takes jobs."""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from tests.bench.load import HOST, size_of

_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
_ACCEPTED: Final = _OK + b"2\r\n\r\n{}"
_REF: Final = b'"ref":"'
_REF_SIZE: Final = 36


class Server(ABC):
    """A loopback server that answers every whole request from `answer`."""

    port = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), HOST, 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    @abstractmethod
    def answer(self, request: bytes, first_byte_at: float) -> bytes: ...


class Receiver(Server):
    """A subscriber that takes everything; *arrivals* holds when each job was first heard of."""

    def __init__(self) -> None:
        self.count = 0
        self.arrivals: dict[bytes, float] | None = None
        self._awaited = 0
        self._reached = asyncio.Event()

    def answer(self, request: bytes, first_byte_at: float) -> bytes:
        self.count += 1
        if self.arrivals is not None:
            start = request.index(_REF) + len(_REF)
            self.arrivals.setdefault(request[start : start + _REF_SIZE], first_byte_at)
        if self.count == self._awaited:
            self._reached.set()
        return _ACCEPTED

    async def until(self, count: int) -> None:
        """Wait until *count* requests have come in all."""
        self._awaited = count
        self._reached.clear()
        if self.count < count:
            await self._reached.wait()


class Provider(Server):
    """A Runware that accepts every task and remembers where it was told to call back."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}

    def answer(self, request: bytes, first_byte_at: float) -> bytes:
        del first_byte_at
        tasks: list[dict[str, Any]] = msgspec.json.decode(request.partition(b"\r\n\r\n")[2])
        for task in tasks:
            url = urlsplit(task["webhookURL"])
            self.targets[task["taskUUID"]] = f"{url.path}?{url.query}"
        taken = [{"taskType": t["taskType"], "taskUUID": t["taskUUID"]} for t in tasks]
        body = msgspec.json.encode({"data": taken})
        return _OK + f"{len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._rest = b""
        self._first_byte_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._rest:
            self._first_byte_at = time.perf_counter()
        data = self._rest + data
        size = size_of(data)
        if size is None or len(data) < size:
            self._rest = data
            return
        self._rest = b""
        self._transport.write(self._server.answer(data, self._first_byte_at))
