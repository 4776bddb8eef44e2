"""The Retry-After header: how long a busy server asks its clients to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from service.domain.primitives.timestamps import SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS: Final = 9


def retry_after_seconds(value: str | None, at: int) -> int | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3).

    A date counts from *at*, in microseconds since 1970; one in the past is 0 seconds. None if there
    is no valid value. There is no upper limit: callers set their own.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return int(value[:_MAX_DIGITS])
    until = http_date(value)
    return None if until is None else max(0, until // SECOND - at // SECOND)


def http_date(value: str) -> int | None:
    """Read an HTTP date (RFC 9110, section 5.6.7) in microseconds since 1970; None if invalid.

    A date without a time zone is in UTC.
    """
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
