"""The time of each phase of a webhook request: DNS, TCP, TLS, the first byte, the end.

aiohttp's own tracing measures most of this too, but it makes every request slower.
"""

import ssl
import time
from contextvars import ContextVar
from typing import Any, Final

Timings = dict[str, float]
"""The time of each mark in seconds, by a monotonic clock."""
_TIMINGS: Final[ContextVar[Timings]] = ContextVar("timings")


def start() -> Timings:
    """Begin the timings of the next request of this task, with the mark `started`."""
    timings: Timings = {}
    _TIMINGS.set(timings)
    mark("started")
    return timings


def mark(name: str) -> None:
    """Record the current time under *name*, for the request of this task."""
    _TIMINGS.get({})[name] = time.perf_counter()


def milliseconds(timings: Timings, since: str, until: str) -> float | None:
    """The time between two marks; None when one of them is missing."""
    if since not in timings or until not in timings:
        return None
    return round((timings[until] - timings[since]) * 1000, 3)


class TimedContext(ssl.SSLContext):
    """Marks the end of the TCP handshake: no other hook runs between TCP and TLS."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin TLS, with the mark `tcp_connected`."""
        mark("tcp_connected")
        return super().wrap_bio(*args, **kwargs)


def timed_context() -> TimedContext:
    """A TLS context with the certificates and rules of `ssl.create_default_context`."""
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
