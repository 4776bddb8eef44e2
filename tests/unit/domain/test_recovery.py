import pytest

from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.deliveries.recovery import Recovery, RecoveryScope
from service.domain.primitives.errors import Conflict
from tests.support.factories import T0, a_delivery, a_subscription, an_event


def a_recovery(**changes: object) -> Recovery:
    made = {"id": "rec_1", "tenant": "acme", "subscription_id": "sub_1"}
    times = {"since": T0, "until": T0 + 9, "created_at": T0 + 9}
    return Recovery(**{**made, **times, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "covered"),
    [
        ({}, True),
        ({"since": T0 + 1}, False),
        ({"event_types": ("job.failed",)}, False),
        ({"event_types": ("job.*",)}, True),
    ],
)
def test_a_recovery_covers_matching_events_since_its_start(
    changes: dict[str, object], *, covered: bool
) -> None:
    event = an_event(type="job.succeeded", at=T0)

    assert a_recovery(**changes).covers(event, a_subscription(event_types=("*",))) is covered


def test_a_recovery_covers_no_event_that_the_subscription_does_not_accept() -> None:
    event = an_event(type="job.succeeded", at=T0)

    assert not a_recovery().covers(event, a_subscription(event_types=("job.failed",)))


@pytest.mark.parametrize(
    ("status", "tries", "due_at", "scope"),
    [
        (DeliveryStatus.DEAD, 9, T0, "dead"),
        (DeliveryStatus.CANCELED, 0, T0, "dead"),
        (DeliveryStatus.PENDING, 1, T0, "failed"),
        (DeliveryStatus.PENDING, 0, T0, None),
        (DeliveryStatus.PENDING, 1, None, None),
        (DeliveryStatus.DELIVERED, 1, T0, None),
        (DeliveryStatus.SUPERSEDED, 0, T0, None),
    ],
)
def test_each_scope_resends_its_deliveries(
    status: DeliveryStatus, tries: int, due_at: int | None, scope: RecoveryScope | None
) -> None:
    delivery = a_delivery(status=status, tries=tries, due_at=due_at)
    scopes: tuple[RecoveryScope, ...] = ("dead", "failed", "missed")

    assert [one for one in scopes if a_recovery(only=(one,)).resends(delivery)] == (
        [scope] if scope else []
    )


def test_missed_events_are_resent_to_permanent_subscriptions_alone() -> None:
    permanent, per_job = a_subscription(), a_subscription(kind="per_job")

    assert a_recovery(only=("missed",)).resends_missed(permanent)
    assert not a_recovery(only=("missed",)).resends_missed(per_job)
    assert not a_recovery(only=("dead", "failed")).resends_missed(permanent)


def test_a_recovery_that_is_done_cannot_be_canceled() -> None:
    with pytest.raises(Conflict):
        a_recovery().done(T0 + 10).canceled(T0 + 11)


def test_a_canceled_recovery_has_the_time_of_its_end() -> None:
    canceled = a_recovery().canceled(T0 + 10)

    assert (canceled.status, canceled.finished_at) == ("canceled", T0 + 10)
