"""Reads the output of a prediction, whose type depends on the model."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from service.domain.jobs.results import Artifact, Output
from service.domain.primitives.json_input import UnreadableJson
from service.domain.primitives.timestamps import SECOND, parse_rfc3339, rfc3339
from service.providers.kit.coercion import (
    MAX_ITEMS,
    artifact_kind,
    as_list,
    media_type,
    text,
    web_url,
)

RETENTION_SECONDS: Final = 3600
"""Files are deleted an hour after the prediction, if it was made through the API.

Source: replicate.com/docs/topics/predictions/data-retention.
"""
_MAX_DEPTH: Final = 3
"""Of the lists and objects in which URLs are looked for."""
_MAX_MEDIA_TYPE: Final = 100


def read_output(output: Any, completed_at: Any) -> Output | None:
    """Read *output*; None if it is empty.

    URLs become artifacts, also those inside objects. Strings without a URL are the tokens of one
    text. Every other list or object is data; a number becomes a text. *completed_at* is the time
    when the prediction ended (RFC 3339).

    Raises UnreadableJson for more than 1,000 URLs.
    """
    items = [item for item in as_list(output) if item is not None]
    if not items or output == {}:
        return None
    urls = [url for item in items for url in _urls(item, _MAX_DEPTH)]
    if len(urls) > MAX_ITEMS:
        raise UnreadableJson(f"more than {MAX_ITEMS} files")
    expires_at = _expires_at(completed_at)
    artifacts = tuple(_artifact(url, expires_at) for url in urls)
    if all(isinstance(item, str) for item in items):
        if len(urls) == len(items):
            return Output(artifacts=artifacts)
        if not urls:
            joined = text("".join(items))
            return None if joined is None else Output(text=joined)
    if isinstance(output, dict | list):
        return Output(artifacts=artifacts, data=output)
    return Output(text=msgspec.json.encode(output).decode())


def _urls(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if _is_file(value):
            yield value
    elif depth > 0 and isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _urls(item, depth - 1)


def _is_file(value: str) -> bool:
    """Tell a URL from a text that begins with one."""
    if value.startswith("data:"):
        return _data_type(value) is not None
    return web_url(value) is not None and len(value.split(maxsplit=1)) == 1


def _data_type(url: str) -> str | None:
    """Return the media type of a `data:` URL (RFC 2397); None if it is no such URL."""
    head, comma, _ = url[: _MAX_MEDIA_TYPE * 2].partition(",")
    media, _, _ = head.removeprefix("data:").partition(";")
    is_media_type = "/" in media and len(media) <= _MAX_MEDIA_TYPE and not media.count(" ")
    return media if comma and is_media_type else None


def _artifact(url: str, expires_at: str | None) -> Artifact:
    is_data = url.startswith("data:")
    file_type = _data_type(url) if is_data else media_type(url)
    return Artifact(
        kind=artifact_kind(file_type) if file_type else "file",
        url=url,
        media_type=file_type,
        expires_at=None if is_data else expires_at,
    )


def _expires_at(completed_at: Any) -> str | None:
    try:
        return rfc3339(parse_rfc3339(completed_at) + RETENTION_SECONDS * SECOND)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
