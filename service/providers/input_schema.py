"""What an operation takes: a table checked before money is spent and shown as JSON Schema."""

import re
from typing import Any, Final, Literal

import msgspec

from service.domain.primitives.errors import FieldError

WEB_URL: Final = re.compile(r"https?://[^\s/?#]\S*")
UUID: Final = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""Of any version: the vendors say v4 and show others in their own samples."""

_NOUNS: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "an array",
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "any": (object,),
}


class InputField(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter; *one_of* are the values it may have, the limits are inclusive but *above*.

    *form* says in words what *pattern* asks for, as in "an http or https URL". A *secret* is
    never shown again, nor any word of a provider that might repeat it.
    """

    name: str
    kind: Literal["string", "integer", "number", "boolean", "object", "array", "any"]
    summary: str
    required: bool = False
    one_of: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    max_length: int | None = None
    pattern: re.Pattern[str] | None = None
    form: str | None = None
    secret: bool = False
    example: Any = None


def input_errors(inputs: tuple[InputField, ...], given: dict[str, Any]) -> list[FieldError]:
    """Name every fault of *given* at once; names that the table does not know pass."""
    complaints = ((entry, _complaint(entry, given)) for entry in inputs)
    return [FieldError(f"input.{entry.name}", said) for entry, said in complaints if said]


def json_schema(inputs: tuple[InputField, ...]) -> dict[str, Any]:
    """Describe the table as a JSON Schema of one object, open to further names."""
    return {
        "type": "object",
        "properties": {entry.name: _property(entry) for entry in inputs},
        "required": [entry.name for entry in inputs if entry.required],
        "additionalProperties": True,
    }


def _complaint(entry: InputField, given: dict[str, Any]) -> str | None:
    """Say what is wrong, never repeating the value: it may be a secret, or very long."""
    value = given.get(entry.name)
    if value is None and (entry.required or entry.name not in given):
        return "is required" if entry.required else None
    if not _fits(entry, value):
        return f"must be {_claim(entry)}"
    return _text_complaint(entry, value) if isinstance(value, str) else None


def _fits(entry: InputField, value: Any) -> bool:
    if isinstance(value, bool) and entry.kind in ("integer", "number"):
        return False
    if not isinstance(value, _TYPES[entry.kind]):
        return False
    return not isinstance(value, int | float) or _within(entry, value)


def _within(entry: InputField, value: float) -> bool:
    return (
        (entry.minimum is None or value >= entry.minimum)
        and (entry.maximum is None or value <= entry.maximum)
        and (entry.above is None or value > entry.above)
    )


def _text_complaint(entry: InputField, value: str) -> str | None:
    if entry.required and not value.strip():
        return "must not be blank"
    if entry.one_of and value not in entry.one_of:
        return f"must be {_claim(entry)}"
    if entry.max_length is not None and len(value) > entry.max_length:
        return f"may have at most {entry.max_length} characters (has {len(value)})"
    if entry.pattern is not None and entry.pattern.fullmatch(value) is None:
        return f"must be {_claim(entry)}"
    return None


def _claim(entry: InputField) -> str:
    if entry.one_of:
        return f"one of {', '.join(entry.one_of)}"
    noun = entry.form or _NOUNS[entry.kind]
    if entry.minimum is not None and entry.maximum is not None:
        return f"{noun} from {_plain(entry.minimum)} to {_plain(entry.maximum)}"
    if entry.minimum is not None:
        return f"{noun} of at least {_plain(entry.minimum)}"
    if entry.maximum is not None:
        return f"{noun} of at most {_plain(entry.maximum)}"
    return noun if entry.above is None else f"{noun} greater than {_plain(entry.above)}"


def _plain(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _property(entry: InputField) -> dict[str, Any]:
    said = {
        "type": None if entry.kind == "any" else entry.kind,
        "description": entry.summary,
        "enum": list(entry.one_of) or None,
        "minimum": entry.minimum,
        "maximum": entry.maximum,
        "exclusiveMinimum": entry.above,
        "maxLength": entry.max_length,
        "pattern": _schema_pattern(entry),
        "writeOnly": entry.secret or None,
        "examples": None if entry.example is None else [entry.example],
    }
    return {key: value for key, value in said.items() if value is not None}


def _schema_pattern(entry: InputField) -> str | None:
    """JSON Schema searches where we match in full, so the ends are written out."""
    if entry.pattern is not None:
        return f"^(?:{entry.pattern.pattern})$"
    return r"\S" if entry.required and entry.kind == "string" and not entry.one_of else None
