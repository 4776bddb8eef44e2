"""Runway's failure codes, which useapi.net passes on: the words of `SAFETY.INPUT.TEXT` and others.

Source: https://docs.dev.runwayml.com/errors/task-failures.
"""

from typing import Final

from service.domain.jobs.results import ErrorCode

_RETRYABLE: Final = ("INTERNAL", "THIRD_PARTY")
_INPUT: Final = ("ASSET", "INPUT_PREPROCESSING")


def failure_error_code(failure: str | None) -> ErrorCode | None:
    """Classify a failure code by its words; None if they say nothing."""
    words = (failure or "").upper().split(".")
    if "SAFETY" in words:
        return ErrorCode.MODERATED
    return ErrorCode.INVALID_INPUT if words[0] in _INPUT else None


def is_retryable_failure(failure: str | None) -> bool:
    """Tell whether a new task may succeed: without a code, and for Runway's internal errors."""
    return failure is None or failure.upper().startswith(_RETRYABLE)
