"""Input fields of operations: validation before the provider is called, and JSON Schema."""

import re
from typing import Any, Final, Literal

import msgspec

from service.domain.primitives.errors import FieldError

WEB_URL: Final = re.compile(r"https?://[^\s/?#]\S*")
UUID: Final = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""A UUID of any version: vendors document v4 but show other versions in their samples."""

_KIND_DESCRIPTIONS: Final = {
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
    """One input field of an operation.

    *one_of* are the allowed values. *minimum* and *maximum* are inclusive; *max_length* counts
    characters. *pattern* must match in full; *pattern_description* describes it in error messages,
    as in "an http or https URL". The value of a *secret* is never shown, and neither is a message
    of the provider that might contain it.
    """

    name: str
    kind: Literal["string", "integer", "number", "boolean", "object", "array", "any"]
    summary: str
    required: bool = False
    one_of: tuple[str, ...] | tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    max_length: int | None = None
    pattern: re.Pattern[str] | None = None
    pattern_description: str | None = None
    secret: bool = False
    example: Any = None


def reply_url(name: str, *, max_length: int | None = None) -> InputField:
    """Describe the field in which a client names a URL for the results of its job.

    *name* is the vendor's; `Provider.reply_url_field` has it too.
    """
    return InputField(
        name=name,
        kind="string",
        summary="Where this job's events are sent.",
        max_length=max_length,
        pattern=WEB_URL,
        pattern_description="an http or https URL",
    )


def input_errors(inputs: tuple[InputField, ...], given: dict[str, Any]) -> list[FieldError]:
    """Return all errors of *given*, at most one for each field; unknown fields are allowed."""
    errors = []
    for field in inputs:
        message = _error(field, given)
        if message:
            errors.append(FieldError(f"input.{field.name}", message))
    return errors


def has_valid_type(field: InputField, value: Any) -> bool:
    """Return whether *value* is of the kind of *field*; its limits are not checked."""
    if isinstance(value, bool) and field.kind in ("integer", "number"):
        return False
    return isinstance(value, _TYPES[field.kind])


def json_schema(inputs: tuple[InputField, ...]) -> dict[str, Any]:
    """Describe *inputs* as the JSON Schema of one object that allows additional properties."""
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in inputs},
        "required": [field.name for field in inputs if field.required],
        "additionalProperties": True,
    }


def _error(field: InputField, given: dict[str, Any]) -> str | None:
    """Return what is wrong, without the value: it may be a secret, or very long."""
    value = given.get(field.name)
    if value is None and (field.required or field.name not in given):
        return "is required" if field.required else None
    if not has_valid_type(field, value) or not _is_within_limits(field, value):
        return f"must be {_describe(field)}"
    return _text_error(field, value) if isinstance(value, str) else None


def _is_within_limits(field: InputField, value: Any) -> bool:
    if not isinstance(value, int | float):
        return True
    return (
        (not field.one_of or value in field.one_of)
        and (field.minimum is None or value >= field.minimum)
        and (field.maximum is None or value <= field.maximum)
        and (field.exclusive_minimum is None or value > field.exclusive_minimum)
    )


def _text_error(field: InputField, value: str) -> str | None:
    if field.required and not value.strip():
        return "must not be blank"
    if field.one_of and value not in field.one_of:
        return f"must be {_describe(field)}"
    if field.max_length is not None and len(value) > field.max_length:
        return f"may have at most {field.max_length} characters (has {len(value)})"
    if field.pattern is not None and field.pattern.fullmatch(value) is None:
        return f"must be {_describe(field)}"
    return None


def _describe(field: InputField) -> str:
    """Describe the valid values."""
    if field.one_of:
        return f"one of {', '.join(map(str, field.one_of))}"
    kind = field.pattern_description or _KIND_DESCRIPTIONS[field.kind]
    if field.minimum is not None and field.maximum is not None:
        return f"{kind} from {_format(field.minimum)} to {_format(field.maximum)}"
    if field.minimum is not None:
        return f"{kind} of at least {_format(field.minimum)}"
    if field.maximum is not None:
        return f"{kind} of at most {_format(field.maximum)}"
    if field.exclusive_minimum is not None:
        return f"{kind} greater than {_format(field.exclusive_minimum)}"
    return kind


def _format(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _property(field: InputField) -> dict[str, Any]:
    """Describe *field* as a JSON Schema; keywords that do not apply are left out."""
    keywords = {
        "type": None if field.kind == "any" else field.kind,
        "description": field.summary,
        "enum": list(field.one_of) or None,
        "minimum": field.minimum,
        "maximum": field.maximum,
        "exclusiveMinimum": field.exclusive_minimum,
        "maxLength": field.max_length,
        "pattern": _schema_pattern(field),
        "writeOnly": field.secret or None,
        "examples": None if field.example is None else [field.example],
    }
    return {key: value for key, value in keywords.items() if value is not None}


def _schema_pattern(field: InputField) -> str | None:
    """Return the pattern with explicit anchors, because JSON Schema patterns are not anchored."""
    if field.pattern is not None:
        return f"^(?:{field.pattern.pattern})$"
    return r"\S" if field.required and field.kind == "string" and not field.one_of else None
