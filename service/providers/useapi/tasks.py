"""Reads the task object of useapi.net, in responses and callbacks, flat or nested."""

import re
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.providers.kit.coercion import (
    artifact_kind,
    as_bounded_list,
    as_dict,
    as_list,
    count,
    identifier,
    media_type,
    number,
    ratio,
    text,
    web_url,
)
from service.providers.kit.http_status import error_code_for, is_retryable, message_of, safe_message

STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "THROTTLED": Status.SUBMITTED,  # accepted, not yet queued; may alternate with PENDING
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
    "CANCELED": Status.CANCELED,
}
_NESTED_TASK_KEYS: Final = ("response", "task")
_NESTED_REF_KEYS: Final = ("task", "request", "response")
_REFUSAL_STATUSES: Final = range(400, 600)
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)+")
"""A failure code of Runway, as `INTERNAL.BAD_OUTPUT.CODE01`."""
_RETRYABLE_REASONS: Final = ("INTERNAL", "THIRD_PARTY")
_KINDS_BY_TASK_TYPE: Final = (
    ("image", "image"),
    ("frames", "image"),
    ("voice", "audio"),
    ("audio", "audio"),
    ("gen", "video"),
    ("video", "video"),
    ("upscale", "video"),
    ("lipsync", "video"),
    ("motion", "video"),
)
"""The kind of artifact by a word in the task type; the first match counts."""


def read_task(body: dict[str, Any]) -> Report:
    """Read a task; the report's status is None if the task's status is not known."""
    task = _flatten(body)
    provider_status = text(task.get("status"))
    status = _status(task, provider_status)
    report = Report(
        refs=_refs(body),
        task_id=_task_id(task),
        status=status,
        provider_status=provider_status,
        progress=ratio(task.get("progressRatio")),
        progress_text=text(task.get("progressText")),
        error=_error(task) if status is Status.FAILED else None,
    )
    if status is not Status.SUCCEEDED:
        return report
    if artifacts := _artifacts(task):
        return replace(report, output=Output(artifacts=artifacts))
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message="The task succeeded, but it has no artifact with a URL.",
        retryable=True,
    )
    return replace(report, status=Status.FAILED, error=error)


def is_task(report: Report) -> bool:
    """Tell the report of a task from that of any other JSON object."""
    return any((report.refs, report.task_id, report.status, report.provider_status))


def has_task_id(body: dict[str, Any]) -> bool:
    return _task_id(_flatten(body)) is not None


def refusal_status(body: dict[str, Any]) -> int | None:
    """Read `code`, which repeats the HTTP status; None if it is no error status (400 to 599)."""
    status = count(_flatten(body).get("code"))
    return status if status in _REFUSAL_STATUSES else None


def _flatten(body: dict[str, Any]) -> dict[str, Any]:
    """Merge a nested task into *body*; the nested values win."""
    task = dict(body)
    for key in _NESTED_TASK_KEYS:
        nested = as_dict(body.get(key))
        task |= {name: value for name, value in nested.items() if value is not None}
    return task


def _task_id(task: dict[str, Any]) -> str | None:
    return identifier(task.get("taskId")) or identifier(task.get("id"))


def _refs(body: dict[str, Any]) -> tuple[str, ...]:
    """Return every replyRef of the body and of its nested objects, without repetition."""
    places = (body, *(as_dict(body.get(key)) for key in _NESTED_REF_KEYS))
    refs = (identifier(place.get("replyRef")) for place in places)
    return tuple(dict.fromkeys(ref for ref in refs if ref))


def _status(task: dict[str, Any], provider_status: str | None) -> Status | None:
    if provider_status is not None:
        return STATUSES.get(provider_status.strip().upper())
    return Status.FAILED if task.get("error") or refusal_status(task) else None


def _error(task: dict[str, Any]) -> JobError:
    """Classify a failure by Runway's failure code, else by the HTTP status in the body."""
    error, status = task.get("error"), refusal_status(task)
    reason = _reason(error)
    code = _error_code(as_dict(error), reason, status, message_of(error))
    if code is not ErrorCode.PROVIDER_ERROR:
        retryable = False
    elif status is not None:
        retryable = is_retryable(status)
    else:
        retryable = reason is None or reason.upper().startswith(_RETRYABLE_REASONS)
    return JobError(
        code=code,
        message=safe_message(code, message_of(error)) or "The provider gave no reason.",
        provider_code=reason or (None if status is None else str(status)),
        retryable=retryable,
    )


def _reason(error: Any) -> str | None:
    """Find Runway's failure code: the error itself or its `reason`."""
    if isinstance(error, str):
        return error.strip() if _REASON.fullmatch(error.strip()) else None
    reasons = (text(as_dict(item).get("reason")) for item in as_list(error))
    return next(filter(None, reasons), None)


def _error_code(
    error: dict[str, Any], reason: str | None, status: int | None, message: str | None
) -> ErrorCode:
    words = (reason or "").upper().split(".")
    # Runway marks moderation in fields beside the reason too.
    if "SAFETY" in words or error.get("moderation_category") or error.get("tally_asimov") is True:
        return ErrorCode.MODERATED
    if words[0] in ("ASSET", "INPUT_PREPROCESSING"):
        return ErrorCode.INVALID_INPUT
    return ErrorCode.PROVIDER_ERROR if status is None else refusal_error_code(status, message)


def refusal_error_code(status: int, message: str | None = None) -> ErrorCode:
    """Classify an HTTP status; useapi.net answers 422 if the prompt was moderated."""
    return ErrorCode.MODERATED if status == 422 else error_code_for(status, message)  # noqa: PLR2004


def _artifacts(task: dict[str, Any]) -> tuple[Artifact, ...]:
    default_kind = _kind_by_task_type(text(task.get("taskType")) or "")
    items = as_bounded_list(task.get("artifacts"))
    artifacts = (_artifact(as_dict(item), default_kind) for item in items)
    return tuple(artifact for artifact in artifacts if artifact is not None)


def _artifact(item: dict[str, Any], default_kind: str) -> Artifact | None:
    """Read an artifact; None if it has no URL. Other endpoints take its `assetId` as input."""
    url = web_url(item.get("url"))
    if url is None:
        return None
    metadata = as_dict(item.get("metadata"))
    file_type = media_type(text(item.get("filename")), url)
    width, height = _dimensions(metadata)
    if file_type:
        kind = artifact_kind(file_type)
    else:
        kind = _kind_by_metadata(metadata, width) or default_kind
    return Artifact(
        id=identifier(item.get("assetId")) or identifier(item.get("id")),
        kind=kind,
        url=url,
        media_type=file_type,
        width=width,
        height=height,
        bytes=count(item.get("fileSize")),
    )


def _dimensions(metadata: dict[str, Any]) -> tuple[int | None, int | None]:
    """Read width and height in pixels, as `dimensions: [w, h]` or `size: {width, height}`."""
    match metadata.get("dimensions"):
        case [width, height]:
            return count(width), count(height)
    size = as_dict(metadata.get("size"))
    return count(size.get("width")), count(size.get("height"))


def _kind_by_metadata(metadata: dict[str, Any], width: int | None) -> str | None:
    if number(metadata.get("frameRate")) or number(metadata.get("duration")):
        return "audio" if width is None and "frameRate" not in metadata else "video"
    return None if width is None else "image"


def _kind_by_task_type(task_type: str) -> str:
    lower = task_type.lower()
    return next((kind for word, kind in _KINDS_BY_TASK_TYPE if word in lower), "file")
