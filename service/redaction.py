"""What providers and clients sent may bear secrets; what we show of it does not."""

import re
from typing import Any, Final

import msgspec

from service.untrusted import Unreadable, read_json

_SECRET_NAMES: Final = re.compile(
    r".*(token|secret|password|api_?key|authorization).*", re.IGNORECASE
)
_CALLBACK_TOKEN: Final = re.compile(r"(/callbacks\\?/[^\s\"?]+\?t=)[^\s\"&]+")
_HIDDEN: Final = "[redacted]"


def redacted_json(body: bytes | None) -> bytes:
    """Show JSON without secrets; what is not JSON is shown as a string, nothing as null."""
    if not body:
        return b"null"
    try:
        return msgspec.json.encode(_redacted(read_json(body)))
    except Unreadable:
        return msgspec.json.encode(_redacted(body.decode("utf-8", "replace")))


def redacted_text(body: bytes) -> str:
    """Show a body as text: JSON without its secrets, anything else without our signatures."""
    try:
        return msgspec.json.encode(_redacted(read_json(body))).decode()
    except Unreadable:
        return str(_redacted(body.decode("utf-8", "replace").replace("\x00", "\ufffd")))


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _CALLBACK_TOKEN.sub(rf"\1{_HIDDEN}", value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {name: _shown(name, item) for name, item in value.items()}
    return value


def _shown(name: str, value: Any) -> Any:
    """Numbers under a secret name are counts (`max_tokens`); anything else is hidden."""
    if _SECRET_NAMES.fullmatch(name) and isinstance(value, str | list | dict):
        return _HIDDEN
    return _redacted(value)
