"""Reading useapi.net's task object: in answers, in callbacks, flat or nested."""

import re
from typing import Any, Final

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.providers.coercion import (
    count,
    entries,
    few,
    fields,
    identifier,
    kind_of,
    media_type,
    number,
    ratio,
    text,
    web_url,
)
from service.providers.http_status import code_for, message_of, retryable, safe_message

STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "THROTTLED": Status.SUBMITTED,  # accepted, not yet queued; may alternate with PENDING
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
    "CANCELED": Status.CANCELED,
}
_NESTS: Final = ("response", "task")
_REF_NESTS: Final = ("task", "request", "response")
_REFUSALS: Final = range(400, 600)
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)+")
_PASSING: Final = ("INTERNAL", "THIRD_PARTY")
_KINDS_BY_TASK: Final = (
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


def read_task(body: dict[str, Any]) -> Report:
    """Read a task; its status stays None where the word for it is not known."""
    task = _flat(body)
    word = text(task.get("status"))
    status = _status(task, word)
    artifacts = _artifacts(task) if status is Status.SUCCEEDED else ()
    report = Report(
        refs=_refs(body),
        task_id=_task_id(task),
        status=status,
        provider_status=word,
        progress=ratio(task.get("progressRatio")),
        progress_text=text(task.get("progressText")),
        output=Output(artifacts=artifacts) if artifacts else None,
        error=_failure(task) if status is Status.FAILED else None,
    )
    return report if status is not Status.SUCCEEDED or artifacts else _without_output(report)


def says_something(report: Report) -> bool:
    """Tell a task from just any JSON object."""
    return any((report.refs, report.task_id, report.status, report.provider_status))


def names_task(body: dict[str, Any]) -> bool:
    return _task_id(_flat(body)) is not None


def refusal_code(body: dict[str, Any]) -> int | None:
    """Read `code`, which repeats the HTTP status, where it tells of a refusal."""
    code = count(_flat(body).get("code"))
    return code if code in _REFUSALS else None


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    """Lay a nested task over what stands around it."""
    task = dict(body)
    for nest in _NESTS:
        inner = fields(body.get(nest))
        task |= {key: value for key, value in inner.items() if value is not None}
    return task


def _task_id(task: dict[str, Any]) -> str | None:
    return identifier(task.get("taskId")) or identifier(task.get("id"))


def _refs(body: dict[str, Any]) -> tuple[str, ...]:
    places = (body, *(fields(body.get(nest)) for nest in _REF_NESTS))
    return tuple(
        dict.fromkeys(ref for place in places if (ref := identifier(place.get("replyRef"))))
    )


def _status(task: dict[str, Any], word: str | None) -> Status | None:
    if word is not None:
        return STATUSES.get(word.strip().upper())
    return Status.FAILED if task.get("error") or refusal_code(task) else None


def _without_output(report: Report) -> Report:
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message="The task succeeded without an artifact that could be fetched.",
        retryable=True,
    )
    return Report(
        refs=report.refs,
        task_id=report.task_id,
        status=Status.FAILED,
        provider_status=report.provider_status,
        progress=report.progress,
        progress_text=report.progress_text,
        error=error,
    )


def _failure(task: dict[str, Any]) -> JobError:
    """Judge by the reason (Runway's failure codes), else by the HTTP status the body repeats."""
    error, status = task.get("error"), refusal_code(task)
    reason = _reason(error)
    code = _code(fields(error), reason, status)
    passing = reason is None or reason.upper().startswith(_PASSING)
    mends = code is ErrorCode.PROVIDER_ERROR and (passing if status is None else retryable(status))
    return JobError(
        code=code,
        message=safe_message(code, message_of(error)) or "The provider gave no reason.",
        provider_code=reason or (None if status is None else str(status)),
        retryable=mends,
    )


def _reason(error: Any) -> str | None:
    if isinstance(error, str):
        return error.strip() if _REASON.fullmatch(error.strip()) else None
    return next(filter(None, (text(fields(e).get("reason")) for e in entries(error))), None)


def _code(error: dict[str, Any], reason: str | None, status: int | None) -> ErrorCode:
    parts = (reason or "").upper().split(".")
    # Runway's moderation leaves its mark beside the reason too.
    if "SAFETY" in parts or error.get("moderation_category") or error.get("tally_asimov") is True:
        return ErrorCode.MODERATED
    if parts[0] in ("ASSET", "INPUT_PREPROCESSING"):
        return ErrorCode.INVALID_INPUT
    return ErrorCode.PROVIDER_ERROR if status is None else refusal(status)


def refusal(status: int) -> ErrorCode:
    """Name a refusal by its HTTP status; useapi answers 422 to a moderated prompt."""
    return ErrorCode.MODERATED if status == 422 else code_for(status)  # noqa: PLR2004


def _artifacts(task: dict[str, Any]) -> tuple[Artifact, ...]:
    kind = _kind_by_task(text(task.get("taskType")) or "")
    read = (_artifact(fields(item), kind) for item in few(task.get("artifacts")))
    return tuple(artifact for artifact in read if artifact is not None)


def _artifact(item: dict[str, Any], kind: str) -> Artifact | None:
    """Take an artifact that has a URL; `assetId` is the id that other endpoints ask for."""
    url = web_url(item.get("url"))
    if url is None:
        return None
    metadata = fields(item.get("metadata"))
    media = media_type(text(item.get("filename")), url)
    width, height = _dimensions(metadata)
    return Artifact(
        id=identifier(item.get("assetId")) or identifier(item.get("id")),
        kind=kind_of(media) if media else _kind_by_metadata(metadata, width) or kind,
        url=url,
        media_type=media,
        width=width,
        height=height,
        bytes=count(item.get("fileSize")),
    )


def _dimensions(metadata: dict[str, Any]) -> tuple[int | None, int | None]:
    match metadata.get("dimensions"):
        case [width, height]:
            return count(width), count(height)
    size = fields(metadata.get("size"))
    return count(size.get("width")), count(size.get("height"))


def _kind_by_metadata(metadata: dict[str, Any], width: int | None) -> str | None:
    if number(metadata.get("frameRate")) or number(metadata.get("duration")):
        return "audio" if width is None and "frameRate" not in metadata else "video"
    return None if width is None else "image"


def _kind_by_task(task_type: str) -> str:
    lower = task_type.lower()
    return next((kind for word, kind in _KINDS_BY_TASK if word in lower), "file")
