"""What `belfry doctor` remarks, and how it asks without giving away what it asks with."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import httpx
import msgspec

ANSWER_SECONDS: Final = 5
"""As long as Runware waits for the answer to a callback."""
LARGEST_OFFSET_SECONDS: Final = 30


class Severity(StrEnum):
    """How bad it is; nothing works as it should before a fault is mended."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Diagnostic(msgspec.Struct, frozen=True):
    """One line of the report; *message* also says how to mend it."""

    level: Severity
    about: str
    message: str


class ClockSkew:
    """Compares this machine's clock with those of others, by the Date of their answers."""

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}

    def compare(self, whose: str, date: str | None) -> None:
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
        self._ahead[whose] = time.time() - told

    def remark(self) -> Diagnostic:
        if not self._ahead:
            return Diagnostic(
                Severity.NOTE, "clock", "nobody answered whose clock could be compared"
            )
        whose, ahead = max(self._ahead.items(), key=lambda one: abs(one[1]))
        if abs(ahead) <= LARGEST_OFFSET_SECONDS:
            return Diagnostic(Severity.OK, "clock", f"agrees with {', '.join(self._ahead)}")
        by = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
        message = f"{by} that of {whose}; leases and signatures depend on it: set it, as by NTP"
        return Diagnostic(Severity.WARNING, "clock", message)


async def ask(
    client: httpx.AsyncClient, method: str, url: str, body: bytes | None = None
) -> httpx.Response | str:
    """Ask once; a string says why no answer came, without the URL and what came in its place."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await client.request(method, url, content=body)
    except TimeoutError:
        return f"no answer in {ANSWER_SECONDS} s"
    except httpx.ConnectError as exc:
        return str(exc)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        return type(exc).__name__
