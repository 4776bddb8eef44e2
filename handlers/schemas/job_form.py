"""A job as a multipart form: the fields of a job, and all others as its input."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from handlers.http.multipart import FormPart
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.input_schema import InputField, has_valid_type, json_schema
from service.providers.protocol import Provider

_JOB_FIELDS: Final = (
    InputField(name="provider", kind="string", summary="The provider.", required=True),
    InputField(
        name="operation",
        kind="string",
        summary="One of its operations; each field that is not listed here is part of its input.",
        required=True,
    ),
    InputField(name="reply_url", kind="string", summary="Where this job's events are sent."),
    InputField(
        name="reply_event_types", kind="array", summary="The events sent there; may be repeated."
    ),
    InputField(name="reply_ref", kind="string", summary="Your own reference."),
    InputField(name="metadata", kind="object", summary="Your own data, as JSON."),
    InputField(name="tags", kind="array", summary="Your own tags; may be repeated."),
    InputField(name="deadline_seconds", kind="integer", summary="The deadline of the job."),
)
_BY_NAME: Final = {field.name: field for field in _JOB_FIELDS}
FORM_SCHEMA: Final = json_schema(_JOB_FIELDS)
_FILE: Final = (
    "is a file; upload it with POST /v1/providers/{provider}/assets, and send the asset's id here"
)


def job_from_form(parts: Sequence[FormPart], providers: Mapping[str, Provider]) -> Any:
    """Build the JSON form of a job, typed by the input fields of its operation.

    A value that is not of the field's type stays text, which the validation of the job refuses.
    Raises Invalid for files, repeated fields that are no arrays, and too large JSON.
    """
    texts: dict[str, list[str | None]] = {}
    for part in parts:
        texts.setdefault(part.name, []).append(part.text)
    inputs = _input_fields(texts, providers)
    job: dict[str, Any] = {"input": {}}
    errors = []
    for name, values in texts.items():
        field = _BY_NAME.get(name) or inputs.get(name)
        target, path = (job, name) if name in _BY_NAME else (job["input"], f"input.{name}")
        given = [value for value in values if value is not None]
        if len(given) < len(values):
            errors.append(FieldError(path, _FILE))
        elif len(given) > 1 and (field is None or field.kind != "array"):
            errors.append(FieldError(path, "appears more than once"))
        else:
            target[name] = _typed(field, given)
    if errors:
        raise Invalid(errors)
    try:
        return read_json(msgspec.json.encode(job))  # the limits of JSON hold for the whole job
    except UnreadableJson as exc:
        message = "The form cannot be read as JSON."
        raise Invalid([FieldError("", str(exc))], message, "invalid_json") from exc


def _input_fields(
    texts: Mapping[str, Sequence[str | None]], providers: Mapping[str, Provider]
) -> Mapping[str, InputField]:
    """The input fields of the operation that the form names; none if it does not exist."""
    provider = providers.get(texts.get("provider", [""])[0] or "")
    operation = provider and provider.operation(texts.get("operation", [""])[0] or "")
    return {field.name: field for field in operation.inputs} if operation else {}


def _typed(field: InputField | None, texts: list[str]) -> Any:
    if field is None or field.kind in ("string", "any"):
        return texts[0]
    if len(texts) > 1:
        return texts
    try:
        value = read_json(texts[0].encode())
    except UnreadableJson:
        value = None
    if has_valid_type(field, value):
        return value
    return texts if field.kind == "array" else texts[0]
