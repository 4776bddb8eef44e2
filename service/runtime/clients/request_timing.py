"""When each part of a POST was done: the name found, TCP connected, TLS agreed, the first byte.

aiohttp's own tracing tells most of this too, but every request pays for it.
"""

import ssl
import time
from contextvars import ContextVar
from typing import Any, Final

Timings = dict[str, float]
_LAPS: Final[ContextVar[Timings]] = ContextVar("laps")


def start() -> Timings:
    """Begin the laps of the POST that this task makes next."""
    laps: Timings = {}
    _LAPS.set(laps)
    mark("started")
    return laps


def mark(name: str) -> None:
    """Note that something is done, for the POST that this task makes."""
    _LAPS.get({})[name] = time.perf_counter()


def milliseconds(laps: Timings, since: str, until: str) -> float | None:
    """The time between two laps; None when one of them was not made."""
    if since not in laps or until not in laps:
        return None
    return round((laps[until] - laps[since]) * 1000, 3)


class TimedContext(ssl.SSLContext):
    """Only the context is asked between TCP and TLS."""

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Note that TCP is connected: TLS begins here."""
        mark("reached")
        return super().wrap_bio(*args, **named)


def timed_context() -> TimedContext:
    """The certificates and rules of `ssl.create_default_context`, with the time taken."""
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
