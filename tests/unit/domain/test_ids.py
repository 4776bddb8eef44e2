import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.primitives.ids import ALPHABET, RANDOM_BITS, is_id, is_seq, new_id, new_ref
from tests.support.factories import T0

RANDOM = st.integers(0, 2**RANDOM_BITS - 1)
MOMENTS = st.integers(0, 2**48 * 1000 - 1)
JOB = new_id("job", T0, 7)


def uuid_of(made: str) -> UUID:
    value = 0
    for character in made.split("_")[1]:
        value = value * 32 + ALPHABET.index(character)
    return UUID(int=value)


@given(MOMENTS, RANDOM)
def test_an_id_is_a_uuid_of_version_7_in_26_characters(at: int, random_bits: int) -> None:
    made = new_id("job", at, random_bits)

    uuid = uuid_of(made)

    assert is_id(made, "job")
    assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
    assert uuid.int >> 80 == at // 1000
    assert uuid.int & (2**RANDOM_BITS - 1) == random_bits


@given(MOMENTS, MOMENTS, RANDOM, RANDOM)
def test_ids_sort_by_time_to_the_microsecond(one: int, two: int, bits: int, other: int) -> None:
    earlier, later = sorted((one, two))

    if earlier < later:
        assert new_id("job", earlier, bits) < new_id("job", later, other)


@given(st.integers(0, 2**128 - 1))
def test_a_ref_is_a_uuid_of_version_4_in_lower_case(random_bits: int) -> None:
    ref = new_ref(random_bits)

    assert UUID(ref).version == 4
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ref)


@pytest.mark.parametrize("prefix", ["job", "evt", "sub", "dlv", "cb", "key", "req"])
def test_an_id_can_have_any_prefix(prefix: str) -> None:
    assert is_id(new_id(prefix, T0, 0), prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        JOB.upper(),
        JOB[:-1],
        JOB + "0",
        JOB + "\n",
        " " + JOB,
        JOB.replace("job", "evt"),
        "job_8" + "0" * 25,
        "job_" + "0" * 25 + "u",
        "job_" + "0" * 25 + "é",
        "job_" + "0" * 25 + "\x00",
    ],
)
def test_other_text_is_not_an_id(text: str) -> None:
    assert not is_id(text, "job")


@pytest.mark.parametrize("text", ["0", "7", "9" * 18, "007"])
def test_an_integer_that_fits_the_column_is_a_seq(text: str) -> None:
    assert is_seq(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1 ", "²", "٣", "9" * 19, "seven"])
def test_other_text_is_not_a_seq(text: str) -> None:
    assert not is_seq(text)
