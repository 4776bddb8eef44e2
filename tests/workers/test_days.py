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
from tests.support.dispatch_simulation import Post, SimulatedCluster
from tests.support.factories import a_new_job, a_report, a_subscription

DONE = a_report(status=Status.SUCCEEDED, output=Output(text="made"))
HOUR = 3600 * SECOND
HALF = DISABLE_AFTER // 2
ROTATED = {"secret": "new", "previous_secret": "old"}


@pytest.fixture
def cluster(database_url: str) -> Iterator[SimulatedCluster]:
    cluster = SimulatedCluster(database_url, 1)
    cluster.begin()
    yield cluster
    cluster.close()


def subscribed(cluster: SimulatedCluster, *events: str) -> Subscription:
    hook = a_subscription(event_types=events)
    cluster.run(cluster.store.subscriptions.put(hook))
    return hook


def ended(cluster: SimulatedCluster) -> str:
    new = a_new_job()
    cluster.add(new)
    cluster.report(new.job.ref, DONE)
    return new.job.id


def worked(cluster: SimulatedCluster, bad: Callable[[Delivery], bool]) -> list[Post]:
    """Send all that may be sent now; what is *bad* fails."""
    (process,) = cluster.processes
    cluster.claim(process)
    begun: list[Post] = []
    while posts := list(cluster.start(process)):
        for post in posts:
            code = 500 if bad(post.task.delivery) else 200
            cluster.settle(
                process, post, AttemptResult(at=post.at, duration_ms=0, status_code=code)
            )
        begun += posts
    return begun


def test_a_delivery_that_always_fails_is_tried_for_three_days_and_then_dead(
    cluster: SimulatedCluster,
) -> None:
    hook = subscribed(cluster, "job.succeeded")
    job, tried, began = ended(cluster), list[int](), cluster.at

    for pause in SCHEDULE:
        cluster.at += pause * SECOND
        if pause:
            cluster.at -= 1
            assert worked(cluster, lambda d: d.job_id == job) == [], "never before its time"
            cluster.at += 1
        tried += [post.at - began for post in worked(cluster, lambda d: d.job_id == job)]
        ended(cluster)
        worked(cluster, never)  # it is taken, so the receiver is well and not held

    (delivery,) = cluster.deliveries(hook.id, job=job)
    assert delivery.status is DeliveryStatus.DEAD
    assert delivery.tries == len(SCHEDULE)
    assert tried == [sum(SCHEDULE[: n + 1]) * SECOND for n in range(len(SCHEDULE))]
    assert tried[-1] > 3 * 24 * HOUR


def test_five_days_of_failure_are_told_half_way_and_end_in_a_disabled_subscription(
    cluster: SimulatedCluster,
) -> None:
    hook, watcher = subscribed(cluster, "job.succeeded"), subscribed(cluster, "subscription.*")
    waiting, began = ended(cluster), cluster.at

    while cluster.subscription(hook.id).enabled:
        worked(cluster, lambda d: d.subscription_id == hook.id)
        cluster.at += HOUR
        assert cluster.at < began + 2 * DISABLE_AFTER
    worked(cluster, never)
    ended(cluster)
    told = {one.type: one for one in cluster.deliveries(watcher.id)}
    owed = cluster.deliveries(hook.id)

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
    assert worked(cluster, never) == []


def test_after_a_day_only_the_new_secret_signs(cluster: SimulatedCluster) -> None:
    hook = subscribed(cluster, "job.succeeded")
    until = cluster.at + 24 * HOUR
    cluster.change(hook.id, lambda h: replace(h, **ROTATED, previous_until=until))

    ended(cluster)
    (first,) = worked(cluster, never)
    cluster.at = until - 1
    ended(cluster)
    (last,) = worked(cluster, never)
    cluster.at = until
    ended(cluster)
    (after,) = worked(cluster, never)

    both = [signing_secrets(one.task.subscription, one.at) for one in (first, last)]
    assert both == [["new", "old"]] * 2
    assert signing_secrets(after.task.subscription, after.at) == ["new"]


def never(_: Delivery) -> bool:
    return False
