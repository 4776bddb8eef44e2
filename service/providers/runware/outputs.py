"""Reads the results of Runware: files by URL or inline, text, structured data."""

from typing import Any, Final

from service.domain.jobs.results import Artifact, Output
from service.providers.kit.coercion import (
    artifact_kind,
    as_bounded_list,
    as_dict,
    media_type,
    text,
    web_url,
)
from service.providers.runware.catalog import has_known_results

MEDIA: Final = ("image", "video", "audio", "model", "media", "guideImage", "maskImage")
"""A file is named by these words and a suffix, as in `imageURL` and `imageUUID`."""
_INLINE_SUFFIXES: Final = ("DataURI", "Base64Data")
_DATA_KEYS: Final = ("structuredData", "result")
_MAX_SEED: Final = 2**64 - 1
_MEDIA_KEYS: Final = {
    medium + suffix: medium for medium in MEDIA for suffix in ("URL", "UUID", *_INLINE_SUFFIXES)
}
_READY: Final = "ready"
SUCCEEDED_STATUSES: Final = frozenset({"success", "succeeded", "completed", _READY})
_FINAL_STATUSES: Final = SUCCEEDED_STATUSES | {""}
_TASK_KEYS: Final = frozenset({"taskType", "taskUUID", "cost"})
_STATE_KEYS: Final = _TASK_KEYS | {"status", "progress", "message"}
RESULT_KEYS: Final = frozenset((*_MEDIA_KEYS, *_DATA_KEYS, "text", "outputs"))
_BASE64_SIGNATURES: Final = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("UklGR", "webp"))


def has_result(item: dict[str, Any]) -> bool:
    """Whether *item* has a known form of a result, or any other content if its type is unlisted."""
    known = any(item[key] is not None for key in item.keys() & RESULT_KEYS)
    return known or _other_content(item) is not None


def output_of(item: dict[str, Any]) -> Output:
    """Read all known forms of a result; text is ignored if there is structured data.

    The page on image captions asks for this order: `structuredData`, then `text`. How long a URL
    lives (`ttl` in the input) is not in the result, and neither is the time it was made.
    """
    media = {_MEDIA_KEYS[key] for key in item.keys() & _MEDIA_KEYS.keys()}
    candidates = [_artifact(item, medium) for medium in MEDIA if medium in media]
    files = as_bounded_list(as_dict(item.get("outputs")).get("files"))
    candidates += [_listed_file(as_dict(file), item) for file in files]
    artifacts = tuple(artifact for artifact in candidates if artifact is not None)
    # The result of a training is `outputs` alone; beside a file, `outputs` only describes the file.
    keys = _DATA_KEYS if artifacts else (*_DATA_KEYS, "outputs")
    values = (_structured(item, key) for key in keys)
    data = next((value for value in values if value), None)
    words = text(item.get("text")) or text(item.get("result")) if data is None else None
    if not artifacts and words is None and data is None:
        data = _other_content(item) or _ids(item, media)
    return Output(artifacts=artifacts, text=words, data=data)


def _other_content(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return all fields of a task type without known results; None if there is no content yet.

    A model that was uploaded is `ready` at the end, without further content.
    """
    task_type = text(item.get("taskType"))
    status = (text(item.get("status")) or "").lower()
    if task_type is None or has_known_results(task_type) or status not in _FINAL_STATUSES:
        return None
    fields = {key: value for key, value in item.items() if value is not None}
    if not fields.keys() - _STATE_KEYS and status != _READY:
        return None
    return {key: value for key, value in fields.items() if key not in _TASK_KEYS}


def _ids(item: dict[str, Any], media: set[str]) -> dict[str, Any] | None:
    """Return the ids of files that come without a URL, as after an upload."""
    keys = (f"{medium}UUID" for medium in sorted(media))
    return {key: item[key] for key in keys if text(item.get(key))} or None


def _structured(item: dict[str, Any], key: str) -> dict[str, Any] | list[Any] | None:
    """Read an object or a list; a single value of `structuredData` keeps its name."""
    value = item.get(key)
    if isinstance(value, dict | list):
        return value
    is_value = text(value) is not None or isinstance(value, int | float)
    return {key: value} if key == "structuredData" and is_value else None


def _artifact(item: dict[str, Any], medium: str) -> Artifact | None:
    """Read one file: its URL, else its content, which is sent if the client asked for it."""
    url = web_url(item.get(f"{medium}URL"))
    data_uri = None if url else _data_uri(item, medium)
    uuid = text(item.get(f"{medium}UUID"))
    if url is None and data_uri is None:
        return None
    file_type = media_type(url) if url else _media_type_of_data_uri(data_uri)
    kind = medium.removeprefix("guide").removeprefix("mask").lower()
    return Artifact(
        id=uuid,
        kind=artifact_kind(file_type or "") if kind == "media" else kind,
        url=url or data_uri,
        media_type=file_type,
        seed=_seed(item.get("seed")),
        nsfw=_verdict(item),
    )


def _listed_file(file: dict[str, Any], item: dict[str, Any]) -> Artifact | None:
    url = web_url(file.get("url"))
    if url is None:
        return None
    file_type = media_type(url)
    kind = artifact_kind(file_type) if file_type else "model"
    return Artifact(
        id=text(file.get("uuid")),
        kind=kind,
        url=url,
        media_type=file_type,
        seed=_seed(item.get("seed")),
        nsfw=_verdict(item),
    )


def _seed(value: Any) -> int | None:
    """Read a seed of up to 64 bits; it may be given as a string."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(_MAX_SEED)):
        value = int(value)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and 0 <= value <= _MAX_SEED else None


def _verdict(item: dict[str, Any]) -> bool | None:
    """Whether the provider considers the content unsafe; None if it was not asked to check."""
    verdict = item.get("NSFWContent")
    return verdict if isinstance(verdict, bool) else None


def _data_uri(item: dict[str, Any], medium: str) -> str | None:
    uri, base64 = (text(item.get(medium + suffix)) for suffix in _INLINE_SUFFIXES)
    if uri and uri.startswith("data:"):
        return uri
    if base64 is None:
        return None
    for signature, extension in _BASE64_SIGNATURES:
        if base64.startswith(signature):
            return f"data:image/{extension};base64,{base64}"
    return f"data:application/octet-stream;base64,{base64}"


def _media_type_of_data_uri(uri: str | None) -> str | None:
    found = (uri or "").removeprefix("data:").partition(";")[0]
    return found if "/" in found else None
