from typing import Any

import pytest

from service.domain.events import DEFAULT_EVENT_TYPES
from service.domain.subscriptions.transitions import (
    SECRET_OVERLAP,
    rotated,
    updated,
    with_paused,
)
from tests.support.factories import T0, a_subscription


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"description": "a"}, "description", "a"),
        ({"description": None}, "description", None),
        ({"max_in_flight": None}, "max_in_flight", 8),
        ({"event_types": ["job.*"]}, "event_types", ("job.*",)),
        ({"event_types": None}, "event_types", DEFAULT_EVENT_TYPES),
        ({"event_types": []}, "event_types", DEFAULT_EVENT_TYPES),
    ],
)
def test_a_field_is_set_and_none_is_its_default(
    values: dict[str, Any], field: str, expected: object
) -> None:
    before = a_subscription(description="before", max_in_flight=3)

    assert getattr(updated(before, values, T0 + 5), field) == expected


def test_a_subscription_of_a_reply_url_keeps_its_event_types_by_default() -> None:
    before = a_subscription(kind="per_job", event_types=())

    assert updated(before, {"event_types": None}, T0).event_types == ()


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({"enabled": True}, False),
        ({"url": "https://elsewhere.example/"}, False),
        ({"description": "a"}, True),
        ({"enabled": False}, True),
    ],
)
def test_enabling_or_another_url_ends_a_hold(values: dict[str, Any], *, held: bool) -> None:
    assert updated(a_subscription(held=True), values, T0).held is held


def test_enabling_removes_the_reason_of_the_disabling() -> None:
    before = a_subscription(enabled=False, disabled_reason="The receiver answered 410 Gone.")

    assert updated(before, {"enabled": True}, T0).disabled_reason is None


def test_a_rotated_secret_overlaps_with_the_old_one() -> None:
    after = rotated(a_subscription(secret="old"), "new", T0)  # noqa: S106

    assert (after.secret, after.previous_secret) == ("new", "old")
    assert after.previous_until == T0 + SECRET_OVERLAP


def test_a_paused_subscription_is_not_deliverable() -> None:
    paused = with_paused(a_subscription(), paused=True, at=T0 + 5)

    assert (paused.deliverable, paused.updated_at) == (False, T0 + 5)
