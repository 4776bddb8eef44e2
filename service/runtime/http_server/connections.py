"""The open connections: how many there may be, and how long each may wait for what."""

from typing import Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from service.runtime.http_server.file_limits import MAX_BACKLOG, MAX_CONNECTIONS

HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 75.0
SEND_SECONDS: Final = 15.0
LINGER_SECONDS: Final = 1.0
_REPORT_SECONDS: Final = 60.0
log = structlog.get_logger()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """*send_seconds* is how long a client may take nothing of its answer.

    *linger_seconds* is how long a refused client may read why, *spare* how many of them may.
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
    """What is asked of a connection whose time is over."""

    def head_expired(self) -> None: ...
    def idle_expired(self) -> None: ...
    def send_expired(self, now: float) -> None: ...
    def abort(self) -> None: ...


C = TypeVar("C", bound=Connection)


class Deadlines(Generic[C]):
    """Connections in the order of their deadlines, which is that of their start: one length."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started: dict[C, float] = {}

    def __contains__(self, connection: C) -> bool:
        return connection in self._started

    def __len__(self) -> int:
        return len(self._started)

    def start(self, connection: C, now: float) -> None:
        """Start the time of *connection*, or start it again."""
        self._started.pop(connection, None)
        self._started[connection] = now

    def stop(self, connection: C) -> None:
        self._started.pop(connection, None)

    def first(self) -> tuple[C, float] | None:
        """The one that has waited longest, and since when."""
        return next(iter(self._started.items()), None)

    def expired(self, now: float) -> list[C]:
        """Remove and return those whose time is over; only they are looked at, and one more."""
        over = []
        for connection, started in self._started.items():
            if now - started < self._seconds:
                break
            over.append(connection)
        for connection in over:
            del self._started[connection]
        return over


class Connections(Generic[C]):
    """Keeps *limits*; one that does nothing is in one of four queues, one at work in none."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.heads = Deadlines[C](limits.head_seconds)
        self.idle = Deadlines[C](limits.idle_seconds)
        self.sending = Deadlines[C](limits.send_seconds)
        self.lingering = Deadlines[C](limits.linger_seconds)
        self._open: set[C] = set()
        self._reported = float("-inf")

    def admit(self, connection: C, now: float) -> bool:
        """Take *connection* in, at the cap for the one that waits longest; False if none waits."""
        if len(self._open) >= self.limits.connections:
            self._report(now)
            if (waiting := self._longest_waiting()) is None:
                return False
            waiting.abort()
        self._open.add(connection)
        self.heads.start(connection, now)
        return True

    def linger(self, connection: C, now: float) -> None:
        """Keep a refused *connection* for a moment; beyond *spare* the oldest of them must go."""
        self.leave(connection)
        self.lingering.start(connection, now)
        if len(self.lingering) > self.limits.spare and (oldest := self.lingering.first()):
            oldest[0].abort()

    def leave(self, connection: C) -> None:
        """Forget *connection*: it is closed, or as good as closed."""
        self._open.discard(connection)
        self.heads.stop(connection)
        self.idle.stop(connection)
        self.sending.stop(connection)
        self.lingering.stop(connection)

    def sweep(self, now: float) -> None:
        """End what has waited too long."""
        for connection in self.heads.expired(now):
            connection.head_expired()
        for connection in self.idle.expired(now):
            connection.idle_expired()
        for connection in self.sending.expired(now):
            connection.send_expired(now)
        for connection in self.lingering.expired(now):
            connection.abort()

    def _longest_waiting(self) -> C | None:
        waiting = [one for one in (self.heads.first(), self.idle.first()) if one is not None]
        return min(waiting, key=lambda one: one[1])[0] if waiting else None

    def _report(self, now: float) -> None:
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            log.warning("connections.full", limit=self.limits.connections)
