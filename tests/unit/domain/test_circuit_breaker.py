from typing import Any

import pytest

from service.domain.deliveries.circuit_breaker import (
    DISABLE_AFTER,
    FAILURES_TO_HOLD,
    FIRST_PROBE,
    LONGEST_PROBE,
    ReceiverHealth,
    health_after,
)
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Snapshot
from service.transactions.receiver_health import update_health
from tests.support.factories import (
    T0,
    a_delivery,
    a_result,
    a_subscription,
    an_update,
)
from tests.support.transactions import unit_of_work

RECEIVER = a_subscription()
WATCHER = a_subscription(url="https://watcher.example", event_types=("subscription.*",))


def failed(times: int, health: ReceiverHealth | None = None, **fields: Any) -> ReceiverHealth:
    for _ in range(times):
        health = health_after(health, RECEIVER.id, a_result(500, **fields), probe=False)
    assert health is not None
    return health


def apply_attempts(
    *updates: DeliveryUpdate,
    at: int = T0,
    health: ReceiverHealth | None = None,
    **changes: Any,
) -> ChangeSet:
    """Apply attempts to RECEIVER, whose fields are replaced by *changes*."""
    receiver = a_subscription(**{"id": RECEIVER.id, **changes})
    snapshot = Snapshot(
        jobs={},
        permanent={"acme": [WATCHER]},
        receivers={RECEIVER.id: receiver},
        health={RECEIVER.id: health} if health else {},
    )
    uow = unit_of_work(snapshot, at)
    update_health(uow, updates)
    return uow.changes


def attempts(*codes: int, **fields: Any) -> list[DeliveryUpdate]:
    delivery = a_delivery(subscription_id=RECEIVER.id)
    return [an_update(delivery, result=a_result(code), **fields) for code in codes]


def subscription_in(changes: ChangeSet) -> Subscription:
    return changes.subscriptions[RECEIVER.id]


def event_types(changes: ChangeSet) -> list[str]:
    return [event.type for event in changes.events]


def test_a_receiver_is_held_after_five_failures_in_a_row() -> None:
    assert not failed(FAILURES_TO_HOLD - 1).is_held
    assert failed(FAILURES_TO_HOLD).probe_at == T0 + FIRST_PROBE


def test_failures_of_attempts_in_flight_do_not_delay_the_probe() -> None:
    health = failed(FAILURES_TO_HOLD)

    assert failed(3, health, at=T0 + 1).probe_at == health.probe_at


@pytest.mark.parametrize("status_code", [429, 503])
def test_a_receiver_with_retry_after_is_held_at_once_for_that_time(
    status_code: int,
) -> None:
    busy = health_after(
        None, RECEIVER.id, a_result(status_code, retry_after_seconds=90), probe=False
    )

    assert busy is not None
    assert busy.probe_at == T0 + 90 * SECOND


def test_attempts_in_flight_do_not_shorten_the_requested_pause() -> None:
    long = health_after(None, RECEIVER.id, a_result(429, retry_after_seconds=90), probe=False)
    short = health_after(long, RECEIVER.id, a_result(429, retry_after_seconds=5), probe=False)
    failed = health_after(short, RECEIVER.id, a_result(500), probe=False)

    assert failed is not None
    assert failed.probe_at == T0 + 90 * SECOND


def test_retry_after_of_a_probe_replaces_the_earlier_pause() -> None:
    tried = failed(FAILURES_TO_HOLD, at=T0 + 45 * SECOND)

    busy = health_after(tried, RECEIVER.id, a_result(503, retry_after_seconds=1), probe=True)

    assert busy is not None
    assert busy.probe_at == T0 + SECOND


def test_pauses_between_probes_double_up_to_an_hour() -> None:
    health: ReceiverHealth | None = failed(FAILURES_TO_HOLD)
    pauses = []
    for _ in range(10):
        health = health_after(health, RECEIVER.id, a_result(500), probe=True)
        assert health is not None
        pauses.append((health.probe_at or 0) - T0)

    assert pauses[:3] == [FIRST_PROBE * 2, FIRST_PROBE * 4, FIRST_PROBE * 8]
    assert pauses[-1] == LONGEST_PROBE


@pytest.mark.parametrize("probe", [True, False])
def test_one_success_clears_the_health(*, probe: bool) -> None:
    assert health_after(failed(99), RECEIVER.id, a_result(204), probe=probe) is None


def test_nothing_is_delivered_to_a_held_receiver() -> None:
    changes = apply_attempts(*attempts(*[500] * FAILURES_TO_HOLD))

    assert (subscription_in(changes).state, subscription_in(changes).deliverable) == ("held", False)
    assert changes.health[RECEIVER.id] is not None
    assert event_types(changes) == []


def test_a_successful_probe_ends_the_hold() -> None:
    changes = apply_attempts(*attempts(200, probe=True), health=failed(FAILURES_TO_HOLD), held=True)

    assert subscription_in(changes).deliverable
    assert changes.health == {RECEIVER.id: None}


def test_failures_interrupted_by_a_success_do_not_hold_a_receiver() -> None:
    changes = apply_attempts(*attempts(500, 500, 500, 500, 200, 500, 500, 500, 500))

    assert changes.subscriptions == {}


def test_two_and_a_half_days_of_failure_are_reported_once() -> None:
    at = T0 + DISABLE_AFTER // 2

    first = apply_attempts(*attempts(500), at=at, health=failed(FAILURES_TO_HOLD), held=True)
    again = apply_attempts(*attempts(500), at=at, health=first.health[RECEIVER.id], held=True)

    assert (event_types(first), event_types(again)) == (["subscription.failing"], [])
    assert len(first.delivery_tasks) == 1, "the watcher gets the event"


def test_five_days_of_failure_disable_the_subscription() -> None:
    changes = apply_attempts(
        *attempts(500), at=T0 + DISABLE_AFTER, health=failed(FAILURES_TO_HOLD), held=True
    )

    assert event_types(changes) == ["subscription.disabled"]
    assert (subscription_in(changes).state, subscription_in(changes).held) == ("disabled", False)
    assert "five days" in (subscription_in(changes).disabled_reason or "")


def test_the_recovery_of_a_receiver_reported_as_failing_is_reported() -> None:
    at = T0 + DISABLE_AFTER // 2
    warned = apply_attempts(
        *attempts(500), at=at, health=failed(FAILURES_TO_HOLD), held=True
    ).health[RECEIVER.id]

    changes = apply_attempts(*attempts(200), health=warned, held=True)

    assert event_types(changes) == ["subscription.recovered"]


def test_a_410_disables_the_subscription_at_once() -> None:
    changes = apply_attempts(*attempts(410, 410, disable="The receiver answered 410 Gone."))

    assert event_types(changes) == ["subscription.disabled"]
    assert subscription_in(changes).disabled_reason == "The receiver answered 410 Gone."


def test_an_attempt_of_a_deleted_subscription_changes_nothing() -> None:
    update = an_update(a_delivery(subscription_id="sub_gone"), result=a_result(500))

    assert apply_attempts(update) == ChangeSet()
