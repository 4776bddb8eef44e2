"""The open connections: their maximum number and the timeouts of each."""

from typing import Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from service.runtime.http_server.file_limits import MAX_BACKLOG, MAX_CONNECTIONS

HEAD_BYTES: Final = 64 * 1024
"""The size limit of a request line and its headers together."""
HEAD_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 75.0
SEND_SECONDS: Final = 15.0
LINGER_SECONDS: Final = 1.0
_REPORT_SECONDS: Final = 60.0
log = structlog.get_logger()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the server's connections.

    *head_seconds* is the time for a request head, *idle_seconds* the time between two requests,
    *send_seconds* the time in which a client must read part of its response. A refused client has
    *linger_seconds* to read the reason; *spare* is how many of them may linger at once.
    """

    connections: int = MAX_CONNECTIONS
    spare: int = MAX_BACKLOG // 4
    backlog: int = MAX_BACKLOG
    head_bytes: int = HEAD_BYTES
    head_seconds: float = HEAD_SECONDS
    idle_seconds: float = IDLE_SECONDS
    send_seconds: float = SEND_SECONDS
    linger_seconds: float = LINGER_SECONDS


class Connection(Protocol):
    """The methods by which a connection learns that one of its timeouts has expired."""

    def head_expired(self) -> None: ...
    def idle_expired(self) -> None: ...
    def send_expired(self, now: float) -> None: ...
    def abort(self) -> None: ...


C = TypeVar("C", bound=Connection)


class Deadlines(Generic[C]):
    """Connections with the same timeout of *seconds*, in the order of their deadlines.

    As the timeout is the same for all, the order of the starts is that of the deadlines.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started: dict[C, float] = {}

    def __contains__(self, connection: C) -> bool:
        return connection in self._started

    def __len__(self) -> int:
        return len(self._started)

    def start(self, connection: C, now: float) -> None:
        """Start or restart the timeout of *connection*."""
        self._started.pop(connection, None)
        self._started[connection] = now

    def stop(self, connection: C) -> None:
        self._started.pop(connection, None)

    def first(self) -> tuple[C, float] | None:
        """The connection that has waited longest, and the time of its start."""
        return next(iter(self._started.items()), None)

    def expired(self, now: float) -> list[C]:
        """Remove and return the expired connections; the others are not iterated over."""
        expired = []
        for connection, started in self._started.items():
            if now - started < self._seconds:
                break
            expired.append(connection)
        for connection in expired:
            del self._started[connection]
        return expired


class Connections(Generic[C]):
    """Keeps all connections within *limits*.

    A connection that waits is in one of four queues; one whose request is processed is in none.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.heads = Deadlines[C](limits.head_seconds)
        self.idle = Deadlines[C](limits.idle_seconds)
        self.sending = Deadlines[C](limits.send_seconds)
        self.lingering = Deadlines[C](limits.linger_seconds)
        self._open: set[C] = set()
        self._reported_at = float("-inf")

    def admit(self, connection: C, now: float) -> bool:
        """Add *connection*; False when the limit is reached.

        At the limit, the connection that has waited longest for a request is closed to make room.
        If none waits, *connection* is not added.
        """
        if len(self._open) >= self.limits.connections:
            if now - self._reported_at >= _REPORT_SECONDS:
                self._reported_at = now
                log.warning("connections.full", limit=self.limits.connections)
            waiting = [one for one in (self.heads.first(), self.idle.first()) if one is not None]
            if not waiting:
                return False
            longest_waiting, _ = min(waiting, key=lambda one: one[1])
            longest_waiting.abort()
        self._open.add(connection)
        self.heads.start(connection, now)
        return True

    def linger(self, connection: C, now: float) -> None:
        """Keep a refused *connection* open for a moment; beyond *spare* the oldest is closed."""
        self.leave(connection)
        self.lingering.start(connection, now)
        if len(self.lingering) > self.limits.spare and (oldest := self.lingering.first()):
            oldest[0].abort()

    def leave(self, connection: C) -> None:
        """Remove *connection* from all queues: it is closed or about to close."""
        self._open.discard(connection)
        self.heads.stop(connection)
        self.idle.stop(connection)
        self.sending.stop(connection)
        self.lingering.stop(connection)

    def sweep(self, now: float) -> None:
        """Tell the connections whose timeouts have expired."""
        for connection in self.heads.expired(now):
            connection.head_expired()
        for connection in self.idle.expired(now):
            connection.idle_expired()
        for connection in self.sending.expired(now):
            connection.send_expired(now)
        for connection in self.lingering.expired(now):
            connection.abort()
