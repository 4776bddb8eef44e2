"""Readers of loose values: each takes whatever JSON may hold and gives a clean value or None."""

import math
import re
from typing import Any, Final

from service.domain.primitives.json_input import UnreadableJson, read_json

_NUMBER: Final = re.compile("[0-9]{1,20}")
_WEB_URL: Final = re.compile(r"(?i)https?://[^\s/]")
_LARGEST: Final = 2**63 - 1
MAX_ITEMS: Final = 1000
"""Things in one body that are taken in one by one; what is a result's own data may hold more."""
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
    """Read an answer's body; None when it is not JSON, which is all that matters there."""
    try:
        return read_json(body)
    except UnreadableJson:
        return None


def fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[Any]:
    """Read a list, or one thing that stands where a list was meant."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def few(*values: Any) -> list[Any]:
    """Read lists of what is taken in one by one; Unreadable when they hold more than 1,000."""
    found = [each for value in values for each in entries(value)]
    if len(found) > MAX_ITEMS:
        raise UnreadableJson(f"more than {MAX_ITEMS} items")
    return found


def text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def identifier(value: Any) -> str | None:
    """Read an identifier, which may come as a number."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and abs(value) <= _LARGEST else text(value)


def number(value: Any) -> float | None:
    """Read a finite number, which may come as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def ratio(value: Any, whole: float = 1.0) -> float | None:
    """Read progress as a part of *whole*, from 0 to 1."""
    read = number(value)
    return None if read is None else min(1.0, max(0.0, read / whole))


def count(value: Any) -> int | None:
    """Read a size in bytes or pixels, exact even where it comes as a string."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _LARGEST else None


def amount(value: Any) -> float | None:
    """Read a cost."""
    read = number(value)
    return read if read is not None and read >= 0 else None


def web_url(value: Any) -> str | None:
    return value if isinstance(value, str) and _WEB_URL.match(value) else None


def media_type(*names: str | None) -> str | None:
    """Tell the type by the first file name or URL whose extension is known."""
    for each in names:
        path = (each or "").partition("?")[0].partition("#")[0]
        found = _MEDIA_TYPES.get(path.rpartition("/")[2].rpartition(".")[2].lower())
        if found:
            return found
    return None


def kind_of(media: str) -> str:
    """Name what a file of that media type is to us."""
    family = media.partition("/")[0]
    return family if family in ("image", "video", "audio", "model", "text") else "file"
