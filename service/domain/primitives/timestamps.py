"""Points in time: integers of microseconds since 1970 in UTC, rendered as RFC 3339 at the edge."""

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
    """Render with milliseconds and `Z`; cut, not rounded, so that order is kept."""
    seconds, micros = divmod(at, SECOND)
    return f"{_second(seconds)}.{micros // 1000:03d}Z"


def rfc3339_or_none(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def parse_rfc3339(text: str) -> int:
    """Read a time that names its offset; ValueError otherwise."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = "a time needs its offset, as in 2026-01-31T12:00:00Z"
        raise ValueError(msg)
    return (moment - _EPOCH) // timedelta(microseconds=1)
