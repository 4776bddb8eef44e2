import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.schemas.deliveries import render_delivery
from service.domain.deliveries.delivery import Delivery, DeliveryStatus, new_delivery, recipients
from service.domain.deliveries.retry_policy import (
    SCHEDULE,
    AttemptResult,
    after_attempt,
    allowed_tries,
)
from service.domain.primitives.timestamps import SECOND
from tests.support.factories import T0, a_delivery, a_result, a_subscription, an_event, build_job

REFUSED = a_result(None, error="ConnectionRefusedError")
FAILED = a_result(500)


def pause(delivery: Delivery, result: AttemptResult, jitter: float = 0) -> float:
    update = after_attempt(delivery, result, jitter)
    assert update.delivery.status is DeliveryStatus.PENDING
    assert update.delivery.due_at is not None
    return (update.delivery.due_at - result.at) / SECOND


@pytest.mark.parametrize("status_code", [200, 201, 204, 299])
def test_only_2xx_is_success(status_code: int) -> None:
    result = a_result(status_code, duration_ms=1500)

    after = after_attempt(a_delivery(tries=2), result, 0).delivery

    assert (after.status, after.tries) == (DeliveryStatus.DELIVERED, 3)
    assert after.settled_at == T0 + 1_500_000


@pytest.mark.parametrize(
    "result",
    [REFUSED, *map(a_result, (101, 199, 300, 301, 302, 304, 307, 308, 400, 404, 429, 500, 503))],
)
def test_everything_else_is_retried_including_redirects(result: AttemptResult) -> None:
    update = after_attempt(a_delivery(), result, 0)

    assert update.delivery.status is DeliveryStatus.PENDING
    assert update.delivery.tries == 1
    assert update.delivery.due_at == T0 + 5 * SECOND
    assert update.disable is None


@pytest.mark.parametrize(("tries", "seconds"), list(enumerate(SCHEDULE))[1:])
def test_the_pauses_follow_the_schedule(tries: int, seconds: int) -> None:
    delivery = a_delivery(tries=tries - 1)

    assert pause(delivery, FAILED) == seconds
    assert pause(delivery, FAILED, -1) == pytest.approx(seconds * 0.8)
    assert pause(delivery, FAILED, 1) == pytest.approx(seconds * 1.2)


def test_the_pause_starts_at_the_end_of_the_attempt() -> None:
    assert pause(a_delivery(), a_result(500, duration_ms=15_000)) == 20


def test_a_delivery_is_dead_after_its_last_try() -> None:
    after = after_attempt(a_delivery(tries=len(SCHEDULE) - 1), FAILED, 0).delivery

    assert (after.status, after.tries) == (DeliveryStatus.DEAD, len(SCHEDULE))
    assert after.settled_at == T0


def test_an_intermediate_event_is_retried_once() -> None:
    first = after_attempt(a_delivery(type="job.progress"), FAILED, 0).delivery

    second = after_attempt(first, FAILED, 0).delivery

    assert (first.status, second.status) == (DeliveryStatus.PENDING, DeliveryStatus.DEAD)


@pytest.mark.parametrize(
    ("kind", "tries"),
    [
        ("job.queued", 2),
        ("job.submitted", 2),
        ("job.running", 2),
        ("job.progress", 2),
        ("job.succeeded", 10),
        ("job.failed", 10),
        ("job.canceled", 10),
        ("job.expired", 10),
        ("webhook.test", 10),
        ("subscription.disabled", 10),
    ],
)
def test_the_number_of_tries_of_each_event_type(kind: str, tries: int) -> None:
    assert allowed_tries(kind) == tries


def test_a_probe_that_fails_parks_its_delivery_and_uses_no_try() -> None:
    update = after_attempt(a_delivery(tries=2), FAILED, 0, probe=True)

    assert (update.delivery.status, update.delivery.due_at) == (DeliveryStatus.PENDING, None)
    assert (update.delivery.tries, update.probe) == (2, True)


def test_410_ends_the_delivery_and_disables_the_subscription() -> None:
    update = after_attempt(a_delivery(), a_result(410, retry_after_seconds=5), 0)

    assert update.delivery.status is DeliveryStatus.DEAD
    assert update.disable == "The receiver answered 410 Gone."


@pytest.mark.parametrize("status_code", [429, 503])
@pytest.mark.parametrize(("asked", "seconds"), [(7, 7), (86_400, 86_400), (10**9, 86_400)])
def test_retry_after_is_respected_up_to_a_day_and_uses_no_try(
    status_code: int, asked: int, seconds: int
) -> None:
    delivery = a_delivery(tries=len(SCHEDULE) - 1)

    update = after_attempt(delivery, a_result(status_code, retry_after_seconds=asked), 1)

    assert update.delivery.status is DeliveryStatus.PENDING
    assert update.delivery.tries == delivery.tries
    assert update.delivery.due_at == T0 + seconds * SECOND


@pytest.mark.parametrize("status_code", [301, 400, 500, 502])
def test_retry_after_is_ignored_with_other_statuses(status_code: int) -> None:
    assert pause(a_delivery(), a_result(status_code, retry_after_seconds=60)) == 5


@given(
    st.integers(0, len(SCHEDULE) - 1),
    st.none() | st.integers(100, 599),
    st.none() | st.integers(0, 10**9),
    st.floats(-1, 1),
)
def test_a_pending_delivery_is_due_within_a_day_plus_20_percent(
    tries: int, status_code: int | None, retry_after: int | None, jitter: float
) -> None:
    result = a_result(status_code, retry_after_seconds=retry_after)

    after = after_attempt(a_delivery(tries=tries), result, jitter).delivery

    if after.status is DeliveryStatus.PENDING:
        assert after.due_at is not None
        assert 0 <= after.due_at - T0 <= 1.2 * 86_400 * SECOND
        assert tries <= after.tries < len(SCHEDULE)
    else:
        assert after.settled_at == T0


def test_an_event_goes_to_every_permanent_subscription_that_matches() -> None:
    matching, other, off = (
        a_subscription(),
        a_subscription(event_types=("job.failed",)),
        a_subscription(enabled=False),
    )

    assert recipients(an_event(), build_job(), [matching, other, off], None) == [matching]


@pytest.mark.parametrize(
    ("reply_event_types", "enabled", "expected"),
    [
        (("job.succeeded",), True, True),
        (("job.*",), True, True),
        (("job.failed",), True, False),
        (("job.succeeded",), False, False),
        ((), True, False),
    ],
)
def test_a_reply_url_gets_the_event_types_of_its_job(
    reply_event_types: tuple[str, ...], *, enabled: bool, expected: bool
) -> None:
    reply = a_subscription(kind="per_job", event_types=(), enabled=enabled)
    job = build_job(reply_event_types=reply_event_types)

    assert recipients(an_event(), job, [], reply) == ([reply] if expected else [])


def test_a_new_delivery_is_due_at_once() -> None:
    event, subscription = an_event(sequence=4, at=T0 + 5), a_subscription()

    delivery = new_delivery(event, subscription, "dlv_9")

    assert (delivery.event_id, delivery.subscription_id) == (event.id, subscription.id)
    assert (delivery.job_id, delivery.sequence) == ("job_1", 4)
    assert (delivery.due_at, delivery.tries, delivery.lease_version) == (T0 + 5, 0, 0)


def test_a_pending_delivery_is_rendered_with_its_due_time() -> None:
    view = msgspec.to_builtins(render_delivery(a_delivery(id="dlv_9")))

    assert view == {
        "id": "dlv_9",
        "object": "delivery",
        "event": "evt_1",
        "type": "job.succeeded",
        "subscription": "sub_1",
        "job": "job_1",
        "status": "pending",
        "tries": 0,
        "created_at": "2026-01-01T12:00:00.000Z",
        "due_at": "2026-01-01T12:00:00.000Z",
        "settled_at": None,
    }


def test_a_settled_delivery_is_rendered_without_a_due_time() -> None:
    view = render_delivery(after_attempt(a_delivery(), a_result(), 0).delivery)

    assert (view.due_at, view.settled_at) == (None, "2026-01-01T12:00:00.000Z")


def test_a_single_delivery_is_rendered_with_its_attempts() -> None:
    view = render_delivery(a_delivery(), [(1, a_result(500, excerpt="oops")), (2, REFUSED)])

    assert isinstance(view.attempts, list)
    assert [(a.number, a.status_code) for a in view.attempts] == [(1, 500), (2, None)]
    assert [a.excerpt for a in view.attempts] == ["oops", ""]
    assert view.attempts[1].error == "ConnectionRefusedError"
