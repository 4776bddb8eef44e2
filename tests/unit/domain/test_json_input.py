import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.primitives.json_input import MAX_DEPTH, MAX_VALUES, UnreadableJson, read_json

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.floats(-1e300, 1e300),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)
FRAGMENTS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\u0000",
        b"\\ud800",
        b"\\",
        b"1",
        b"\x00",
        b"\xff",
    ]
)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b' {"a": [1, 2.5, "x"]} ', {"a": [1, 2.5, "x"]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"9223372036854775808", 2**63),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"\\u0000"', "\N{REPLACEMENT CHARACTER}"),
        (
            b'{"\\u0000": ["a\\u0000b"]}',
            {"\N{REPLACEMENT CHARACTER}": ["a\N{REPLACEMENT CHARACTER}b"]},
        ),
        (b'["\\u0000", 1, null]', ["\N{REPLACEMENT CHARACTER}", 1, None]),
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (b'"' + b"[" * 1000 + b'"', "[" * 1000),
        (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    ],
)
def test_valid_json_is_decoded(body: bytes, value: object) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b"NaN",
        b"1e400",
        b"null null",
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"a\x00b"',
        b"\xef\xbb\xbf{}",
        b'{"a": 1}'.decode().encode("utf-16"),
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b'{"a":' * (MAX_DEPTH + 2) + b"1" + b"}" * (MAX_DEPTH + 2),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_input_that_cannot_be_stored_and_returned_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson, match=r"JSON"):
        read_json(body)


@pytest.mark.parametrize(
    "value",
    [
        [1] * (MAX_VALUES - 1),
        {str(n): 1 for n in range(MAX_VALUES - 1)},
        [[1, 2]] * (MAX_VALUES // 3 - 1),
        [{"a": "[{,"}] * (MAX_VALUES // 2 - 1),
        ["\\", '"', '\\"[', ",,,,,,,,,,"] * (MAX_VALUES // 4 - 1),
        [",[{" * MAX_VALUES, '",[{' * MAX_VALUES, '\\,"' * MAX_VALUES],
    ],
    ids=["list", "object", "lists", "objects", "quotes", "punctuation in strings"],
)
def test_100_000_values_are_read_and_punctuation_in_strings_does_not_count(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "value",
    [
        [1] * MAX_VALUES,
        {str(n): 1 for n in range(MAX_VALUES)},
        [[1, 2]] * (MAX_VALUES // 3 + 1),
        [{"a": "[{,"}] * (MAX_VALUES // 2 + 1),
        ["\\", '"', '\\"[', ",,,,,,,,,,"] * (MAX_VALUES // 4 + 1),
    ],
    ids=["list", "object", "lists", "objects", "quotes"],
)
def test_more_than_100_000_values_are_unreadable(value: Any) -> None:
    with pytest.raises(UnreadableJson, match="more than 100000 values"):
        read_json(json.dumps(value).encode())


@given(st.binary() | st.lists(FRAGMENTS).map(b"".join))
def test_any_bytes_are_decoded_or_unreadable(body: bytes) -> None:
    try:
        value = read_json(body)
    except UnreadableJson:
        return

    assert not any("\x00" in text for text in texts(value))
    assert read_json(msgspec.json.encode(value)) == value


@given(VALUES)
def test_the_output_of_another_encoder_is_decoded(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value
