"""Interpretation of HTTP responses that all providers share: errors, retry delays, messages."""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.primitives.retry_after import http_date, retry_after_seconds
from service.domain.primitives.timestamps import SECOND
from service.providers.kit.coercion import MAX_ITEMS, as_dict, as_list, json_or_none, number, text
from service.providers.protocol import Reply, RetryLater
from service.providers.refusals import AccountRefused, RefusalScope

BUSY_STATUSES: Final = frozenset({408, 429, 503, 504})
"""The provider is busy or unavailable, and the request may be sent again later."""
MAX_RETRY_AFTER_SECONDS: Final = 3600.0  # a wrong header must not delay a job for weeks
MAX_MESSAGE_LENGTH: Final = 500  # characters

_ERROR_CODES: Final = {
    400: ErrorCode.INVALID_INPUT,
    401: ErrorCode.UNAUTHORIZED,
    402: ErrorCode.INSUFFICIENT_CREDITS,
    403: ErrorCode.INVALID_INPUT,  # the job asks for what it may not use; see error_code_for
    404: ErrorCode.INVALID_INPUT,
    412: ErrorCode.INSUFFICIENT_CREDITS,
    413: ErrorCode.INVALID_INPUT,
    415: ErrorCode.INVALID_INPUT,
    422: ErrorCode.INVALID_INPUT,
}
_REFUSAL_SCOPES: Final = {
    ErrorCode.UNAUTHORIZED: RefusalScope.CREDENTIAL,
    ErrorCode.INSUFFICIENT_CREDITS: RefusalScope.CREDITS,
}
_SESSION_BROKEN: Final = 596  # only useapi.net: its Runway account must be repaired by hand
_MESSAGE_KEYS: Final = (
    "message",
    "errorMessage",
    "error",
    "errors",
    "detail",
    "title",
    "reason",
    "code",
)
_MODERATION: Final = re.compile(r"(?i)moderat|content.polic|nsfw|unsafe|\bsafety\b")

# Accounts and credentials: `user:1234-token` (task ids of useapi.net begin with it too), bearer
# tokens, and the signature in our own callback URLs, also if such a URL is encoded in another one.
_CREDENTIAL: Final = re.compile(
    r"""(?i)\buser:\w+-[^\s"',]+|\bbearer\s+\S+"""
    r"""|(?<=[?&]t=)[^\s"'&]+|(?<=(?:%3F|%26)t%3D)[^\s"'&]+"""
)
# The part from `@` on is optional so that a long word without it is scanned once, not from each
# of its letters.
_EMAIL_ADDRESS: Final = re.compile(r"""(?i)[^\s@:<>"']++(@[^\s@:<>"',]+\.[a-z]{2,})?""")


def is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - not HTTPStatus, which does not know 596


def error_code_for(status: int, message: str | None = None) -> ErrorCode:
    """Classify an HTTP status; *message* tells for 403 whether the content was moderated."""
    if status == HTTPStatus.FORBIDDEN and _MODERATION.search(message or ""):
        return ErrorCode.MODERATED
    return _ERROR_CODES.get(status, ErrorCode.PROVIDER_ERROR)


def is_retryable(status: int) -> bool:
    return status >= 500 and status != _SESSION_BROKEN  # noqa: PLR2004


def failed(
    code: ErrorCode,
    message: str,
    *,
    provider_code: str | None = None,
    retryable: bool = False,
    stage: ErrorStage = ErrorStage.SUBMIT,
) -> Report:
    """Report that the job failed."""
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


def rejection(status: int, message: str | None, code: ErrorCode | None = None) -> JobError:
    """Describe a submit that was answered with the error *status*.

    *message* is the provider's. *code* replaces the usual error code of *status* if the provider
    uses that status with another meaning.
    """
    code = code or error_code_for(status, message)
    return JobError(
        code=code,
        message=safe_message(code, message) or f"The provider answered with HTTP status {status}.",
        provider_code=str(status),
        retryable=is_retryable(status),
        stage=ErrorStage.SUBMIT,
    )


def rejected(
    status: int, message: str | None, code: ErrorCode | None = None
) -> Report | AccountRefused:
    """Tell whether a submit with this `rejection` refused our account, or failed the job."""
    error = rejection(status, message, code)
    return account_refused(error) or Report(status=Status.FAILED, error=error)


def account_refused(error: JobError) -> AccountRefused | None:
    """Return the refusal of our account that *error* stands for; None if it concerns the job."""
    scope = _REFUSAL_SCOPES.get(error.code)
    return None if scope is None else AccountRefused(message=error.message, scope=scope)


def unreadable_result(message: str | None = None) -> Report:
    """Report that the response should be the job's result but could not be read."""
    message = message or "The provider's answer could not be read."
    return failed(ErrorCode.PROVIDER_ERROR, message, retryable=True, stage=ErrorStage.PROVIDER)


def empty_result() -> Report:
    message = "The provider's answer has no output."
    return failed(ErrorCode.NO_OUTPUT, message, retryable=True, stage=ErrorStage.PROVIDER)


def retry_later(reply: Reply, message: str | None) -> RetryLater:
    return RetryLater(
        message=message or f"The provider answered with HTTP status {reply.status}.",
        retry_after_seconds=_retry_after_seconds(reply),
    )


def safe_message(code: ErrorCode, message: str | None) -> str | None:
    """Replace the message of a refused credential, because it may contain the credential."""
    return "The provider refused the credential." if code is ErrorCode.UNAUTHORIZED else message


def message_of(error: Any) -> str | None:
    """Find the message of an error, which may be a string, an object or a list of these.

    It is cut to 500 characters; e-mail addresses and credentials in it are replaced by "…".
    """
    message = _find_message(error)
    if message is None:
        return None
    without_credentials = _CREDENTIAL.sub("…", message.strip()[:MAX_MESSAGE_LENGTH])
    return _EMAIL_ADDRESS.sub(lambda match: "…" if match[1] else match[0], without_credentials)


def _find_message(error: Any) -> str | None:
    if isinstance(error, list):
        return next(filter(None, map(_find_message, error)), None)
    if isinstance(error, dict):
        return next(filter(None, (_find_message(error.get(key)) for key in _MESSAGE_KEYS)), None)
    return text(error)


def _retry_after_seconds(reply: Reply) -> float | None:
    """Read the header Retry-After, else the field `retryAfter` of useapi.net; at most an hour.

    A point in time counts from the Date header of the same response; without one it is ignored.
    """
    date = reply.headers.get("date")
    sent_at = None if date is None else http_date(date)
    body = as_list(json_or_none(reply.body))[:MAX_ITEMS]
    values = [reply.headers.get("retry-after")]
    values += [as_dict(item).get("retryAfter") for item in body]
    for value in values:
        seconds = _delay_seconds(value, sent_at)
        if seconds is not None:
            return min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds))
    return None


def _delay_seconds(value: Any, sent_at: int | None) -> float | None:
    """Read a number of seconds, an HTTP date or an ISO 8601 time; dates count from *sent_at*.

    More than RFC 9110 allows is accepted: fractions, and ISO 8601 times as useapi.net sends them
    (without an offset they are in UTC).
    """
    seconds = number(value)
    if seconds is not None:
        return seconds
    if sent_at is None or not isinstance(value, str):
        return None
    try:
        until = datetime.fromisoformat(value)
    except ValueError:
        return retry_after_seconds(value, sent_at)
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return until.timestamp() - sent_at / SECOND
