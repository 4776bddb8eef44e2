"""Readers of untrusted JSON values: each accepts any value and returns a clean one or None."""

import math
import re
from typing import Any, Final

from service.domain.primitives.json_input import UnreadableJson, read_json

_NUMBER: Final = re.compile("[0-9]{1,20}")
_WEB_URL: Final = re.compile(r"(?i)https?://[^\s/]")
_MAX_INTEGER: Final = 2**63 - 1
MAX_ITEMS: Final = 1000
"""Items read one by one from one body; the structured data of a result may have more."""
_MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "svg": "image/svg+xml",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "ply": "model/ply",
    "stl": "model/stl",
    "txt": "text/plain",
}


def json_or_none(body: bytes) -> Any:
    """Decode *body*; None if it is not JSON."""
    try:
        return read_json(body)
    except UnreadableJson:
        return None


def as_dict(value: Any) -> dict[str, Any]:
    """Return *value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return *value* if it is a list, nothing for None, else a list of this one value."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def as_bounded_list(*values: Any) -> list[Any]:
    """Join *values* as by `as_list`; raises UnreadableJson if there are more than 1,000 items."""
    items = [item for value in values for item in as_list(value)]
    if len(items) > MAX_ITEMS:
        raise UnreadableJson(f"more than {MAX_ITEMS} items")
    return items


def text(value: Any) -> str | None:
    """Read a string that is not blank."""
    return value if isinstance(value, str) and value.strip() else None


def identifier(value: Any) -> str | None:
    """Read an identifier; an integer becomes a string."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer and abs(value) <= _MAX_INTEGER else text(value)


def number(value: Any) -> float | None:
    """Read a finite number; it may be given as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def ratio(value: Any, whole: float = 1.0) -> float | None:
    """Read progress as a fraction of *whole*; None below 0 or above the whole."""
    parsed = number(value)
    return parsed / whole if parsed is not None and 0 <= parsed <= whole else None


def count(value: Any) -> int | None:
    """Read a size in bytes or pixels, without rounding if it is given as a string."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and 0 <= value <= _MAX_INTEGER else None


def amount(value: Any) -> float | None:
    """Read a cost; None if it is negative."""
    parsed = number(value)
    return parsed if parsed is not None and parsed >= 0 else None


def web_url(value: Any) -> str | None:
    """Read an http or https URL."""
    return value if isinstance(value, str) and _WEB_URL.match(value) else None


def media_type(*names: str | None) -> str | None:
    """Return the media type of the first file name or URL that has a known extension."""
    for name in names:
        path = (name or "").partition("?")[0].partition("#")[0]
        extension = path.rpartition("/")[2].rpartition(".")[2].lower()
        if extension in _MEDIA_TYPES:
            return _MEDIA_TYPES[extension]
    return None


def artifact_kind(media: str) -> str:
    """Return the kind of an artifact (`Artifact.kind`) of media type *media*."""
    family = media.partition("/")[0]
    return family if family in ("image", "video", "audio", "model", "text") else "file"
