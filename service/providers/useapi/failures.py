"""Classifies the errors of useapi.net: failed tasks and rejected requests.

An error is a text or an object. Runway's has `reason`, as `SAFETY.INPUT.TEXT`
(docs.dev.runwayml.com/errors/task-failures). One that useapi.net passes on from Google has
`{code, message, status, details: [{reason}]}`, sometimes inside another `error`.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError
from service.providers.kit.coercion import as_dict, as_list, count, text
from service.providers.kit.http_status import (
    account_refused,
    error_code_for,
    is_retryable,
    message_of,
    rejection,
    safe_message,
)
from service.providers.kit.runway_failures import failure_error_code, is_retryable_failure
from service.providers.refusals import AccountRefused, RefusalScope

_ERROR_STATUSES: Final = range(400, 600)
_MAX_DEPTH: Final = 3
_MAX_DETAILS: Final = 20
_RUNWAY_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{0,80}(?:\.[A-Z0-9_]{1,80}){1,8}")
_GOOGLE_REASON: Final = re.compile(r"PUBLIC_ERROR_[A-Z0-9_]{1,80}")
_MODERATION_WORDS: Final = frozenset(
    {"SAFETY", "UNSAFE", "MODERATION", "POLICY", "FILTER", "FILTERED", "NSFW", "SEXUAL", "VIOLENCE"}
    | {"DANGER", "HATE", "MINOR", "CHILD", "TEENAGER", "PROMINENT", "PEOPLE", "FACE", "COPYRIGHTED"}
)
"""Words in Google's reasons that mean a refusal of the content."""
_MODERATION_TEXT: Final = re.compile(
    r"(?i)\bnsfw\b|\bnot pass(?:ed)? (?:the |our )?(?:content )?moderation\b"
    r"|\b(?:was|were|been|is|are) (?:moderated|flagged)\b"
    r"|\b(?:rejected|blocked|refused) by (?:the |our )?(?:content )?(?:moderation|safety|policy)\b"
    r"|\bviolates? (?:the |our )?(?:content|safety|usage|community)\b"
)
_MODERATED_STATUS: Final = 422
_PAYMENT_REQUIRED: Final = 402
_NOT_FOUND: Final = 404
_SESSION_BROKEN: Final = 596
"""The session of the Runway account has ended, or must be confirmed by hand."""
_NO_ACCOUNT: Final = re.compile(
    r"(?i)\bno (?:linked |configured |available |active )?(?:runway |runwayml )?accounts?\b"
    r"|\baccounts?(?: \S{1,100})?(?: is| are| was)? not (?:found|linked|configured|set up)\b"
)


def refusal_status(task: dict[str, Any]) -> int | None:
    """Read `code`, which repeats the HTTP status; None if it is no error status (400 to 599)."""
    status = count(task.get("code"))
    return status if status in _ERROR_STATUSES else None


def refusal_error_code(
    status: int, message: str | None, moderated_status: int = _MODERATED_STATUS
) -> ErrorCode:
    """Classify an HTTP status; *moderated_status* says that the prompt was moderated."""
    is_moderated = status == moderated_status
    return ErrorCode.MODERATED if is_moderated else error_code_for(status, message)


def read_rejection(status: int, body: Any, moderated_status: int = _MODERATED_STATUS) -> JobError:
    """Describe a submit that was answered with the error *status*; *body* is decoded."""
    error = as_dict(body).get("error")
    reason, message = _reason(error), message_of(body)
    code = refusal_error_code(status, message, moderated_status)
    if code in (ErrorCode.INVALID_INPUT, ErrorCode.PROVIDER_ERROR):
        code = _content_code(error, reason, message) or code
    described = rejection(status, message, code)
    if code is not ErrorCode.MODERATED:
        return described
    code_text = reason or described.provider_code
    return replace(described, provider_code=code_text, retryable=False)


def read_refusal(
    status: int,
    body: Any,
    moderated_status: int = _MODERATED_STATUS,
    *,
    names_account: bool = False,
) -> Report | AccountRefused:
    """Tell whether a submit with this `read_rejection` refused our account, or failed the job.

    With *names_account* the input has the e-mail address of its account: if that account is not
    set up, the input is wrong.
    """
    error = read_rejection(status, body, moderated_status)
    scope = _refusal_scope(status, error.message)
    if scope is None or (status == _NOT_FOUND and names_account):
        return account_refused(error) or Report(status=Status.FAILED, error=error)
    return AccountRefused(message=error.message, scope=scope)


def _refusal_scope(status: int, message: str) -> RefusalScope | None:
    """Tell what a status refuses that only useapi.net uses so; None if it means the usual."""
    if status == _SESSION_BROKEN:
        return RefusalScope.ACCOUNT
    if status == _PAYMENT_REQUIRED:
        # The subscription at useapi.net has lapsed, or the Runway account is out of credits.
        is_out_of_credits = "credit" in message.lower()
        return RefusalScope.CREDITS if is_out_of_credits else RefusalScope.CREDENTIAL
    if status == _NOT_FOUND and _NO_ACCOUNT.search(message):
        return RefusalScope.ACCOUNT
    return None


def task_error(task: dict[str, Any]) -> JobError:
    """Classify a failure by its reason or text, else by the HTTP status in the body."""
    error = task.get("error")
    reason, message = _reason(error), message_of(error)
    status = refusal_status(task) or next(filter(None, map(refusal_status, _layers(error))), None)
    code = _content_code(error, reason, message)
    if code is None:
        code = ErrorCode.PROVIDER_ERROR if status is None else refusal_error_code(status, message)
    if code is not ErrorCode.PROVIDER_ERROR:
        retryable = False
    elif status is not None:
        retryable = is_retryable(status)
    else:
        retryable = is_retryable_failure(reason)
    return JobError(
        code=code,
        message=safe_message(code, message) or "The provider gave no reason.",
        provider_code=reason or (None if status is None else str(status)),
        retryable=retryable,
    )


def _content_code(error: Any, reason: str | None, message: str | None) -> ErrorCode | None:
    """Find whether the content or an asset was refused; None if neither is known."""
    is_google = _GOOGLE_REASON.fullmatch(reason or "") is not None
    # Runway marks moderation in fields beside the reason too.
    is_marked = any(
        layer.get("moderation_category") or layer.get("tally_asimov") is True
        for layer in _layers(error)
    )
    if is_marked:
        return ErrorCode.MODERATED
    if is_google and not _MODERATION_WORDS.isdisjoint((reason or "").split("_")):
        return ErrorCode.MODERATED
    if reason is None and _MODERATION_TEXT.search(message or ""):
        return ErrorCode.MODERATED
    return failure_error_code(reason)


def _reason(error: Any) -> str | None:
    """Find the failure code: a `reason`, the text itself, or Google's code inside the text."""
    for layer in _layers(error):
        details = as_list(layer.get("details"))[:_MAX_DETAILS]
        reasons = (text(as_dict(item).get("reason")) for item in (layer, *details))
        if reason := next(filter(None, reasons), None):
            return reason
    message = message_of(error) or ""
    if _RUNWAY_REASON.fullmatch(message):
        return message
    match = _GOOGLE_REASON.search(message)
    return match[0] if match else None


def _layers(error: Any) -> Iterator[dict[str, Any]]:
    """List the objects of an error: it may be one, a list of them, or one inside another."""
    for _ in range(_MAX_DEPTH):
        objects = [item for item in as_list(error)[:_MAX_DETAILS] if isinstance(item, dict)]
        yield from objects
        error = next((item["error"] for item in objects if item.get("error")), None)
