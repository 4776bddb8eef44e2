"""The Retry-After header, in seconds and as a date."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.primitives.retry_after import http_date, retry_after_seconds
from service.domain.primitives.timestamps import SECOND

AT = int(datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 5000, 999_999_999),
        ("Fri, 20 Nov 2026 01:02:18 GMT", 15),
        ("Fri, 20 Nov 2026 01:02:18 -0000", 15),
        ("Fri, 20 Nov 2026 02:02:18 +0100", 15),
        ("Friday, 20-Nov-26 01:02:18 GMT", 15),
        ("Fri Nov 20 01:02:18 2026", 15),
        ("Fri, 20 Nov 2026 01:02:03 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_seconds_and_dates_are_read(value: str, seconds: int) -> None:
    assert retry_after_seconds(value, AT) == seconds


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "soon", "-3", "0.5", "1e3", "nan", "٣", "Fri, 99 Nov 2026 01:02:18 GMT"],
)
def test_an_invalid_value_is_ignored(value: str | None) -> None:
    assert retry_after_seconds(value, AT) is None


def test_a_date_counts_from_the_full_second() -> None:
    assert retry_after_seconds("Fri, 20 Nov 2026 01:02:18 GMT", AT + SECOND - 1) == 15


def test_a_date_is_read_in_microseconds() -> None:
    assert http_date("Fri, 20 Nov 2026 01:02:03 GMT") == AT
    assert http_date("nonsense") is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [-+]\d+"))
def test_no_text_raises_and_no_delay_is_negative(value: str) -> None:
    seconds = retry_after_seconds(value, AT)

    assert seconds is None or seconds >= 0
