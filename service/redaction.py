"""What providers and clients sent may bear secrets; what we show of it does not."""

import re
from typing import Any, Final

import msgspec

_SECRET_NAMES: Final = re.compile(
    r".*(token|secret|password|api_?key|authorization).*", re.IGNORECASE
)
_CALLBACK_TOKEN: Final = re.compile(r"(/callbacks/[^\s\"?]+\?t=)[^\s\"&]+")
_HIDDEN: Final = "[redacted]"


def redacted_json(body: bytes | None) -> bytes:
    """Show JSON without tokens; what is not JSON is shown as a string, nothing as null."""
    if not body:
        return b"null"
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(redacted_text(body))
    return msgspec.json.encode(_redacted(value))


def redacted_text(body: bytes) -> str:
    """Show raw bytes as text, with the signatures of our callback URLs left out."""
    text = body.decode("utf-8", "replace").replace("\x00", "\ufffd")
    return _CALLBACK_TOKEN.sub(rf"\1{_HIDDEN}", text)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _CALLBACK_TOKEN.sub(rf"\1{_HIDDEN}", value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {
            name: _HIDDEN
            if isinstance(item, str) and _SECRET_NAMES.fullmatch(name)
            else _redacted(item)
            for name, item in value.items()
        }
    return value
