"""uvicorn's HTTP/1.1 protocol with limits on request heads, waiting, sending and pipelining."""

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
"""Requests of one connection that may wait for their responses."""
MAX_DISCARDED: Final = 1024 * 1024
"""Bytes that a refused client may still send before its connection is cut."""
MIN_SENT_BYTES: Final = 64 * 1024
"""Bytes of its response that a client must read in each period of `Limits.send_seconds`."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The response to input that never reaches the application."""

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
    status=HTTPStatus.BAD_REQUEST, code="bad_request", detail="The request is not valid HTTP/1.1."
)
HOST_MISSING: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST,
    code="bad_request",
    detail="The request must have exactly one Host header.",
)
UPGRADE_WITH_BODY: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST,
    code="bad_request",
    detail="A request with a body cannot ask for an Upgrade; only HTTP/1.1 is supported.",
)
TOO_MANY_PIPELINED: Final = Refusal(
    status=HTTPStatus.BAD_REQUEST,
    code="bad_request",
    detail=f"At most {MAX_PIPELINED} pipelined requests may wait on one connection.",
)
FULL: Final = Refusal(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    code="unavailable",
    detail="The service has too many busy connections. Try again shortly.",
    retry_after_seconds=1,
)


class HttpConnection(HttpToolsProtocol):
    """One connection; its timeouts are in *connections*, so that a request needs no timer."""

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
        self._open_connections = connections
        self._head_limit = connections.limits.head_bytes
        self._in_head, self._head_begun, self._head_size = True, False, 0
        self._parse_error = UNREADABLE
        self._refusal: Refusal | None = None
        self._discarded = self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._open_connections.admit(self, self.loop.time()):
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more bytes than a head may still have, so that its limit is exact.

        The bytes of a pipelined head that come together with the previous request do not count.
        """
        if self._refusal is not None:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.abort()
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
            except httptools.HttpParserUpgrade as exc:  # ignored: the next request follows
                data = piece[exc.args[0] :] + data
            except httptools.HttpParserError:
                self._refuse(self._parse_error)
                return
        if self._head_begun and not self._is_busy() and self not in self._open_connections.heads:
            self._open_connections.idle.stop(self)
            self._open_connections.heads.start(self, self.loop.time())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True

    def on_headers_complete(self) -> None:
        if refusal := self._head_refusal():
            self._parse_error = refusal
            raise ValueError(refusal.detail)  # ends the parsing; `data_received` refuses
        self._in_head, self._head_begun, self._head_size = False, False, 0
        self._open_connections.heads.stop(self)
        self._open_connections.idle.stop(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        if self.cycle.response_complete and not self.transport.is_closing():
            self._open_connections.heads.stop(self)
            self._open_connections.idle.start(self, self.loop.time())

    def on_response_complete(self) -> None:
        """Start the next pipelined request, or the timeout for a head or an idle connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send(self._refusal)
        elif self._in_head and not self._head_begun:
            self._open_connections.idle.start(self, self.loop.time())
        else:
            self._open_connections.heads.start(self, self.loop.time())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._open_connections.sending.stop(self)

    def head_expired(self) -> None:
        """Refuse an incomplete head; close if none has begun: nothing came or a body never ends."""
        if self._head_begun:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.idle_expired()

    def idle_expired(self) -> None:
        self.transport.close()
        self._watch_sending()

    def send_expired(self, now: float) -> None:
        """Cut a client that reads less than `MIN_SENT_BYTES` in the period; others get one more."""
        unsent = self.transport.get_write_buffer_size()
        if self._unsent - unsent < MIN_SENT_BYTES:
            self.abort()
        else:
            self._unsent = unsent
            self._open_connections.sending.start(self, now)

    def abort(self) -> None:
        self._open_connections.leave(self)
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self._request_done)
        self.tasks.add(task)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.transport.is_closing() and self not in self._open_connections.sending:
            self._watch_sending()  # the rest of the response may never be read

    def _watch_sending(self) -> None:
        """Start the send timeout, unless the connection is closed."""
        if self in self.connections:
            self._unsent = self.transport.get_write_buffer_size()
            self._open_connections.sending.start(self, self.loop.time())

    def _is_busy(self) -> bool:
        # uvicorn declares `cycle` as never None, but it is None until the first request
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _head_refusal(self) -> Refusal | None:
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            return HOST_MISSING  # RFC 9112, section 3.2
        if self.parser.should_upgrade() and (
            b"content-length" in names or b"transfer-encoding" in names
        ):
            return UPGRADE_WITH_BODY  # the parser would read the body as the next request
        return TOO_MANY_PIPELINED if len(self.pipeline) >= MAX_PIPELINED else None

    def _refuse(self, refusal: Refusal) -> None:
        """Stop reading, and send *refusal* after the responses to the earlier requests."""
        self._refusal, cycle = refusal, self.cycle
        if self._is_busy():
            if not cycle.more_body:
                return
            if self.pipeline and self.pipeline[0][0] is cycle:  # the newest is the first
                self.pipeline.popleft()
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.abort()
                return
        self._send(refusal)

    def _send(self, refusal: Refusal) -> None:
        """Send, then keep reading for a moment: unread bytes would cause an early reset."""
        if self.transport.is_closing():
            return
        self.transport.write(_response(refusal, self.server_state.default_headers))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._open_connections.linger(self, self.loop.time())


def _response(refusal: Refusal, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Encode *refusal* as a problem document (RFC 9457), like the application's own errors."""
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
