import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.providers import registry
from service.providers.kit.input_schema import UUID, WEB_URL, InputField, input_errors, json_schema

TABLE = (
    InputField(name="prompt", kind="string", summary="Words.", required=True, max_length=1000),
    InputField(name="style", kind="string", summary="Look.", one_of=("vivid", "bw")),
    InputField(name="diversity", kind="integer", summary="Spread.", minimum=0, maximum=5),
    InputField(name="width", kind="integer", summary="Pixels.", minimum=1),
    InputField(name="depth", kind="integer", summary="At most.", maximum=9),
    InputField(name="speed", kind="number", summary="Factor.", exclusive_minimum=0),
    InputField(name="explore", kind="boolean", summary="Relaxed."),
    InputField(
        name="url",
        kind="string",
        summary="Where.",
        pattern=WEB_URL,
        pattern_description="an http URL",
    ),
    InputField(name="code", kind="string", summary="Digits.", pattern=re.compile("[0-9]+")),
    InputField(name="options", kind="object", summary="More."),
    InputField(name="images", kind="array", summary="Some."),
    InputField(name="extra", kind="any", summary="Whatever."),
    InputField(name="token", kind="string", summary="Secret.", secret=True, example="t"),
)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prompt", None, "is required"),
        ("prompt", " \n", "must not be blank"),
        ("prompt", 5, "must be a string"),
        ("prompt", "x" * 1203, "may have at most 1000 characters (has 1203)"),
        ("style", "vapor", "must be one of vivid, bw"),
        ("style", 3, "must be one of vivid, bw"),
        ("style", None, "must be one of vivid, bw"),
        ("style", "", "must be one of vivid, bw"),
        ("diversity", 9, "must be an integer from 0 to 5"),
        ("diversity", -1, "must be an integer from 0 to 5"),
        ("diversity", True, "must be an integer from 0 to 5"),
        ("diversity", 2.5, "must be an integer from 0 to 5"),
        ("diversity", "2", "must be an integer from 0 to 5"),
        ("width", 0, "must be an integer of at least 1"),
        ("depth", 10, "must be an integer of at most 9"),
        ("speed", 0, "must be a number greater than 0"),
        ("speed", True, "must be a number greater than 0"),
        ("explore", 1, "must be true or false"),
        ("url", "ftp://example.com", "must be an http URL"),
        ("url", "https://", "must be an http URL"),
        ("url", "https://example.com/a b", "must be an http URL"),
        ("code", "12a", "must be a string"),
        ("options", [], "must be an object"),
        ("images", {}, "must be an array"),
    ],
)
def test_an_error_has_the_path_and_the_valid_values(name: str, value: object, message: str) -> None:
    given = {"prompt": "a lighthouse", name: value}

    (error,) = input_errors(TABLE, given)

    assert (error.path, error.message) == (f"input.{name}", message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "x" * 1000),
        ("prompt", "🗼" * 1000),
        ("style", "bw"),
        ("diversity", 0),
        ("diversity", 5),
        ("width", 10**30),
        ("speed", 0.5),
        ("speed", 2),
        ("explore", False),
        ("url", "http://example.com"),
        ("url", "https://example.com:8443/a?b=c#d"),
        ("code", "007"),
        ("options", {}),
        ("images", []),
        ("extra", None),
        ("unheard_of", {"passes": True}),
    ],
)
def test_a_value_within_its_limits_is_valid(name: str, value: object) -> None:
    given = {"prompt": "a lighthouse", name: value}

    assert input_errors(TABLE, given) == []


def test_all_errors_are_reported_at_once_and_one_for_each_field() -> None:
    given = {"style": "vapor", "diversity": True, "url": "x" * 5000}

    errors = input_errors(TABLE, given)

    assert [error.path for error in errors] == [
        "input.prompt",
        "input.style",
        "input.diversity",
        "input.url",
    ]


def test_an_error_never_contains_the_value() -> None:
    given = {"prompt": "p", "token": {"a": "sesame"}, "style": "sesame", "code": "sesame"}

    errors = input_errors(TABLE, given)

    assert len(errors) == 3
    assert "sesame" not in str(errors)


def test_the_schema_has_every_validated_limit() -> None:
    schema = json_schema(TABLE)

    assert schema["type"] == "object"
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is True
    assert schema["properties"]["prompt"] == {
        "type": "string",
        "description": "Words.",
        "maxLength": 1000,
        "pattern": r"\S",
    }
    assert schema["properties"]["style"]["enum"] == ["vivid", "bw"]
    assert schema["properties"]["diversity"]["minimum"] == 0
    assert schema["properties"]["diversity"]["maximum"] == 5
    assert schema["properties"]["speed"]["exclusiveMinimum"] == 0
    assert schema["properties"]["code"]["pattern"] == "^(?:[0-9]+)$"
    assert schema["properties"]["token"]["writeOnly"] is True
    assert schema["properties"]["token"]["examples"] == ["t"]
    assert "type" not in schema["properties"]["extra"]
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    "uuid",
    [
        "f0a5574f-d653-47f1-ab42-e2c1631f1a47",
        "99fc4f1b-5ec5-5d6b-ae4f-cf1fd18d8402",
        "e7f9a1b2-4d6e-8f0a-b3d5-9c1e7f0a2b4d",
        "F0A5574F-D653-47F1-AB42-E2C1631F1A47",
    ],
)
def test_a_uuid_of_any_version_and_case_is_valid(uuid: str) -> None:
    assert re.fullmatch(UUID, uuid)


def test_every_operation_of_every_provider_has_a_json_schema() -> None:
    providers = registry()

    shown = {
        (name, operation.name): json_schema(operation.inputs)
        for name, provider in providers.items()
        for operation in provider.operations.values()
    }

    assert {name for name, _ in shown} == providers.keys()
    assert shown["useapi", "frames.create"]["required"] == ["text_prompt"]
    assert json.loads(json.dumps(list(shown.values()))) == list(shown.values())


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([entry.name for entry in TABLE]), st.from_type(object)))
def test_any_input_gives_at_most_one_error_for_each_field(given: dict[str, Any]) -> None:
    errors = input_errors(TABLE, given)

    assert len({error.path for error in errors}) == len(errors)
