"""What takes days, in seconds: the store, the lanes and the judgements are real, time is not."""

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from service.domain.deliveries.circuit_breaker import DISABLE_AFTER
from service.domain.deliveries.delivery import Delivery, DeliveryStatus
from service.domain.deliveries.retry_policy import SCHEDULE, AttemptResult
from service.domain.jobs.job import Status
from service.domain.jobs.results import Output
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription, signing_secrets
from tests.support.dispatch_simulation import House, Post
from tests.support.factories import a_new_job, a_report, a_subscription

DONE = a_report(status=Status.SUCCEEDED, output=Output(text="made"))
HOUR = 3600 * SECOND
HALF = DISABLE_AFTER // 2
ROTATED = {"secret": "new", "previous_secret": "old"}


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    house = House(database_url, 1)
    house.begin()
    yield house
    house.close()


def subscribed(house: House, *events: str) -> Subscription:
    hook = a_subscription(event_types=events)
    house.run(house.store.put_subscription(hook))
    return hook


def ended(house: House) -> str:
    new = a_new_job()
    house.add(new)
    house.report(new.job.ref, DONE)
    return new.job.id


def worked(house: House, bad: Callable[[Delivery], bool]) -> list[Post]:
    """Send all that may be sent now; what is *bad* fails."""
    (worker,) = house.workers
    house.claim(worker)
    begun: list[Post] = []
    while posts := list(house.start(worker)):
        for post in posts:
            code = 500 if bad(post.task.delivery) else 200
            house.settle(worker, post, AttemptResult(at=post.at, duration_ms=0, status_code=code))
        begun += posts
    return begun


def test_a_delivery_that_always_fails_is_tried_for_three_days_and_then_dead(house: House) -> None:
    hook = subscribed(house, "job.succeeded")
    job, tried, began = ended(house), list[int](), house.at

    for pause in SCHEDULE:
        house.at += pause * SECOND
        if pause:
            house.at -= 1
            assert worked(house, lambda d: d.job_id == job) == [], "never before its time"
            house.at += 1
        tried += [post.at - began for post in worked(house, lambda d: d.job_id == job)]
        ended(house)
        worked(house, never)  # it is taken, so the receiver is well and not held

    (delivery,) = house.deliveries(hook.id, job=job)
    assert delivery.status is DeliveryStatus.DEAD
    assert delivery.tries == len(SCHEDULE)
    assert tried == [sum(SCHEDULE[: n + 1]) * SECOND for n in range(len(SCHEDULE))]
    assert tried[-1] > 3 * 24 * HOUR


def test_five_days_of_failure_are_told_half_way_and_end_in_a_disabled_subscription(
    house: House,
) -> None:
    hook, watcher = subscribed(house, "job.succeeded"), subscribed(house, "subscription.*")
    waiting, began = ended(house), house.at

    while house.subscription(hook.id).enabled:
        worked(house, lambda d: d.subscription_id == hook.id)
        house.at += HOUR
        assert house.at < began + 2 * DISABLE_AFTER
    worked(house, never)
    ended(house)
    told = {one.type: one for one in house.deliveries(watcher.id)}
    owed = house.deliveries(hook.id)

    assert told.keys() == {"subscription.failing", "subscription.disabled"}
    assert {one.status for one in told.values()} == {DeliveryStatus.DELIVERED}
    assert (
        DISABLE_AFTER // 2
        <= told["subscription.failing"].created_at - began
        <= DISABLE_AFTER // 2 + 2 * HOUR
    )
    assert (
        DISABLE_AFTER
        <= told["subscription.disabled"].created_at - began
        <= DISABLE_AFTER + 2 * HOUR
    )
    assert {one.job_id for one in owed} == {waiting}, "what comes later is kept, but not owed"
    assert {one.status for one in owed} == {DeliveryStatus.PENDING}
    assert worked(house, never) == []


def test_after_a_day_only_the_new_secret_signs(house: House) -> None:
    hook = subscribed(house, "job.succeeded")
    until = house.at + 24 * HOUR
    house.change(hook.id, lambda h: replace(h, **ROTATED, previous_until=until))

    ended(house)
    (first,) = worked(house, never)
    house.at = until - 1
    ended(house)
    (last,) = worked(house, never)
    house.at = until
    ended(house)
    (after,) = worked(house, never)

    both = [signing_secrets(one.task.subscription, one.at) for one in (first, last)]
    assert both == [["new", "old"]] * 2
    assert signing_secrets(after.task.subscription, after.at) == ["new"]


def never(_: Delivery) -> bool:
    return False
