"""Reads the artifacts of a task of useapi.net."""

from typing import Any, Final

from service.domain.jobs.results import Artifact
from service.providers.kit.coercion import (
    artifact_kind,
    as_bounded_list,
    as_dict,
    as_list,
    count,
    identifier,
    media_type,
    number,
    text,
    web_url,
)
from service.providers.kit.url_expiry import url_expiry

_MAX_PREVIEWS: Final = 20
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


def read_artifacts(task: dict[str, Any]) -> tuple[Artifact, ...]:
    default_kind = _kind_by_task_type(text(task.get("taskType")) or "")
    seed = count(as_dict(task.get("options")).get("seed"))
    items = as_bounded_list(task.get("artifacts"))
    artifacts = (_artifact(as_dict(item), default_kind, seed) for item in items)
    return tuple(artifact for artifact in artifacts if artifact is not None)


def _artifact(item: dict[str, Any], default_kind: str, seed: int | None) -> Artifact | None:
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
    previews = (web_url(preview) for preview in as_list(item.get("previewUrls"))[:_MAX_PREVIEWS])
    return Artifact(
        id=identifier(item.get("assetId")) or identifier(item.get("id")),
        kind=kind,
        url=url,
        media_type=file_type,
        width=width,
        height=height,
        bytes=count(item.get("fileSize")),
        seed=seed,
        preview_urls=tuple(preview for preview in previews if preview is not None),
        expires_at=url_expiry(url),
    )


def _dimensions(metadata: dict[str, Any]) -> tuple[int | None, int | None]:
    """Read width and height in pixels.

    They are `dimensions: [w, h]`, `size: {width, height}`, or fields of the metadata itself.
    """
    match metadata.get("dimensions"):
        case [width, height]:
            return count(width), count(height)
    size = as_dict(metadata.get("size")) or metadata
    return count(size.get("width")), count(size.get("height"))


def _kind_by_metadata(metadata: dict[str, Any], width: int | None) -> str | None:
    if number(metadata.get("frameRate")) or number(metadata.get("duration")):
        return "audio" if width is None and "frameRate" not in metadata else "video"
    return None if width is None else "image"


def _kind_by_task_type(task_type: str) -> str:
    lower = task_type.lower()
    return next((kind for word, kind in _KINDS_BY_TASK_TYPE if word in lower), "file")
