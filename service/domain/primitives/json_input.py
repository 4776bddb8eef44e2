"""The reader for all JSON from clients and providers, with limits on depth and size."""

from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
"""Values in one body, on all levels together; so many take about 30 ms to process."""
_STRUCTURE: Final = b",[{"
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE + b'"'))
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class UnreadableJson(ValueError):
    """The bytes are not JSON that can be stored and returned; the message says why."""


def read_json(body: bytes) -> Any:
    """Decode *body*; UnreadableJson when it is not JSON, not UTF-8, too deep or too large.

    The limits are 64 levels and 100,000 values. NUL characters become U+FFFD, because SQL text
    cannot hold them. The last of repeated keys counts. Integers of any size stay integers.
    """
    marks = len(body) - len(body.translate(None, _STRUCTURE))  # an upper bound of values and levels
    if marks >= MAX_VALUES and _has_too_many_values(body):
        raise UnreadableJson(f"the JSON has more than {MAX_VALUES} values")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise UnreadableJson(f"not valid JSON: {exc}") from exc
    if marks > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise UnreadableJson(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    return _without_nul(value) if b"\\u0000" in body else value


def _has_too_many_values(body: bytes) -> bool:
    """Count commas and opening brackets outside strings: each value but the first follows one.

    This takes a few passes in C, at most 40 ms for 8 MiB. `read_json` calls it only for a body with
    many of these characters, inside strings or not.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    skeleton = body.translate(None, _NOT_STRUCTURE)
    if skeleton.count(b'"') > 4 * MAX_VALUES:  # two for each name, two for each value
        return True
    return sum(map(len, skeleton.split(b'"')[::2])) >= MAX_VALUES


def _depth(value: Any) -> int:
    """Count the levels breadth first, without recursion."""
    level, depth = [value], int(isinstance(value, dict | list))
    while level := [child for item in level for child in _children(item)]:
        depth += 1
        if depth > MAX_DEPTH:
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
