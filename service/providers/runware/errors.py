"""Maps Runware's error codes to those of this service.

Runware's codes are not stable, so they are classified by the words in them, in the order of the
vendor's SDK (runware-python, errors.py). The SDK misses two codes that are handled here: the
documented `timeoutProvider`, and `invalidProviderContent`, which is the result of a moderation.
"""

import re
from typing import Any, Final

from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.providers.kit.coercion import as_dict, as_list, identifier, text
from service.providers.kit.http_status import message_of, safe_message

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
        ("apikey|unauthori[sz]ed", ErrorCode.UNAUTHORIZED, False),
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
_MODERATED: Final = re.compile(
    r"\bnsfw\b|\bmoderat(?:ed|ion)\b|content polic|safety (?:system|filter|check|polic)"
    r"|(?:sensitive|unsafe|inappropriate|explicit|prohibited) content|\bflagged\b",
    re.IGNORECASE,
)
"""Messages of moderated work whose error has no code, or none that is known."""
_DUPLICATE_TASK: Final = re.compile(
    "(?:conflict|duplicate).{0,40}taskuuid|taskuuid.{0,40}conflict", re.IGNORECASE
)


def classify(code: str | None) -> tuple[ErrorCode, bool] | None:
    """Return the class of *code* and whether a retry may work; None if the code is not known."""
    if not code:
        return None
    for expression, error_code, retryable in _CLASSES:
        if expression.search(code):
            return error_code, retryable
    return None


def error_of(item: dict[str, Any], stage: ErrorStage = ErrorStage.PROVIDER) -> JobError:
    provider_code, message = code_of(item), message_of(item)
    unknown = ErrorCode.MODERATED if _MODERATED.search(message or "") else ErrorCode.PROVIDER_ERROR
    code, retryable = classify(provider_code) or (unknown, False)
    return JobError(
        code=code,
        message=safe_message(code, message) or "The provider gave no reason.",
        provider_code=provider_code,
        retryable=retryable,
        stage=stage,
    )


def code_of(item: dict[str, Any]) -> str | None:
    """Find the code of an error: in the item itself, or in its `error` or `errors`.

    Each of these may be an object or a list of objects.
    """
    nested = [*as_list(item.get("error")), *as_list(item.get("errors"))]
    for place in (item, *map(as_dict, nested)):
        if code := identifier(place.get("code")):
            return code
    return None


def is_duplicate_task(item: dict[str, Any]) -> bool:
    """Tell whether the error says that the taskUUID is in use: the task was accepted before."""
    return _DUPLICATE_TASK.search(code_of(item) or "") is not None


def is_error(item: dict[str, Any]) -> bool:
    """Recognize an error by its shape: a field `error` or `errors`, or `code` and `message`."""
    if item.get("error") or item.get("errors"):
        return True
    return identifier(item.get("code")) is not None and text(item.get("message")) is not None
