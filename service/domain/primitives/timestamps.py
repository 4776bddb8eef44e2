"""Timestamps: integers of microseconds since 1970 in UTC, rendered as RFC 3339 in the API."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MILLISECOND = 1_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(at: int) -> str:
    """Render with milliseconds and `Z`; truncated, not rounded, so that the order is kept."""
    seconds, micros = divmod(at, SECOND)
    return f"{_second(seconds)}.{micros // 1000:03d}Z"


def rfc3339_or_none(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def parse_rfc3339(text: str) -> int:
    """Read a time with an offset, in microseconds; ValueError when it is invalid."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, like 2026-01-31T12:00:00Z")
    return (moment - _EPOCH) // timedelta(microseconds=1)
