"""The one place where JSON from outside is read, with every oddity of it decided."""

from typing import Any, Final

import msgspec

DEPTH: Final = 64
MAX_VALUES: Final = 100_000
"""Values in one body, all of its levels together: what takes about 30 ms to decode and look at."""
_STRUCTURE: Final = b",[{"
_TEXT: Final = bytes(set(range(256)) - set(_STRUCTURE + b'"'))
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class UnreadableJson(ValueError):
    """The bytes are not JSON that could be stored and shown again; the message says why."""


def read_json(body: bytes) -> Any:
    """Decode *body*; Unreadable when it is not JSON, not UTF-8, too deep, or of too many values.

    At most 64 levels and 100,000 values are read. NUL characters become U+FFFD, because no SQL
    text can hold them. Of repeated keys the last one counts. Integers of any size stay integers.
    """
    marks = len(body) - len(body.translate(None, _STRUCTURE))
    if marks >= MAX_VALUES and _has_too_many_values(body):
        raise UnreadableJson(f"not readable JSON: more than {MAX_VALUES} values")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise UnreadableJson(f"not JSON: {exc}") from exc
    if marks > DEPTH and _depth(value) > DEPTH:
        raise UnreadableJson(f"not readable JSON: nested deeper than {DEPTH}")
    return _without_nul(value) if b"\\u0000" in body else value


def _has_too_many_values(body: bytes) -> bool:
    """Count commas and opening brackets outside of strings: every value but the first follows one.

    That takes a few passes in C, 40 ms for 8 MiB at the most, and is only done where there are many
    of them, inside of strings or not.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    skeleton = body.translate(None, _TEXT)
    if skeleton.count(b'"') > 4 * MAX_VALUES:  # two quotes for each name, and two for each value
        return True
    return sum(map(len, skeleton.split(b'"')[::2])) >= MAX_VALUES


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
