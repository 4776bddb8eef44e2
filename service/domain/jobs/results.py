"""What a job brings: its files, texts and data, and why it or a part of it failed."""

from enum import StrEnum
from typing import Any

import msgspec


class ErrorCode(StrEnum):
    """Why a job failed, in our words."""

    MODERATED = "moderated"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    INVALID_INPUT = "invalid_input"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    NO_OUTPUT = "no_output"
    SUBMIT_UNKNOWN = "submit_unknown"
    TIMED_OUT = "timed_out"


class ErrorStage(StrEnum):
    """Where a job failed."""

    SUBMIT = "submit"
    PROVIDER = "provider"
    TIMEOUT = "timeout"


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job, or one of its results, failed; *retryable*: a new submission may work."""

    code: ErrorCode
    message: str
    provider_code: str | None = None
    retryable: bool = False
    stage: ErrorStage = ErrorStage.PROVIDER


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One file the provider made; *kind* is image, video, audio, text, model or file."""

    id: str | None = None
    kind: str = "file"
    url: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a job brought; *errors* are those of its failed parts.

    In an event that it would make too large, *link* to the job stands for it.
    """

    artifacts: tuple[Artifact, ...] = ()
    text: str | None = None
    data: dict[str, Any] | list[Any] | None = None
    errors: tuple[JobError, ...] = ()
    link: str | msgspec.UnsetType = msgspec.UNSET


def merge_results(before: Output | None, brought: Output | None, error: JobError | None) -> Output:
    """Add what one result brought, or why it failed."""
    have, new = before or Output(), brought or Output()
    errors = have.errors + new.errors + ((error,) if error else ())
    texts = [text for text in (have.text, new.text) if text is not None]
    return Output(
        artifacts=have.artifacts + new.artifacts,
        text="\n\n".join(texts) if texts else None,
        data=_merge_data(have.data, new.data),
        errors=errors,
    )


def _merge_data(
    have: dict[str, Any] | list[Any] | None, new: dict[str, Any] | list[Any] | None
) -> dict[str, Any] | list[Any] | None:
    """One result's data stands as it is; several stand in a list."""
    if have is None or new is None:
        return have if new is None else new
    return [*(have if isinstance(have, list) else [have]), new]
