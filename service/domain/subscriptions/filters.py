"""The filter of a subscription: a JSON pattern on an event, all of whose tests must hold.

A value is an exact JSON value, or an object of names and operators. `{"a.b": 1}` is
`{"a": {"b": 1}}`, unless the document has a name with just these dots.
An array passes a test when it does as a whole or one element does; the names asked of an array
must all hold for one and the same object in it, while each operator is a test of its own.
`$nin` and `$not` are `$in` and the pattern turned round: for arrays, none of the elements.
Null is a value; what is missing passes only `{"$exists": false}`, `$nin` and `$not`.
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
FIELDS: Final = frozenset({"type", "provider", "operation", "tags", "metadata", "data"})
_OPEN: Final = frozenset({"metadata", "data"})
_ARRAYS: Final = (list, tuple)
_JSON: Final = JSONEncoder(ensure_ascii=False)
_KINDS: Final[dict[type, str]] = {
    list: f"a list of at most {MAX_LIST} entries",
    bool: "true or false",
    float: "a number",
    str: "a string",
}


class _Miss(msgspec.Struct, frozen=True):
    """The first test that failed, and what it found."""

    path: tuple[str, ...]
    words: str
    wanted: Any
    found: Any


class _Operator(msgspec.Struct, frozen=True):
    """What it takes to hold, for (operand, value); the JSON types of its operand; its failure."""

    holds: Callable[[Any, Any], bool]
    kinds: tuple[type, ...]
    words: str


def matches(pattern: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Say whether *document* passes *pattern*, which must be without faults."""
    return _miss(dict(pattern), dict(document)) is None


def first_mismatch(pattern: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    """Name the first test that fails, with its path and what it found; None when all hold."""
    miss = _miss(dict(pattern), dict(document))
    if miss is None:
        return None
    words = miss.words
    if isinstance(miss.found, _ARRAYS):
        words = words.replace("is not", "has nothing that is")
    path = ".".join(("filter", *miss.path))
    return f"{path}: is {_shown(miss.found)}, which {words} {_shown(miss.wanted)}"


def filter_errors(pattern: dict[str, Any], path: str) -> list[FieldError]:
    """Name all faults of *pattern* at once; when it is too deep or too long, that alone."""
    if _deeper(pattern, MAX_DEPTH):
        return [
            FieldError(path, f"may be {MAX_DEPTH} levels deep at most, where a.b counts as two")
        ]
    if len(msgspec.json.encode(pattern)) > MAX_BYTES:
        return [FieldError(path, f"may have at most {MAX_BYTES} bytes as JSON")]
    errors = list(_test_faults(pattern, path, FIELDS)) if pattern else []
    if (tests := _tests(pattern)) > MAX_TESTS:
        errors.append(FieldError(path, f"may have at most {MAX_TESTS} tests, and has {tests}"))
    return errors


def _miss(test: Any, value: Any) -> _Miss | None:
    """Find the first test that fails; words are left to `explain`, as most events just pass."""
    if not isinstance(test, dict):
        return None if _among((test,), value) else _Miss((), "is not", test, value)
    array = isinstance(value, _ARRAYS)
    for name, wanted in test.items():
        if op := _OPERATORS.get(name):
            if not op.holds(wanted, value):
                return _Miss((name,), op.words, wanted, value)
        elif not array and (miss := _field_miss(name, wanted, value)):
            return miss
    return _element_miss(test, value) if array else None


def _field_miss(name: str, test: Any, value: Any) -> _Miss | None:
    fields = value if isinstance(value, dict) else {}
    if "." in name and name not in fields:
        name, _, rest = name.partition(".")
        test = {rest: test}
    miss = _miss(test, fields.get(name, msgspec.UNSET))
    return miss and msgspec.structs.replace(miss, path=(name, *miss.path))


def _element_miss(test: Mapping[str, Any], array: Iterable[Any]) -> _Miss | None:
    """Look for one object that has all the names; arrays in arrays are not entered."""
    names = {name: wanted for name, wanted in test.items() if name not in _OPERATORS}
    if not names or any(isinstance(one, dict) and not _miss(names, one) for one in array):
        return None
    return _Miss((), "holds no object that matches", names, array)


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, _ARRAYS) else (value,)


def _among(wanted: Iterable[Any], value: Any) -> bool:
    """Compare by hash: many values with many elements must not take their product."""
    if isinstance(value, str):  # by far the most frequent; text equals nothing but text
        return value in wanted
    frozen = _frozen(value)
    values = (frozen, *frozen) if isinstance(value, _ARRAYS) else (frozen,)
    return not {_frozen(one) for one in wanted}.isdisjoint(values)


def _frozen(value: Any, room: int = MAX_DEPTH) -> Any:
    """Make JSON hashable, 1 as 1.0 but true not as 1; what is deeper than filters equals none."""
    if isinstance(value, bool):
        return (bool, value)
    if not isinstance(value, (*_ARRAYS, dict)):
        return value
    if room == 0:
        return msgspec.UNSET
    if isinstance(value, dict):
        return (dict, frozenset((name, _frozen(one, room - 1)) for name, one in value.items()))
    return (list, *(_frozen(one, room - 1) for one in value))


def _ordered(compare: Callable[[Any, Any], bool], words: str) -> _Operator:
    def holds(operand: Any, value: Any) -> bool:
        kinds = str if isinstance(operand, str) else (int, float)
        return any(
            isinstance(one, kinds) and not isinstance(one, bool) and compare(one, operand)
            for one in _each(value)
        )

    return _Operator(holds, (int, float, str), words)


def _begins(prefix: str, value: Any) -> bool:
    return any(isinstance(one, str) and one.startswith(prefix) for one in _each(value))


def _exists(wanted: object, value: Any) -> bool:
    return (value is not msgspec.UNSET) is wanted


_OPERATORS: Final = {
    "$in": _Operator(_among, (list,), "is not one of"),
    "$nin": _Operator(lambda o, v: not _among(o, v), (list,), "is or holds one of"),
    "$gt": _ordered(operator.gt, "is not more than"),
    "$gte": _ordered(operator.ge, "is not at least"),
    "$lt": _ordered(operator.lt, "is not less than"),
    "$lte": _ordered(operator.le, "is not at most"),
    "$prefix": _Operator(_begins, (str,), "is not text that begins with"),
    "$exists": _Operator(_exists, (bool,), "goes against $exists:"),
    "$not": _Operator(lambda o, v: _miss(o, v) is not None, (), "matches"),
    "$or": _Operator(lambda o, v: any(not _miss(p, v) for p in o), (list,), "matches none of"),
}


def _test_faults(test: Any, path: str, names: frozenset[str] | None) -> Iterator[FieldError]:
    """Read a test of a value that has the fields *names*; None is any, and FIELDS an event."""
    if isinstance(test, dict) and test:
        for name, wanted in test.items():
            yield from _name_faults(name, wanted, f"{path}.{name}", names)
    elif names is FIELDS:
        yield FieldError(path, 'must be an object such as {"type": "job.failed"}')
    elif test == {}:  # to some it says "is there", to others "is empty"
        yield FieldError(
            path, 'tests nothing; write {"$exists": true}, or {"$in": [{}]} for exactly {}'
        )


def _name_faults(
    name: str, wanted: Any, path: str, names: frozenset[str] | None
) -> Iterator[FieldError]:
    head, dot, rest = name.partition(".")
    below = None if names is None or head in _OPEN else frozenset[str]()
    if name.startswith("$"):
        yield from _operator_faults(name, wanted, path, names)
    elif names is not None and head not in names:
        mend = f"take one of {', '.join(sorted(names))}" if names else "its field is no object"
        yield FieldError(path, f"{head!r} is never there; {mend}")
    elif dot:
        yield from _name_faults(rest, wanted, path, below)
    else:
        yield from _test_faults(wanted, path, below)


def _operator_faults(
    name: str, wanted: Any, path: str, names: frozenset[str] | None
) -> Iterator[FieldError]:
    op = _OPERATORS.get(name)
    if op is None:
        yield FieldError(path, f"is no operator; take one of {', '.join(_OPERATORS)}")
    elif names is FIELDS and name not in ("$not", "$or"):
        yield FieldError(path, 'tests a value; write it in a field, as in {"tags": {"$in": ["a"]}}')
    elif name == "$not":
        yield from _test_faults(wanted, path, names)
    elif type(wanted) not in op.kinds or (isinstance(wanted, list) and len(wanted) > MAX_LIST):
        kinds = [_KINDS[kind] for kind in op.kinds if kind in _KINDS]
        yield FieldError(path, f"must be {' or '.join(kinds)}")
    elif wanted == [] and name == "$or":
        yield FieldError(path, "must have at least one pattern")
    elif name == "$or":
        for n, one in enumerate(wanted):
            yield from _test_faults(one, f"{path}[{n}]", names)


def _tests(test: Any) -> int:
    """Count exact values and operators, but for `$or` and `$not` what they hold."""
    if not isinstance(test, dict):
        return 1
    total = 0
    for name, wanted in test.items():
        many = name.rpartition(".")[2] == "$or" and isinstance(wanted, list)
        total += sum(map(_tests, wanted)) if many else _tests(wanted)
    return total


def _deeper(value: Any, room: int) -> bool:
    """Say whether *value* has more levels than *room*, and go no deeper than that."""
    if not isinstance(value, dict | list):
        return room < 0
    if room <= 0:
        return True
    if isinstance(value, list):
        return any(_deeper(one, room - 1) for one in value)
    return any(_deeper(one, room - 1 - name.count(".")) for name, one in value.items())


def _shown(value: Any) -> str:
    """Show the start of *value* as JSON, encoding little more of it than is shown."""
    if value is msgspec.UNSET:
        return "missing"
    text = "".join(islice(_JSON.iterencode(value), MAX_SHOWN + 1))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
