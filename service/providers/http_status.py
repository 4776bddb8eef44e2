"""What an HTTP answer means where all providers agree: refusals, delays, words fit to show."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.providers.coercion import MAX_ITEMS, entries, fields, json_or_none, number, text
from service.providers.protocol import Reply, RetryLater

BUSY: Final = frozenset({408, 429, 503, 504})
LONGEST_DELAY_SECONDS: Final = 3600.0  # a provider's slip must not park a job for weeks
LONGEST_MESSAGE: Final = 500

_CODES: Final = {
    400: ErrorCode.INVALID_INPUT,
    401: ErrorCode.UNAUTHORIZED,
    402: ErrorCode.INSUFFICIENT_CREDITS,
    403: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.INVALID_INPUT,
    412: ErrorCode.INSUFFICIENT_CREDITS,
    413: ErrorCode.INVALID_INPUT,
    415: ErrorCode.INVALID_INPUT,
    422: ErrorCode.INVALID_INPUT,
}
_SESSION_BROKEN: Final = 596  # useapi's own: the account must be mended by hand
_WORDED: Final = ("message", "errorMessage", "error", "errors", "detail", "title", "reason", "code")

# Accounts and credentials: `user:1234-token`, which is also how useapi's task ids begin, and the
# signature of our own callback URLs, also where such a URL stands inside another.
_PRIVATE: Final = re.compile(
    r"""(?i)\buser:\w+-[^\s"',]+|\bbearer\s+\S+"""
    r"""|(?<=[?&]t=)[^\s"'&]+|(?<=(?:%3F|%26)t%3D)[^\s"'&]+"""
)
# The address is optional, so that a run of letters without one is read once and not from each.
_MAIL: Final = re.compile(r"""(?i)[^\s@:<>"']++(@[^\s@:<>"',]+\.[a-z]{2,})?""")


def is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - not HTTPStatus, which does not know 596


def code_for(status: int) -> ErrorCode:
    return _CODES.get(status, ErrorCode.PROVIDER_ERROR)


def retryable(status: int) -> bool:
    return status >= 500 and status != _SESSION_BROKEN  # noqa: PLR2004


def failed(
    code: ErrorCode,
    message: str,
    *,
    provider_code: str | None = None,
    retryable: bool = False,
    stage: ErrorStage = ErrorStage.SUBMIT,
) -> Report:
    return Report(
        status=Status.FAILED,
        error=JobError(
            code=code,
            message=message,
            provider_code=provider_code,
            retryable=retryable,
            stage=stage,
        ),
    )


def rejected(status: int, said: str | None, code: ErrorCode | None = None) -> Report:
    """Fail a submit by its HTTP *status*; *code* where a provider means another thing by it."""
    code = code or code_for(status)
    return failed(
        code,
        safe_message(code, said) or f"The provider answered with HTTP status {status}.",
        provider_code=str(status),
        retryable=retryable(status),
    )


def unreadable_result(said: str | None = None) -> Report:
    """Fail a job whose answer was to be its result."""
    message = said or "The provider's answer could not be read."
    return failed(ErrorCode.PROVIDER_ERROR, message, retryable=True, stage=ErrorStage.PROVIDER)


def empty_result() -> Report:
    message = "The provider's answer held no output."
    return failed(ErrorCode.NO_OUTPUT, message, retryable=True, stage=ErrorStage.PROVIDER)


def retry_later(reply: Reply, said: str | None) -> RetryLater:
    return RetryLater(
        message=said or f"The provider answered with HTTP status {reply.status}.",
        retry_after_seconds=_delay(reply),
    )


def safe_message(code: ErrorCode, said: str | None) -> str | None:
    """Keep back what a provider says of a credential: it may well repeat it."""
    return "The provider refused the credential." if code is ErrorCode.UNAUTHORIZED else said


def message_of(error: Any) -> str | None:
    """Read an error's words: a string, an object, or a list of these; nobody's account in them."""
    found = _words(error)
    if found is None:
        return None
    shown = _PRIVATE.sub("…", found.strip()[:LONGEST_MESSAGE])
    return _MAIL.sub(lambda run: "…" if run[1] else run[0], shown)


def _words(error: Any) -> str | None:
    if isinstance(error, list):
        return next(filter(None, map(_words, error)), None)
    if isinstance(error, dict):
        return next(filter(None, (_words(error.get(key)) for key in _WORDED)), None)
    return text(error)


def _delay(reply: Reply) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3) or useapi's `retryAfter`.

    Points in time are measured from the answer's own Date, and mean nothing without it.
    """
    body = entries(json_or_none(reply.body))[:MAX_ITEMS]
    told = (reply.headers.get("retry-after"), *(fields(each).get("retryAfter") for each in body))
    delays = (_seconds(each, reply.headers.get("date")) for each in told)
    found = next((each for each in delays if each is not None), None)
    return None if found is None else min(LONGEST_DELAY_SECONDS, max(0.0, found))


def _seconds(told: Any, date: str | None) -> float | None:
    plain = number(told)
    until, since = _moment(told), _moment(date)
    if plain is not None or until is None or since is None:
        return plain
    return (until - since).total_seconds()


def _moment(value: Any) -> datetime | None:
    """Read an HTTP date or an ISO time; in UTC where it names no offset."""
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(value)
        except (ValueError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
