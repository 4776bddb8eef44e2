"""Webhooks over real sockets: signatures, retries, order, limits, and blocked addresses."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.domain.deliveries.retry_policy import EXCERPT_BYTES
from tests.support.job_steps import an_ended_job, subscribe_busy_receiver, wait_for_attempts
from tests.support.receivers import (
    Conversation,
    Receiver,
    bomb,
    hang,
    held_until,
    receiving,
    reset,
    status,
)
from tests.support.service_harness import Json, Service, eventually, free_port, running_service

pytestmark = pytest.mark.anyio


async def wait_for_status(service: Service, *statuses: str) -> Json:
    """Wait until the only delivery has one of *statuses*; returns it with its attempts."""

    async def look() -> Json | None:
        (delivery,) = await service.deliveries()
        return delivery if delivery["status"] in statuses else None

    delivery = await eventually(look)
    return await service.get(f"/v1/deliveries/{delivery['id']}")


class InFlight:
    """Counts concurrent requests; each is answered after *wait*."""

    def __init__(self, wait: Callable[[], Awaitable[object]]) -> None:
        self._wait, self._now, self.max = wait, 0, 0

    async def answer(self, conversation: Conversation) -> None:
        self._now += 1
        self.max = max(self.max, self._now)
        await self._wait()
        self._now -= 1
        await status(200)(conversation)


def all_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_a_webhook_is_signed_over_its_exact_bytes(
    service: Service, receiver: Receiver
) -> None:
    subscription = await service.subscribe(receiver.url, headers={"x-mine": "yes"})

    await an_ended_job(service)
    (webhook,) = await receiver.wait()
    logged = await service.http.get(f"/v1/events/{webhook.event['id']}")

    webhook.verify(subscription["secret"])
    assert logged.content == webhook.body
    assert webhook.headers["x-mine"] == "yes"
    assert webhook.headers["webhook-id"] == webhook.event["id"]


async def test_header_values_are_sent_and_stored_encrypted(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with running_service(f"sqlite:///{tmp_path}/belfry.db") as service:
        subscription = await service.subscribe(
            receiver.url, headers={"authorization": "Bearer first"}
        )
        await an_ended_job(service)
        (first,) = await receiver.wait()
        changed = {"headers": {"authorization": "Bearer second"}}
        await service.http.patch(f"/v1/subscriptions/{subscription['id']}", json=changed)
        await an_ended_job(service)
        _, second = await receiver.wait(2)
    stored = all_bytes(tmp_path)

    assert first.headers["authorization"] == "Bearer first"
    assert second.headers["authorization"] == "Bearer second"
    assert b"Bearer first" not in stored
    assert b"Bearer second" not in stored


async def test_a_failed_attempt_is_retried_with_the_same_id(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(500, b"not today")]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    first, second = await receiver.wait(2)
    delivery = await wait_for_status(service, "delivered")

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [one["status_code"] for one in delivery["attempts"]] == [500, 200]
    assert delivery["attempts"][0]["excerpt"] == "not today"


async def test_retry_after_is_respected_and_uses_no_try(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(503, retry_after="1")]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_status(service, "delivered")

    assert delivery["tries"] == 1
    assert len(delivery["attempts"]) == 2


async def test_a_receiver_that_answers_429_is_held_until_its_retry_after(
    service: Service, receiver: Receiver
) -> None:
    subscription = await subscribe_busy_receiver(service, receiver, seconds=2)

    for _ in range(5):
        await an_ended_job(service)
    held = await service.get(f"/v1/subscriptions/{subscription['id']}")
    sent_meanwhile = len(receiver.received)
    webhooks = await receiver.wait(7)

    assert (held["state"], held["last_error"]) == ("held", "answered 429")
    assert sent_meanwhile == 1
    assert len({webhook.headers["webhook-id"] for webhook in webhooks}) == 6


async def test_max_in_flight_holds_over_all_processes(
    postgres_url: str, receiver: Receiver
) -> None:
    gate = asyncio.Semaphore(0)
    in_flight = InFlight(gate.acquire)
    receiver.otherwise = in_flight.answer
    async with running_service(postgres_url) as one, running_service(postgres_url) as other:
        await one.subscribe(receiver.url, max_in_flight=3)
        for n in range(20):
            await an_ended_job((one, other)[n % 2])
        for count in range(3, 20):
            await receiver.wait(count)
            gate.release()
        for _ in range(3):
            gate.release()
        await receiver.wait(20)

    assert in_flight.max == 3
    assert len(receiver.received) == 20


async def test_a_process_respects_the_limit_of_concurrent_posts(
    sqlite_url: str, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    in_flight = InFlight(gate.wait)
    receiver.otherwise = in_flight.answer
    async with running_service(sqlite_url, BELFRY_MAX_POSTS="4") as service:
        for n in range(8):
            await service.subscribe(f"{receiver.url}/{n}")
        await an_ended_job(service)
        await receiver.wait(4)
        gate.set()
        webhooks = await receiver.wait(8)

    assert in_flight.max == 4
    assert len({webhook.path for webhook in webhooks}) == 8


async def test_a_410_disables_the_subscription(service: Service, receiver: Receiver) -> None:
    receiver.script = [status(410)]
    subscription = await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_status(service, "dead")
    after = await service.get(f"/v1/subscriptions/{subscription['id']}")
    retry = await service.http.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert (after["enabled"], after["disabled_reason"] is not None) == (False, True)
    assert retry.status_code == 409


async def test_a_redirect_is_a_failed_attempt_and_is_not_followed(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(302, location=receiver.url)]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_attempts(service)

    assert (delivery["status"], delivery["attempts"][0]["status_code"]) == ("pending", 302)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("answer", [reset, bomb], ids=["reset", "bomb"])
async def test_a_hostile_answer_ends_one_attempt(
    answer: object, service: Service, receiver: Receiver
) -> None:
    receiver.script = [answer]  # type: ignore[list-item]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_attempts(service)

    (attempt, *_) = delivery["attempts"]
    assert attempt["error"] or len(attempt["excerpt"]) <= EXCERPT_BYTES


async def test_a_compressed_answer_is_neither_decompressed_nor_stored(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [bomb]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_attempts(service)

    (attempt,) = delivery["attempts"]
    assert (delivery["status"], attempt["status_code"]) == ("delivered", 200)
    assert attempt["excerpt"] == "(gzip, not unpacked)"
    assert attempt["headers"]["content-encoding"] == "gzip"


async def test_only_the_beginning_of_an_answer_is_stored(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(200, b"x" * 1_000_000)]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await wait_for_status(service, "delivered")

    assert len(delivery["attempts"][0]["excerpt"]) == EXCERPT_BYTES


async def test_a_receiver_that_never_answers_does_not_delay_others(
    service: Service, receiver: Receiver
) -> None:
    async with receiving() as hanging:
        hanging.otherwise = hang
        await service.subscribe(hanging.url)
        await service.subscribe(receiver.url)

        for _ in range(20):
            await an_ended_job(service)
        async with asyncio.timeout(8):
            webhooks = await receiver.wait(20)

    assert len(webhooks) == 20
    assert len(hanging.received) == 8, "its max_in_flight"


async def test_events_of_one_job_arrive_in_order_even_if_the_first_fails(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(503, retry_after="1")]
    await service.subscribe(receiver.url, "job.*")

    await an_ended_job(service)
    webhooks = await receiver.wait(3)

    assert [webhook.event["sequence"] for webhook in webhooks] == [1, 1, 2]


async def test_pending_deliveries_of_a_deleted_subscription_are_canceled(
    service: Service, receiver: Receiver
) -> None:
    receiver.otherwise = status(500)
    subscription = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await wait_for_attempts(service)

    await service.http.delete(f"/v1/subscriptions/{subscription['id']}")
    (delivery,) = await service.deliveries()
    retry = await service.http.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert delivery["status"] == "canceled"
    assert retry.status_code == 409


async def test_a_delivery_can_be_sent_again(service: Service, receiver: Receiver) -> None:
    await service.subscribe(receiver.url)
    await an_ended_job(service)
    delivery = await wait_for_status(service, "delivered")

    await service.post(f"/v1/deliveries/{delivery['id']}/retry")
    first, second = await receiver.wait(2)

    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_deliveries_wait_while_their_subscription_is_disabled(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate, 503)]
    subscription = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await receiver.wait(1)

    path = f"/v1/subscriptions/{subscription['id']}"
    await service.http.patch(path, json={"enabled": False})
    gate.set()
    delivery = await wait_for_attempts(service)
    await service.http.patch(path, json={"enabled": True})
    await service.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert delivery["status"] == "pending"
    assert len(await receiver.wait(2)) == 2


async def test_queued_deliveries_go_to_the_new_url_of_their_subscription(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.otherwise = held_until(gate)
    subscription = await service.subscribe(receiver.url, max_in_flight=1)
    for _ in range(3):
        await an_ended_job(service)
    await receiver.wait(1)

    async with receiving() as moved:
        path = f"/v1/subscriptions/{subscription['id']}"
        await service.http.patch(path, json={"url": moved.url})
        gate.set()
        await moved.wait(2)

    assert len(receiver.received) == 1


async def test_queued_deliveries_are_not_sent_after_a_410(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate, 410)]
    await service.subscribe(receiver.url, max_in_flight=1)
    for _ in range(3):
        await an_ended_job(service)
    await receiver.wait(1)
    gate.set()

    async def is_released() -> bool:
        pending = await service.deliveries(status="pending")
        return len(pending) == 2 and len(await service.deliveries(status="dead")) == 1

    await eventually(is_released)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1.", "2130706433"])
async def test_a_host_name_of_a_private_address_is_blocked(
    host: str, database_url: str, receiver: Receiver
) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    async with running_service(database_url, BELFRY_ALLOW_TARGETS="") as service:
        literal = await service.http.post("/v1/subscriptions", json={"url": receiver.url})
        await service.subscribe(f"http://{host}:{port}{receiver.path}")
        await an_ended_job(service)
        delivery = await wait_for_attempts(service)

    assert literal.status_code == 422
    assert delivery["attempts"][0]["status_code"] is None
    assert receiver.received == []


@pytest.mark.parametrize("allowed", ["", "127.0.0.0/8", "127.0.0.0/8,::1/128"])
async def test_no_error_contains_the_address_of_a_host_name(allowed: str, sqlite_url: str) -> None:
    with capture_logs() as lines:
        async with running_service(sqlite_url, BELFRY_ALLOW_TARGETS=allowed) as service:
            url = f"http://localhost:{free_port()}/hook?key=secret"
            subscription = await service.subscribe(url, max_in_flight=1)
            tested = await service.post(f"/v1/subscriptions/{subscription['id']}/test")
            await an_ended_job(service)
            delivery = await wait_for_attempts(service)
            shown = json.dumps([tested, delivery, await service.get("/v1/subscriptions")])

    error = delivery["attempts"][0]["error"]
    blocked = [line for line in lines if line["event"] == "delivery.blocked"]
    assert error == tested["error"]
    assert not any(part in shown for part in ("127.0.0.1", "::1", "Errno"))
    assert not any("secret" in str(line) for line in lines)
    if not allowed:
        assert error == "the receiver's address is not allowed; BELFRY_ALLOW_TARGETS may allow it"
        assert "127.0.0.1" in blocked[0]["addresses"]
        assert (blocked[0]["host"], blocked[0]["log_level"]) == ("localhost", "warning")
