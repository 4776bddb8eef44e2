"""Errors of fal: those of a model are a list of typed details, those of its queue a sentence.

Sources: fal's pages "Model Errors" and "Request Error Types".
"""

import re
from typing import Any, Final

from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.providers.kit.coercion import as_dict, as_list, identifier, text
from service.providers.kit.http_status import (
    error_code_for,
    is_retryable,
    message_of,
    safe_message,
)

_MAX_DETAILS: Final = 20
_STATUS: Final = re.compile(r"(?i)status code:? ?([1-5][0-9]{2})(?![0-9])")
"""As in the `error` of a callback: `Invalid status code: 422`."""
_MODERATED: Final = frozenset({"content_policy_violation"})
_TEMPORARY: Final = frozenset(
    {
        "downstream_service_error",
        "downstream_service_unavailable",
        "generation_timeout",
        "internal_error",
        "internal_server_error",
        "no_media_generated",
        "request_timeout",
        "runner_connection_error",
        "runner_connection_refused",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_incomplete_response",
        "runner_scheduling_failure",
        "runner_server_error",
        "startup_timeout",
    }
)
"""Types of errors that are not about the input, so that another submission may succeed."""
_NO_CREDITS: Final = "exhausted balance"
"""fal answers 403 `User is locked. Reason: Exhausted balance. …`."""


def is_failure(body: dict[str, Any]) -> bool:
    """Tell whether *body* is the answer of a model or of the queue that failed."""
    return isinstance(body.get("detail"), list) or text(body.get("error_type")) is not None


def error_of(
    body: dict[str, Any],
    error: Any = None,
    status: int | None = None,
    stage: ErrorStage = ErrorStage.PROVIDER,
) -> JobError:
    """Read the *body* of an error.

    *error* is the sentence beside it in a callback, which names the HTTP status of the model's
    answer. *status* is that status if it is known.
    """
    status = _status_in(error) if status is None else status
    details = [as_dict(item) for item in as_list(body.get("detail"))[:_MAX_DETAILS]]
    types = [kind for item in details if (kind := text(item.get("type")))]
    provider_code = text(body.get("error_type")) or next(iter(types), None)
    message = _message(details) or message_of(body.get("detail")) or message_of(error)
    if _MODERATED & {*types, provider_code}:
        code = ErrorCode.MODERATED
    elif provider_code in _TEMPORARY:
        code = ErrorCode.PROVIDER_ERROR
    elif _NO_CREDITS in (message or "").lower():
        code = ErrorCode.INSUFFICIENT_CREDITS
    elif types:
        code = ErrorCode.INVALID_INPUT
    else:
        code = ErrorCode.PROVIDER_ERROR if status is None else error_code_for(status)
    return JobError(
        code=code,
        message=safe_message(code, message) or "The provider gave no reason.",
        provider_code=provider_code or (None if status is None else str(status)),
        retryable=code is ErrorCode.PROVIDER_ERROR
        and (provider_code in _TEMPORARY or status is None or is_retryable(status)),
        stage=stage,
    )


def _message(details: list[dict[str, Any]]) -> str | None:
    """Join the details as `prompt: field required; seed: …`."""
    lines = []
    for item in details:
        sentence = text(item.get("msg"))
        path = ".".join(filter(None, map(identifier, as_list(item.get("loc"))[:8])))
        place = path.removeprefix("body").removeprefix(".")
        if sentence:
            lines.append(f"{place}: {sentence}" if place else sentence)
    return message_of("; ".join(lines))


def _status_in(error: Any) -> int | None:
    found = _STATUS.search((text(error) or "")[:1000])
    return int(found[1]) if found else None
