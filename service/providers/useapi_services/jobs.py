"""Reads the jobs of useapi.net's services: one reader for the ids, words and places of all."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.domain.primitives.json_input import UnreadableJson
from service.providers.kit.coercion import (
    MAX_ITEMS,
    artifact_kind,
    as_dict,
    as_list,
    count,
    identifier,
    media_type,
    ratio,
    text,
    web_url,
)
from service.providers.kit.http_status import message_of
from service.providers.useapi.failures import task_error
from service.providers.useapi_services.catalog import SERVICES

_STATUSES: Final = {
    **dict.fromkeys(("created", "queued", "pending", "submitted"), Status.SUBMITTED),
    **dict.fromkeys(("started", "progress", "processing", "running", "generating"), Status.RUNNING),
    **dict.fromkeys(("completed", "succeed", "succeeded", "success"), Status.SUCCEEDED),
    **dict.fromkeys(("failed", "error", "moderated"), Status.FAILED),
    **dict.fromkeys(("cancelled", "canceled"), Status.CANCELED),
}
_STATUS_KEYS: Final = ("status", "statusLabel", "status_name", "video_status_name")
_SONG_STATES: Final = {
    1: Status.SUBMITTED,
    2: Status.RUNNING,
    3: Status.SUCCEEDED,
    4: Status.FAILED,
}
"""Mureka's numbers in `response.state`; calls for the first two come too."""
_REF_PLACES: Final = ("request", "response", "task")
_ID_KEYS: Final = tuple(dict.fromkeys(key for service in SERVICES for key in service.id_keys))
_CONTAINERS: Final = (
    *("response", "task", "works", "resource", "media", "operations", "operation", "metadata"),
    *("video", "image", "audio", "generatedImage", "videos", "images", "songs", "attachments"),
)
"""The fields that results are in; URLs anywhere else are inputs, covers or avatars."""
_URL_KEYS: Final = {
    **dict.fromkeys(("downloadURL", "videoURL", "videoUrl", "video_url"), "video"),
    **dict.fromkeys(("imageUrl", "imageURL", "image_url"), "image"),
    **dict.fromkeys(("mp3_url", "audio_url", "audioUrl"), "audio"),
    **dict.fromkeys(("fifeUrl", "url", "resource"), "file"),
}
"""The first of these in an object is its file: a download comes before a watermarked preview.

The values are the kinds of files whose URLs do not tell it.
"""
_PREVIEW_KEYS: Final = ("coverURL", "coverUrl", "first_frame")
_MAX_DEPTH: Final = 6
_MODERATION_WORDS: Final = ("moderat", "nsfw", "sensitive")
_BUTTON_USED: Final = 409
"""Midjourney: the button of an image was pressed before. The job itself goes on or has ended."""
_REFUSALS: Final = range(400, 600)

_NO_FILE: Final = JobError(
    code=ErrorCode.NO_OUTPUT,
    message="The job is complete, but it has no file with a URL.",
    retryable=True,
)
"""Such a job is looked up once: the vendor's callbacks are incomplete at times."""


def read_job(body: dict[str, Any]) -> Report:
    """Read a job; a report without refs, id and status means that it is none."""
    status_code, provider_status = count(body.get("code")), _provider_status(body)
    status = _status(body, provider_status, status_code)
    report = Report(
        refs=_refs(body),
        task_id=_task_id(body),
        status=status,
        provider_status=provider_status,
        progress=ratio(body.get("percent"), 100.0),
    )
    if status is Status.FAILED:
        return replace(report, error=_error(body, provider_status))
    if status is not Status.SUCCEEDED:
        return report
    if output := _output(body):
        return replace(report, output=output)
    return replace(report, status=Status.FAILED, error=_NO_FILE)


def _provider_status(body: dict[str, Any]) -> str | None:
    places = (body, as_dict(body.get("task")), as_dict(body.get("response")))
    found = (text(place.get(key)) for place in places for key in _STATUS_KEYS)
    return next(filter(None, found), None)


def _status(body: dict[str, Any], word: str | None, status_code: int | None) -> Status | None:
    if status_code == _BUTTON_USED:
        return None
    state = as_dict(body.get("response")).get("state")
    if isinstance(state, int) and state in _SONG_STATES:
        return _SONG_STATES[state]
    if word is not None:
        return _STATUSES.get(word.strip().lower())
    return Status.FAILED if status_code in _REFUSALS or body.get("error") else None


def _refs(body: dict[str, Any]) -> tuple[str, ...]:
    places = (body, *(as_dict(body.get(key)) for key in _REF_PLACES))
    refs = (identifier(place.get("replyRef")) for place in places)
    return tuple(dict.fromkeys(ref for ref in refs if ref))


def _task_id(body: dict[str, Any]) -> str | None:
    """Read the id under the name that the service gives it; Kling's is in `task`."""
    ids = (identifier(body.get(key)) for key in _ID_KEYS)
    return next(filter(None, ids), None) or identifier(as_dict(body.get("task")).get("id"))


def _output(body: dict[str, Any]) -> Output | None:
    """Read every file in the known places; the same file in two of them counts once."""
    artifacts: dict[str, Artifact] = {}
    for item in _objects(body):
        artifact = _artifact(item)
        if artifact is not None and artifact.url is not None:
            artifacts.setdefault(artifact.url, artifact)
    return Output(artifacts=tuple(artifacts.values())) if artifacts else None


def _objects(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk *body* and the objects in its known containers, level by level."""
    level, seen = [body], 0
    for _ in range(_MAX_DEPTH):
        seen += len(level)
        if seen > MAX_ITEMS:
            raise UnreadableJson(f"more than {MAX_ITEMS} items")
        yield from level
        level = [
            item
            for outer in level
            for key in _CONTAINERS
            for item in as_list(outer.get(key))
            if isinstance(item, dict)
        ]


def _artifact(item: dict[str, Any]) -> Artifact | None:
    key = next((key for key in _URL_KEYS if web_url(item.get(key))), None)
    if key is None:
        return None
    found = media_type(item[key])
    previews = (web_url(item.get(key)) for key in _PREVIEW_KEYS)
    return Artifact(
        kind=artifact_kind(found) if found else _URL_KEYS[key],
        url=item[key],
        media_type=found,
        width=count(item.get("width")) or count(item.get("output_width")),
        height=count(item.get("height")) or count(item.get("output_height")),
        seed=count(item.get("seed")),
        preview_urls=tuple(preview for preview in previews if preview),
    )


def _error(body: dict[str, Any], word: str | None) -> JobError:
    """Classify a failure; the words `moderated` and `sensitive` may be all that tells why."""
    response = as_dict(body.get("response"))
    error = task_error({"error": response.get("error"), **body})
    details = message_of(body.get("errorDetails"))
    said = " ".join(filter(None, (word, error.message, details))).lower()
    if error.code is ErrorCode.PROVIDER_ERROR and any(one in said for one in _MODERATION_WORDS):
        return replace(error, code=ErrorCode.MODERATED, retryable=False)
    return error
