"""Diagnostics of `belfry doctor`, the clock comparison, and requests that reveal no secrets."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import httpx
import msgspec

TIMEOUT_SECONDS: Final = 5
"""Also how long Runware waits for the response to a callback."""
MAX_CLOCK_OFFSET_SECONDS: Final = 30


class Severity(StrEnum):
    """With an ERROR the service does not work; a WARNING may be temporary or limits it."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Diagnostic(msgspec.Struct, frozen=True):
    """The result of one check of *subject*; for a problem, *message* also says how to fix it."""

    severity: Severity
    subject: str
    message: str


class ClockSkew:
    """Compares this machine's clock with the Date headers of responses."""

    def __init__(self) -> None:
        self._seconds_ahead: dict[str, float] = {}

    def compare(self, name: str, date: str | None) -> None:
        """Record the offset to the clock of *name*; ignore a missing or invalid *date*."""
        try:
            remote_time = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
        self._seconds_ahead[name] = time.time() - remote_time

    def diagnostic(self) -> Diagnostic:
        """Report the largest offset found."""
        if not self._seconds_ahead:
            return Diagnostic(Severity.NOTE, "clock", "not checked: no response had a Date header")
        name, ahead = max(self._seconds_ahead.items(), key=lambda item: abs(item[1]))
        if abs(ahead) <= MAX_CLOCK_OFFSET_SECONDS:
            names = ", ".join(self._seconds_ahead)
            message = f"differs by at most {MAX_CLOCK_OFFSET_SECONDS} s from: {names}"
            return Diagnostic(Severity.OK, "clock", message)
        direction = "ahead of" if ahead > 0 else "behind"
        message = (
            f"{abs(ahead):.0f} s {direction} the clock of {name}: synchronise it, for example "
            "with NTP; leases and signatures depend on it"
        )
        return Diagnostic(Severity.WARNING, "clock", message)


async def ask(
    client: httpx.AsyncClient, method: str, url: str, body: bytes | None = None
) -> httpx.Response | str:
    """Send one request; return the response, or the reason why there is none.

    The reason contains neither *url* nor anything received, because both may be secret.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await client.request(method, url, content=body)
    except TimeoutError:
        return f"no response in {TIMEOUT_SECONDS} s"
    except httpx.ConnectError as exc:
        return str(exc)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        return type(exc).__name__
