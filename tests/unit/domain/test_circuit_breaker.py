from typing import Any

import pytest

from service.domain.deliveries.circuit_breaker import (
    DISABLE_AFTER,
    FAILURES_TO_OPEN,
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
from service.transactions.unit_of_work import UnitOfWork
from tests.support.factories import (
    CHANCE,
    NOBODY,
    NOON,
    a_delivery,
    a_settlement,
    a_subscription,
    an_outcome,
)

HOOK = a_subscription()
WATCHER = a_subscription(url="https://watcher.example", event_types=("subscription.*",))


def failed(times: int, health: ReceiverHealth | None = None, **how: Any) -> ReceiverHealth:
    for _ in range(times):
        health = health_after(health, HOOK.id, an_outcome(500, **how), probe=False)
    assert health is not None
    return health


def judged(
    *settlements: DeliveryUpdate,
    at: int = NOON,
    health: ReceiverHealth | None = None,
    **changes: Any,
) -> ChangeSet:
    """Judge attempts at HOOK as it is after *changes*."""
    hook = a_subscription(**{"id": HOOK.id, **changes})
    snapshot = Snapshot(
        jobs={},
        permanent={"acme": [WATCHER]},
        receivers={HOOK.id: hook},
        health={HOOK.id: health} if health else {},
    )
    uow = UnitOfWork(snapshot, at, CHANCE.new_id, NOBODY)
    update_health(uow, snapshot, settlements)
    return uow.changes


def attempts(*codes: int, **how: Any) -> list[DeliveryUpdate]:
    delivery = a_delivery(subscription_id=HOOK.id)
    return [a_settlement(delivery, result=an_outcome(code), **how) for code in codes]


def now(changes: ChangeSet) -> Subscription:
    return changes.subscriptions[HOOK.id]


def told(changes: ChangeSet) -> list[str]:
    return [event.type for event in changes.events]


def test_a_receiver_is_held_after_so_many_failures_in_a_row() -> None:
    assert not failed(FAILURES_TO_OPEN - 1).is_open
    assert failed(FAILURES_TO_OPEN).probe_at == NOON + FIRST_PROBE


def test_what_was_under_way_when_it_was_held_does_not_put_off_the_probe() -> None:
    health = failed(FAILURES_TO_OPEN)

    assert failed(3, health, at=NOON + 1).probe_at == health.probe_at


@pytest.mark.parametrize("status_code", [429, 503])
def test_a_receiver_that_asks_to_be_left_alone_is_held_at_once_and_as_long(
    status_code: int,
) -> None:
    busy = health_after(None, HOOK.id, an_outcome(status_code, retry_after_seconds=90), probe=False)

    assert busy is not None
    assert busy.probe_at == NOON + 90 * SECOND


def test_what_was_under_way_does_not_shorten_the_time_it_asked_for() -> None:
    long = health_after(None, HOOK.id, an_outcome(429, retry_after_seconds=90), probe=False)
    short = health_after(long, HOOK.id, an_outcome(429, retry_after_seconds=5), probe=False)
    failed = health_after(short, HOOK.id, an_outcome(500), probe=False)

    assert failed is not None
    assert failed.probe_at == NOON + 90 * SECOND


def test_a_probe_that_is_asked_to_wait_waits_no_longer_than_that() -> None:
    tried = failed(FAILURES_TO_OPEN, at=NOON + 45 * SECOND)

    busy = health_after(tried, HOOK.id, an_outcome(503, retry_after_seconds=1), probe=True)

    assert busy is not None
    assert busy.probe_at == NOON + SECOND


def test_probes_are_made_with_growing_pauses_up_to_an_hour() -> None:
    health: ReceiverHealth | None = failed(FAILURES_TO_OPEN)
    pauses = []
    for _ in range(10):
        health = health_after(health, HOOK.id, an_outcome(500), probe=True)
        assert health is not None
        pauses.append((health.probe_at or 0) - NOON)

    assert pauses[:3] == [FIRST_PROBE * 2, FIRST_PROBE * 4, FIRST_PROBE * 8]
    assert pauses[-1] == LONGEST_PROBE


@pytest.mark.parametrize("probe", [True, False])
def test_one_success_and_it_is_well(*, probe: bool) -> None:
    assert health_after(failed(99), HOOK.id, an_outcome(204), probe=probe) is None


def test_the_subscription_of_a_held_receiver_is_closed() -> None:
    changes = judged(*attempts(*[500] * FAILURES_TO_OPEN))

    assert (now(changes).state, now(changes).deliverable) == ("held", False)
    assert changes.health[HOOK.id] is not None
    assert told(changes) == []


def test_a_receiver_that_is_back_is_open_again() -> None:
    changes = judged(*attempts(200, probe=True), health=failed(FAILURES_TO_OPEN), held=True)

    assert now(changes).deliverable
    assert changes.health == {HOOK.id: None}


def test_success_among_failures_holds_nobody() -> None:
    changes = judged(*attempts(500, 500, 500, 500, 200, 500, 500, 500, 500))

    assert changes.subscriptions == {}


def test_half_of_five_days_of_failure_is_told_once() -> None:
    at = NOON + DISABLE_AFTER // 2

    first = judged(*attempts(500), at=at, health=failed(FAILURES_TO_OPEN), held=True)
    again = judged(*attempts(500), at=at, health=first.health[HOOK.id], held=True)

    assert (told(first), told(again)) == (["subscription.failing"], [])
    assert len(first.delivery_tasks) == 1, "whoever watches is told"


def test_five_days_of_failure_disable_it() -> None:
    changes = judged(
        *attempts(500), at=NOON + DISABLE_AFTER, health=failed(FAILURES_TO_OPEN), held=True
    )

    assert told(changes) == ["subscription.disabled"]
    assert (now(changes).state, now(changes).held) == ("disabled", False)
    assert "five days" in (now(changes).disabled_reason or "")


def test_whoever_was_told_that_it_fails_is_told_that_it_is_back() -> None:
    at = NOON + DISABLE_AFTER // 2
    warned = judged(*attempts(500), at=at, health=failed(FAILURES_TO_OPEN), held=True).health[
        HOOK.id
    ]

    changes = judged(*attempts(200), health=warned, held=True)

    assert told(changes) == ["subscription.recovered"]


def test_a_410_disables_at_once() -> None:
    changes = judged(*attempts(410, 410, disable="The receiver answered 410 Gone."))

    assert told(changes) == ["subscription.disabled"]
    assert now(changes).disabled_reason == "The receiver answered 410 Gone."


def test_a_subscription_that_is_gone_is_not_judged() -> None:
    strange = a_settlement(a_delivery(subscription_id="sub_gone"), result=an_outcome(500))

    assert judged(strange) == ChangeSet()
