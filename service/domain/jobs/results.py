"""Results of a job: its output (files, text, data) and its errors."""

from enum import StrEnum
from typing import Any

import msgspec


class ErrorCode(StrEnum):
    """Why a job failed, the same codes for all providers."""

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
    """The step in which a job failed."""

    SUBMIT = "submit"
    PROVIDER = "provider"
    TIMEOUT = "timeout"


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job or one of its results failed; *retryable*: a new submission may succeed."""

    code: ErrorCode
    message: str
    provider_code: str | None = None
    retryable: bool = False
    stage: ErrorStage = ErrorStage.PROVIDER


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One file the provider made; *kind* is image, video, audio, text, model or file.

    *width* and *height* are in pixels. *seed* reproduces the file; it may exceed 2^53. *nsfw*: the
    provider's own verdict about the content. *preview_urls* are smaller versions or frames of the
    file. *expires_at*: when the URL ends, RFC 3339 in UTC. Null where the provider does not say.
    """

    id: str | None = None
    kind: str = "file"
    url: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    seed: int | None = None
    nsfw: bool | None = None
    preview_urls: tuple[str, ...] = ()
    expires_at: str | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """The output of a job; *errors* are those of its failed parts.

    An event that would be too large has only *link*, the path of the job, instead of the output.
    """

    artifacts: tuple[Artifact, ...] = ()
    text: str | None = None
    data: dict[str, Any] | list[Any] | None = None
    errors: tuple[JobError, ...] = ()
    link: str | msgspec.UnsetType = msgspec.UNSET


def merge_results(
    output: Output | None, part: Output | None, part_error: JobError | None
) -> Output:
    """Add the output of one part, or the error it failed with, to the *output* of the job."""
    old, new = output or Output(), part or Output()
    errors = old.errors + new.errors
    if part_error is not None:
        errors += (part_error,)
    texts = [text for text in (old.text, new.text) if text is not None]
    return Output(
        artifacts=old.artifacts + new.artifacts,
        text="\n\n".join(texts) if texts else None,
        data=_merge_data(old.data, new.data),
        errors=errors,
    )


def _merge_data(
    old: dict[str, Any] | list[Any] | None, new: dict[str, Any] | list[Any] | None
) -> dict[str, Any] | list[Any] | None:
    """Keep the data of one result as it is; make a list of the data of several."""
    if old is None or new is None:
        return old if new is None else new
    return [*(old if isinstance(old, list) else [old]), new]
