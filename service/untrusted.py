"""The one place where JSON from outside is read, with every oddity of it decided."""

from typing import Any, Final

import msgspec

DEPTH: Final = 64
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class Unreadable(ValueError):
    """The bytes are not JSON that could be stored and shown again; the message says why."""


def read_json(body: bytes) -> Any:
    """Decode *body*; Unreadable when it is not JSON, not UTF-8, or nested deeper than 64.

    NUL characters become U+FFFD, because no SQL text can hold them. Of repeated keys the last
    one counts. Integers of any size stay integers.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise Unreadable(f"not JSON: {exc}") from exc
    if body.count(b"[") + body.count(b"{") > DEPTH and _depth(value) > DEPTH:
        raise Unreadable(f"not readable JSON: nested deeper than {DEPTH}")
    return _without_nul(value) if b"\\u0000" in body else value


def _depth(value: Any) -> int:
    """Count the levels breadth first, so that depth costs no stack."""
    level, depth = [value], int(isinstance(value, dict | list))
    while level := [child for item in level for child in _children(item)]:
        depth += 1
        if depth > DEPTH:
            break
    return depth


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [v for v in value.values() if isinstance(v, dict | list)]
    return [v for v in value if isinstance(v, dict | list)] if isinstance(value, list) else []


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", _REPLACEMENT)
    if isinstance(value, list):
        return [_without_nul(v) for v in value]
    if isinstance(value, dict):
        return {_without_nul(k): _without_nul(v) for k, v in value.items()}
    return value
