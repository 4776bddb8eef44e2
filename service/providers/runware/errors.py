"""Runware's error codes in our words.

The codes are not stable, so they are judged by what they contain, in the order of the vendor's own
SDK (runware-python, errors.py). Two codes slip through there and are put right here: the
documented `timeoutProvider`, and `invalidProviderContent`, which is a moderation verdict.
"""

import re
from typing import Any, Final

from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.providers.coercion import entries, fields, identifier, text
from service.providers.http_status import message_of, safe_message

_CLASSES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), code, retryable)
    for pattern, code, retryable in (
        ("credits|quota|balance", ErrorCode.INSUFFICIENT_CREDITS, False),
        ("ratelimit|toomanyrequests|queuefull", ErrorCode.RATE_LIMITED, True),
        ("contentpolicy|sensitivecontent|nsfw|unsafecontent", ErrorCode.MODERATED, False),
        (
            "promptblocked|imageblocked|moderation|invalidprovidercontent",
            ErrorCode.MODERATED,
            False,
        ),
        ("apikey|unauthori[sz]ed|forbidden", ErrorCode.UNAUTHORIZED, False),
        ("timeout", ErrorCode.TIMED_OUT, True),
        ("taskcancell?ed", ErrorCode.PROVIDER_ERROR, False),
        ("(notfound|expired)$", ErrorCode.INVALID_INPUT, False),
        ("internalservererror|^server", ErrorCode.PROVIDER_ERROR, True),
        ("^provider|inferenceerror|processingfailed|taskfailed", ErrorCode.PROVIDER_ERROR, True),
        ("noavailableserver|model(unavailable|disabled|notready)", ErrorCode.PROVIDER_ERROR, True),
        ("invalid|missing|conflict|duplicate|unsupported", ErrorCode.INVALID_INPUT, False),
        ("value|array|required|^(max|min)", ErrorCode.INVALID_INPUT, False),
    )
)
_TAKEN: Final = re.compile(
    "(?:conflict|duplicate).{0,40}taskuuid|taskuuid.{0,40}conflict", re.IGNORECASE
)


def classify(code: str | None) -> tuple[ErrorCode, bool] | None:
    """Name the class of *code* and whether another try may work; None where it is not known."""
    found = (known for known in _CLASSES if code and known[0].search(code))
    return next(((known[1], known[2]) for known in found), None)


def error_of(item: dict[str, Any], stage: ErrorStage = ErrorStage.PROVIDER) -> JobError:
    code = code_of(item)
    kind, retryable = classify(code) or (ErrorCode.PROVIDER_ERROR, False)
    return JobError(
        code=kind,
        message=safe_message(kind, message_of(item)) or "The provider gave no reason.",
        provider_code=code,
        retryable=retryable,
        stage=stage,
    )


def code_of(item: dict[str, Any]) -> str | None:
    """Find the code beside the task or inside its `error` (an object or a list of them)."""
    nested = [*entries(item.get("error")), *entries(item.get("errors"))]
    places = (item, *map(fields, nested))
    return next((code for place in places if (code := identifier(place.get("code")))), None)


def is_taken(item: dict[str, Any]) -> bool:
    """Is this the complaint that the taskUUID is known? Then the task was accepted before."""
    return _TAKEN.search(code_of(item) or "") is not None


def is_complaint(item: dict[str, Any]) -> bool:
    """Tell an error by its shape: `error` in any form, or `code` and `message` side by side."""
    if item.get("error") or item.get("errors"):
        return True
    return identifier(item.get("code")) is not None and text(item.get("message")) is not None
