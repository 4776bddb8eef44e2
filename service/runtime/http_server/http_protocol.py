"""HTTP/1.1 as uvicorn speaks it, with limits on heads, waiting, sending and pipelining."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.runtime.clock import SystemIdSource, now
from service.runtime.http_server.connections import Connections

MAX_PIPELINED: Final = 64
MAX_DISCARDED: Final = 1024 * 1024
LEAST_SENT: Final = 64 * 1024
"""What a client must take of its answer in each span of the send timeout."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to what is no request that the application could be asked."""

    status: HTTPStatus
    code: str
    detail: str
    retry_after_seconds: int | None = None


HEAD_TOO_LARGE: Final = Refusal(
    status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    code="too_large",
    detail="The request line and the headers may have at most 64 KiB together.",
)
HEAD_TOO_SLOW: Final = Refusal(
    status=HTTPStatus.REQUEST_TIMEOUT,
    code="timed_out",
    detail="The request line and the headers did not arrive in time.",
)
UNREADABLE: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST, code="bad_request", detail="This is not valid HTTP/1.1."
)
HOST_MISSING: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST, code="bad_request", detail="Send one Host header, and only one."
)
UPGRADE_WITH_BODY: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST,
    code="bad_request",
    detail="Send a request that has a body without Upgrade; only HTTP/1.1 is spoken here.",
)
TOO_MANY_PIPELINED: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST,
    code="bad_request",
    detail=f"At most {MAX_PIPELINED} requests of a connection may wait for their answers.",
)
FULL: Final = Refusal(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    code="unavailable",
    detail="Too many connections are at work; try again shortly.",
    retry_after_seconds=1,
)


class HttpConnection(HttpToolsProtocol):
    """One connection; *connections* holds its deadlines, so that a request costs no timer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: "Connections[HttpConnection]",
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections
        self._head_limit = connections.limits.head_bytes
        self._in_head, self._head_begun, self._head_size = True, False, 0
        self._fault = UNREADABLE
        self._refusal: Refusal | None = None
        self._discarded = self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._all.admit(self, self.loop.time()):
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces that end where the head must: so its size is exact.

        Of a pipelined head the bytes that share a piece with the request before are not counted.
        """
        if self._refusal is not None:
            self._discard(len(data))
            return
        while data:
            room = self._head_limit - self._head_size
            if room == 0:
                self._refuse(HEAD_TOO_LARGE)
                return
            piece, data = data[:room], data[room:]
            if self._in_head:
                self._head_size += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as exc:  # not taken up: the next request follows
                data = piece[exc.args[0] :] + data
            except httptools.HttpParserError:
                self._refuse(self._fault)
                return
        if self._head_begun and not self._at_work() and self not in self._all.heads:
            self._all.idle.stop(self)
            self._all.heads.start(self, self.loop.time())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True

    def on_headers_complete(self) -> None:
        self._fault = self._fault_of_head() or UNREADABLE
        if self._fault is not UNREADABLE:
            raise ValueError(self._fault.detail)  # it ends the parsing; see `data_received`
        self._in_head, self._head_begun, self._head_size = False, False, 0
        self._all.heads.stop(self)
        self._all.idle.stop(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        if self.cycle.response_complete and not self.transport.is_closing():
            self._all.heads.stop(self)
            self._all.idle.start(self, self.loop.time())

    def on_response_complete(self) -> None:
        """Go on with the next request; without one the connection waits, for 10 s or for 75."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send(self._refusal)
        elif self._in_head and not self._head_begun:
            self._all.idle.start(self, self.loop.time())
        else:
            self._all.heads.start(self, self.loop.time())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._all.sending.stop(self)

    def head_expired(self) -> None:
        """Refuse the rest of a head; without one close: nothing came, or a body does not end."""
        if self._head_begun:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.idle_expired()

    def idle_expired(self) -> None:
        self.transport.close()
        self._watch_sending()

    def send_expired(self, now: float) -> None:
        """Give a client that reads slowly more time, and one that has stopped reading none."""
        unsent = self.transport.get_write_buffer_size()
        if self._unsent - unsent < LEAST_SENT:
            self.abort()
        else:
            self._unsent = unsent
            self._all.sending.start(self, now)

    def abort(self) -> None:
        self._all.leave(self)
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self._request_done)
        self.tasks.add(task)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.transport.is_closing() and self not in self._all.sending:
            self._watch_sending()  # the answer was the last, or failed midway; it may not be read

    def _watch_sending(self) -> None:
        """Give the client the send timeout from now on, unless it has gone."""
        if self in self.connections:
            self._unsent = self.transport.get_write_buffer_size()
            self._all.sending.start(self, self.loop.time())

    def _at_work(self) -> bool:
        # uvicorn declares its cycle as never None, which it is until the first request
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _fault_of_head(self) -> Refusal | None:
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            return HOST_MISSING  # RFC 9112, section 3.2
        if self.parser.should_upgrade() and (
            b"content-length" in names or b"transfer-encoding" in names
        ):
            return UPGRADE_WITH_BODY  # the parser would take the body for the next request
        return TOO_MANY_PIPELINED if len(self.pipeline) >= MAX_PIPELINED else None

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more, and say why once the requests before are answered."""
        self._refusal, cycle = refusal, self.cycle
        if self._at_work():
            if not cycle.more_body:
                return
            if self.pipeline and self.pipeline[0][0] is cycle:  # the newest stands first
                self.pipeline.popleft()
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.abort()
                return
        self._send(refusal)

    def _send(self, refusal: Refusal) -> None:
        """Send, then listen for a moment: bytes left unread would reset what was sent."""
        if self.transport.is_closing():
            return
        self.transport.write(_answer(refusal, self.server_state.default_headers))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._all.linger(self, self.loop.time())

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED:
            self.abort()


def _answer(refusal: Refusal, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write *refusal* as the application writes its problems (RFC 9457)."""
    request_id = SystemIdSource().new_id("req", now())
    body = msgspec.json.encode(
        {
            "type": "about:blank",
            "title": refusal.status.phrase,
            "status": refusal.status,
            "detail": refusal.detail,
            "code": refusal.code,
            "errors": [],
            "request_id": request_id,
        }
    )
    headers = [
        *default_headers,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_seconds))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    status_line = f"HTTP/1.1 {refusal.status:d} {refusal.status.phrase}\r\n"
    return status_line.encode() + lines + b"\r\n" + body
