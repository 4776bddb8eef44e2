"""Deliveries over days: real store, queues and retry rules, simulated time and network."""

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

SUCCEEDED = a_report(status=Status.SUCCEEDED, output=Output(text="made"))
HOUR = 3600 * SECOND
ROTATED = {"secret": "new", "previous_secret": "old"}


@pytest.fixture
def cluster(database_url: str) -> Iterator[SimulatedCluster]:
    cluster = SimulatedCluster(database_url, 1)
    cluster.begin()
    yield cluster
    cluster.close()


def put_subscription(cluster: SimulatedCluster, *event_types: str) -> Subscription:
    subscription = a_subscription(event_types=event_types)
    cluster.run(cluster.store.subscriptions.put(subscription))
    return subscription


def end_a_job(cluster: SimulatedCluster) -> str:
    """Add a job that succeeds; returns its id."""
    new = a_new_job()
    cluster.add(new)
    cluster.report(new.job.ref, SUCCEEDED)
    return new.job.id


def send_due(cluster: SimulatedCluster, fails: Callable[[Delivery], bool]) -> list[Post]:
    """Send all deliveries that may be sent now, and return the attempts."""
    (process,) = cluster.processes
    cluster.claim(process)
    attempts: list[Post] = []
    while posts := list(cluster.start(process)):
        for post in posts:
            code = 500 if fails(post.task.delivery) else 200
            cluster.settle(
                process, post, AttemptResult(at=post.at, duration_ms=0, status_code=code)
            )
        attempts += posts
    return attempts


def never(_: Delivery) -> bool:
    return False


def test_a_failing_delivery_is_tried_for_three_days_and_is_then_dead(
    cluster: SimulatedCluster,
) -> None:
    subscription = put_subscription(cluster, "job.succeeded")
    job, attempted_after, began = end_a_job(cluster), list[int](), cluster.at

    for pause in SCHEDULE:
        cluster.at += pause * SECOND
        if pause:
            cluster.at -= 1
            assert send_due(cluster, lambda d: d.job_id == job) == [], "not before it is due"
            cluster.at += 1
        attempted_after += [
            post.at - began for post in send_due(cluster, lambda d: d.job_id == job)
        ]
        end_a_job(cluster)
        send_due(cluster, never)  # a success, so that the receiver is not held

    (delivery,) = cluster.deliveries(subscription.id, job=job)
    assert delivery.status is DeliveryStatus.DEAD
    assert delivery.tries == len(SCHEDULE)
    assert attempted_after == [sum(SCHEDULE[: n + 1]) * SECOND for n in range(len(SCHEDULE))]
    assert attempted_after[-1] > 3 * 24 * HOUR


def test_five_days_of_failure_disable_a_subscription_after_a_warning(
    cluster: SimulatedCluster,
) -> None:
    failing = put_subscription(cluster, "job.succeeded")
    watcher = put_subscription(cluster, "subscription.*")
    waiting, began = end_a_job(cluster), cluster.at

    while cluster.subscription(failing.id).enabled:
        send_due(cluster, lambda d: d.subscription_id == failing.id)
        cluster.at += HOUR
        assert cluster.at < began + 2 * DISABLE_AFTER
    send_due(cluster, never)
    end_a_job(cluster)
    notices = {one.type: one for one in cluster.deliveries(watcher.id)}
    pending = cluster.deliveries(failing.id)

    assert notices.keys() == {"subscription.failing", "subscription.disabled"}
    assert {one.status for one in notices.values()} == {DeliveryStatus.DELIVERED}
    warned_after = notices["subscription.failing"].created_at - began
    disabled_after = notices["subscription.disabled"].created_at - began
    assert DISABLE_AFTER // 2 <= warned_after <= DISABLE_AFTER // 2 + 2 * HOUR
    assert DISABLE_AFTER <= disabled_after <= DISABLE_AFTER + 2 * HOUR
    assert {one.job_id for one in pending} == {waiting}, "later events have no delivery"
    assert {one.status for one in pending} == {DeliveryStatus.PENDING}
    assert send_due(cluster, never) == []


def test_the_previous_secret_signs_until_a_day_after_the_rotation(
    cluster: SimulatedCluster,
) -> None:
    subscription = put_subscription(cluster, "job.succeeded")
    until = cluster.at + 24 * HOUR
    cluster.change(subscription.id, lambda s: replace(s, **ROTATED, previous_until=until))

    end_a_job(cluster)
    (first,) = send_due(cluster, never)
    cluster.at = until - 1
    end_a_job(cluster)
    (last,) = send_due(cluster, never)
    cluster.at = until
    end_a_job(cluster)
    (after,) = send_due(cluster, never)

    both = [signing_secrets(one.task.subscription, one.at) for one in (first, last)]
    assert both == [["new", "old"]] * 2
    assert signing_secrets(after.task.subscription, after.at) == ["new"]
