"""When each part of a POST was done: the name found, TCP connected, TLS agreed, the first byte."""

import ssl
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

Laps = dict[str, float]
_LAPS: Final[ContextVar[Laps]] = ContextVar("laps")


def start() -> Laps:
    """Begin the laps of the POST that this task makes next."""
    laps = {"started": time.perf_counter()}
    _LAPS.set(laps)
    return laps


def note(laps: Laps, name: str) -> None:
    laps[name] = time.perf_counter()


def milliseconds(laps: Laps, since: str, until: str) -> float | None:
    """The time between two laps; None when one of them was not made."""
    if since not in laps or until not in laps:
        return None
    return round((laps[until] - laps[since]) * 1000, 3)


class TimedContext(ssl.SSLContext):
    """aiohttp tells when a connection is made, TLS and all; this is asked in between."""

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Note that TCP is connected: TLS begins here."""
        note(_LAPS.get({}), "reached")
        return super().wrap_bio(*args, **named)


def timed_context() -> TimedContext:
    """The certificates and rules of `ssl.create_default_context`, with the time taken."""
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


def lap(name: str) -> Callable[..., Awaitable[None]]:
    """A hook that notes when it was called; a request on an open connection calls none."""

    async def noted(*_: object) -> None:
        note(_LAPS.get({}), name)

    return noted
