import pytest

from service.providers.kit.coercion import ratio


@pytest.mark.parametrize(
    ("value", "whole", "expected"),
    [(0, 1, 0.0), (1, 1, 1.0), ("0.25", 1, 0.25), (50, 100, 0.5), ("100", 100, 1.0)],
)
def test_progress_is_a_fraction_of_the_whole(value: object, whole: float, expected: float) -> None:
    assert ratio(value, whole) == expected


@pytest.mark.parametrize(
    ("value", "whole"),
    [(-1, 1), (1.01, 1), ("7", 1), (-1, 100), (101, 100), ("100.5", 100), ("nan", 1), (True, 1)],
)
def test_progress_outside_the_whole_is_unknown(value: object, whole: float) -> None:
    assert ratio(value, whole) is None
