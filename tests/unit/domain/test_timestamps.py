import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.primitives.timestamps import (
    MILLISECOND,
    SECOND,
    parse_rfc3339,
    rfc3339,
    rfc3339_or_none,
)
from tests.support.factories import T0

MOMENTS = st.integers(0, 250_000_000_000 * SECOND)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (T0, "2026-01-01T12:00:00.000Z"),
        (T0 + MILLISECOND, "2026-01-01T12:00:00.001Z"),
        (T0 + SECOND - 1, "2026-01-01T12:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_rendered_in_milliseconds_truncated_not_rounded(at: int, text: str) -> None:
    assert rfc3339(at) == text


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T12:00:00Z", T0),
        ("2026-01-01T12:00:00.000001Z", T0 + 1),
        ("2026-01-01T13:00:00+01:00", T0),
        ("2026-01-01T12:00:00.5-00:00", T0 + SECOND // 2),
    ],
)
def test_a_time_with_an_offset_is_read(text: str, at: int) -> None:
    assert parse_rfc3339(text) == at


@pytest.mark.parametrize("text", ["", "noon", "2026-01-01", "2026-01-01T12:00:00", "1767268800"])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_rfc3339(text)


def test_no_time_is_rendered_as_none() -> None:
    assert rfc3339_or_none(None) is None
    assert rfc3339_or_none(T0) == rfc3339(T0)


@given(MOMENTS)
def test_a_rendered_time_is_read_back_to_the_millisecond(at: int) -> None:
    assert parse_rfc3339(rfc3339(at)) == at - at % MILLISECOND


@given(MOMENTS, MOMENTS)
def test_rendered_times_sort_like_the_times(one: int, two: int) -> None:
    assert (one <= two) == (rfc3339(one) <= rfc3339(two)) or rfc3339(one) == rfc3339(two)
