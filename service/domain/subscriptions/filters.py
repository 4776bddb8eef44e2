"""The filter of a subscription: a JSON pattern of tests, all of which an event must pass.

A test is a JSON value that must be equal, or an object of field names and operators.
`{"a.b": 1}` means `{"a": {"b": 1}}`, unless the document has a field with exactly that name.
An array passes a test if the whole array or one of its elements passes it. All field names in the
test of an array must match in one and the same object of it; each operator is a separate test.
`$nin` and `$not` negate `$in` and a pattern: for an array, no element may match.
Null is a value; a missing field passes only `{"$exists": false}`, `$nin` and `$not`.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from json import JSONEncoder
from typing import Any, Final

import msgspec

from service.domain.primitives.errors import FieldError

MAX_BYTES: Final = 4096
MAX_DEPTH: Final = 8
MAX_TESTS: Final = 100
MAX_LIST: Final = 100
MAX_SHOWN: Final = 60
"""Characters of a value in the description of a mismatch."""
FIELDS: Final = frozenset({"type", "provider", "operation", "tags", "metadata", "data"})
"""The fields of an event that a filter may test."""
_OBJECT_FIELDS: Final = frozenset({"metadata", "data"})
_ARRAYS: Final = (list, tuple)
_JSON: Final = JSONEncoder(ensure_ascii=False)
_TYPE_NAMES: Final[dict[type, str]] = {
    list: f"a list of at most {MAX_LIST} entries",
    bool: "true or false",
    float: "a number",
    str: "a string",
}


class _Mismatch(msgspec.Struct, frozen=True):
    """The first test that failed; *reason* stands between *found* and *wanted* in a sentence."""

    path: tuple[str, ...]
    reason: str
    wanted: Any
    found: Any


class _Operator(msgspec.Struct, frozen=True):
    """An operator: *passes* takes its operand and a value, *reason* describes a failure."""

    passes: Callable[[Any, Any], bool]
    operand_types: tuple[type, ...]
    reason: str


def matches(pattern: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether *document* passes *pattern*, which must have no `filter_errors`."""
    return _mismatch(dict(pattern), dict(document)) is None


def first_mismatch(pattern: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    """Describe the first test that fails, with its path and the value; None when all pass."""
    mismatch = _mismatch(dict(pattern), dict(document))
    if mismatch is None:
        return None
    reason = mismatch.reason
    if isinstance(mismatch.found, _ARRAYS):
        reason = reason.replace("is not", "has no element that is")
    path = ".".join(("filter", *mismatch.path))
    return f"{path}: is {_excerpt(mismatch.found)}, which {reason} {_excerpt(mismatch.wanted)}"


def filter_errors(pattern: dict[str, Any], path: str) -> list[FieldError]:
    """List all errors of *pattern*; if it is too deep or too long, only that."""
    if _is_deeper(pattern, MAX_DEPTH):
        return [
            FieldError(path, f"may be at most {MAX_DEPTH} levels deep; a.b counts as two levels")
        ]
    if len(msgspec.json.encode(pattern)) > MAX_BYTES:
        return [FieldError(path, f"may have at most {MAX_BYTES} bytes as JSON")]
    errors = list(_test_errors(pattern, path, FIELDS)) if pattern else []
    if (tests := _count_tests(pattern)) > MAX_TESTS:
        errors.append(FieldError(path, f"may have at most {MAX_TESTS} tests (has {tests})"))
    return errors


def _mismatch(test: Any, value: Any) -> _Mismatch | None:
    """Find the first test that fails; it is described later, as most events pass."""
    if not isinstance(test, dict):
        return None if _is_in((test,), value) else _Mismatch((), "is not", test, value)
    is_array = isinstance(value, _ARRAYS)
    for name, wanted in test.items():
        if op := _OPERATORS.get(name):
            if not op.passes(wanted, value):
                return _Mismatch((name,), op.reason, wanted, value)
        elif not is_array and (mismatch := _field_mismatch(name, wanted, value)):
            return mismatch
    return _element_mismatch(test, value) if is_array else None


def _field_mismatch(name: str, test: Any, value: Any) -> _Mismatch | None:
    fields = value if isinstance(value, dict) else {}
    if "." in name and name not in fields:
        name, _, rest = name.partition(".")
        test = {rest: test}
    mismatch = _mismatch(test, fields.get(name, msgspec.UNSET))
    return mismatch and msgspec.structs.replace(mismatch, path=(name, *mismatch.path))


def _element_mismatch(test: Mapping[str, Any], array: Iterable[Any]) -> _Mismatch | None:
    """Look for one object that matches all field names; nested arrays are not searched."""
    fields = {name: wanted for name, wanted in test.items() if name not in _OPERATORS}
    if not fields or any(isinstance(one, dict) and not _mismatch(fields, one) for one in array):
        return None
    return _Mismatch((), "contains no object that matches", fields, array)


def _elements(value: Any) -> Iterable[Any]:
    return value if isinstance(value, _ARRAYS) else (value,)


def _is_in(wanted: Iterable[Any], value: Any) -> bool:
    """Compare by hash, so that the time is not the product of both lengths."""
    if isinstance(value, str):  # the most frequent case; a string equals only a string
        return value in wanted
    hashable = _hashable(value)
    values = (hashable, *hashable) if isinstance(value, _ARRAYS) else (hashable,)
    return not {_hashable(one) for one in wanted}.isdisjoint(values)


def _hashable(value: Any, levels_left: int = MAX_DEPTH) -> Any:
    """Make a JSON value hashable, with 1 equal to 1.0 but not to true.

    What is deeper than a filter may be becomes UNSET, which equals no JSON value.
    """
    if isinstance(value, bool):
        return (bool, value)
    if not isinstance(value, (*_ARRAYS, dict)):
        return value
    if levels_left == 0:
        return msgspec.UNSET
    if isinstance(value, dict):
        items = ((name, _hashable(one, levels_left - 1)) for name, one in value.items())
        return (dict, frozenset(items))
    return (list, *(_hashable(one, levels_left - 1) for one in value))


def _comparison(compare: Callable[[Any, Any], bool], reason: str) -> _Operator:
    def passes(operand: Any, value: Any) -> bool:
        comparable = str if isinstance(operand, str) else (int, float)
        return any(
            isinstance(one, comparable) and not isinstance(one, bool) and compare(one, operand)
            for one in _elements(value)
        )

    return _Operator(passes, (int, float, str), reason)


def _has_prefix(prefix: str, value: Any) -> bool:
    return any(isinstance(one, str) and one.startswith(prefix) for one in _elements(value))


_OPERATORS: Final = {
    "$in": _Operator(_is_in, (list,), "is not one of"),
    "$nin": _Operator(lambda o, v: not _is_in(o, v), (list,), "is or contains one of"),
    "$gt": _comparison(operator.gt, "is not greater than"),
    "$gte": _comparison(operator.ge, "is not at least"),
    "$lt": _comparison(operator.lt, "is not less than"),
    "$lte": _comparison(operator.le, "is not at most"),
    "$prefix": _Operator(_has_prefix, (str,), "is not a string that begins with"),
    "$exists": _Operator(lambda o, v: (v is not msgspec.UNSET) is o, (bool,), "fails $exists:"),
    "$not": _Operator(lambda o, v: _mismatch(o, v) is not None, (), "matches"),
    "$or": _Operator(lambda o, v: any(not _mismatch(p, v) for p in o), (list,), "matches none of"),
}


def _test_errors(test: Any, path: str, allowed: frozenset[str] | None) -> Iterator[FieldError]:
    """Check the test of a value whose field names are *allowed*.

    FIELDS stands for an event, None for any field names, an empty set for a value without fields.
    """
    if isinstance(test, dict) and test:
        for name, wanted in test.items():
            yield from _name_errors(name, wanted, f"{path}.{name}", allowed)
    elif allowed is FIELDS:
        yield FieldError(path, 'must be an object such as {"type": "job.failed"}')
    elif test == {}:  # ambiguous: any value, or an empty object
        yield FieldError(
            path,
            'is empty; use {"$exists": true} for any value, {"$in": [{}]} for an empty object',
        )


def _name_errors(
    name: str, wanted: Any, path: str, allowed: frozenset[str] | None
) -> Iterator[FieldError]:
    first, dot, rest = name.partition(".")
    allowed_below = None if allowed is None or first in _OBJECT_FIELDS else frozenset[str]()
    if name.startswith("$"):
        yield from _operator_errors(name, wanted, path, allowed)
    elif allowed is not None and first not in allowed:
        hint = f"allowed: {', '.join(sorted(allowed))}" if allowed else "the value is not an object"
        yield FieldError(path, f"unknown field {first!r}; {hint}")
    elif dot:
        yield from _name_errors(rest, wanted, path, allowed_below)
    else:
        yield from _test_errors(wanted, path, allowed_below)


def _operator_errors(
    name: str, wanted: Any, path: str, allowed: frozenset[str] | None
) -> Iterator[FieldError]:
    op = _OPERATORS.get(name)
    if op is None:
        yield FieldError(path, f"unknown operator; allowed: {', '.join(_OPERATORS)}")
    elif allowed is FIELDS and name not in ("$not", "$or"):
        yield FieldError(path, 'must be inside a field, like {"tags": {"$in": ["a"]}}')
    elif name == "$not":
        yield from _test_errors(wanted, path, allowed)
    elif type(wanted) not in op.operand_types or (
        isinstance(wanted, list) and len(wanted) > MAX_LIST
    ):
        names = [_TYPE_NAMES[kind] for kind in op.operand_types if kind in _TYPE_NAMES]
        yield FieldError(path, f"must be {' or '.join(names)}")
    elif wanted == [] and name == "$or":
        yield FieldError(path, "must have at least one pattern")
    elif name == "$or":
        for n, one in enumerate(wanted):
            yield from _test_errors(one, f"{path}[{n}]", allowed)


def _count_tests(test: Any) -> int:
    """Count exact values and operators; `$or` and `$not` count as the tests inside them."""
    if not isinstance(test, dict):
        return 1
    total = 0
    for name, wanted in test.items():
        is_or = name.rpartition(".")[2] == "$or" and isinstance(wanted, list)
        total += sum(map(_count_tests, wanted)) if is_or else _count_tests(wanted)
    return total


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether *value* has more than *levels* levels; deeper levels are not visited."""
    if not isinstance(value, dict | list):
        return levels < 0
    if levels <= 0:
        return True
    if isinstance(value, list):
        return any(_is_deeper(one, levels - 1) for one in value)
    return any(_is_deeper(one, levels - 1 - name.count(".")) for name, one in value.items())


def _excerpt(value: Any) -> str:
    """The start of *value* as JSON, without encoding much more of it."""
    if value is msgspec.UNSET:
        return "missing"
    text = "".join(islice(_JSON.iterencode(value), MAX_SHOWN + 1))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
