"""Webhooks over real sockets: signed, retried, in order, and never where they must not go."""

import asyncio
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.domain.deliveries.retry_policy import EXCERPT_BYTES
from tests.support.job_steps import a_busy_receiver, an_ended_job, attempted
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


async def settled(service: Service, *statuses: str) -> Json:
    """Wait for the one delivery to stand at one of *statuses*, and show its attempts."""

    async def look() -> Json | None:
        (delivery,) = await service.deliveries()
        return delivery if delivery["status"] in statuses else None

    delivery = await eventually(look)
    return await service.get(f"/v1/deliveries/{delivery['id']}")


async def test_what_is_sent_is_signed_over_its_exact_bytes(
    service: Service, receiver: Receiver
) -> None:
    subscription = await service.subscribe(receiver.url, headers={"x-mine": "yes"})

    await an_ended_job(service)
    (told,) = await receiver.wait()
    logged = await service.http.get(f"/v1/events/{told.event['id']}")

    told.verify(subscription["secret"])
    assert logged.content == told.body
    assert told.headers["x-mine"] == "yes"
    assert told.headers["webhook-id"] == told.event["id"]


def all_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_header_values_are_sent_and_stand_sealed_in_the_database(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with running_service(f"sqlite:///{tmp_path}/belfry.db") as service:
        made = await service.subscribe(receiver.url, headers={"authorization": "Bearer hush"})
        await an_ended_job(service)
        (first,) = await receiver.wait()
        changed = {"headers": {"authorization": "Bearer quiet"}}
        await service.http.patch(f"/v1/subscriptions/{made['id']}", json=changed)
        await an_ended_job(service)
        _, second = await receiver.wait(2)
    stored = all_bytes(tmp_path)

    assert first.headers["authorization"] == "Bearer hush"
    assert second.headers["authorization"] == "Bearer quiet"
    assert b"Bearer hush" not in stored
    assert b"Bearer quiet" not in stored


async def test_a_failure_is_tried_again_with_the_same_id(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(500, b"not today")]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    first, second = await receiver.wait(2)
    delivery = await settled(service, "delivered")

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [one["status_code"] for one in delivery["attempts"]] == [500, 200]
    assert delivery["attempts"][0]["excerpt"] == "not today"


async def test_retry_after_is_obeyed_and_uses_up_no_try(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(503, retry_after="1")]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await settled(service, "delivered")

    assert delivery["tries"] == 1
    assert len(delivery["attempts"]) == 2


async def test_a_receiver_that_asks_to_be_left_alone_is(
    service: Service, receiver: Receiver
) -> None:
    made = await a_busy_receiver(service, receiver, seconds=2)

    for _ in range(5):
        await an_ended_job(service)
    held = await service.get(f"/v1/subscriptions/{made['id']}")
    sent_meanwhile = len(receiver.received)
    told = await receiver.wait(7)

    assert (held["state"], held["last_error"]) == ("held", "answered 429")
    assert sent_meanwhile == 1
    assert len({one.headers["webhook-id"] for one in told}) == 6


async def test_as_many_posts_as_a_subscription_allows_are_under_way_over_all_processes(
    postgres_url: str, receiver: Receiver
) -> None:
    most, gate = 0, asyncio.Semaphore(0)

    async def answer(conversation: Conversation) -> None:
        nonlocal most
        under_way.add(conversation)
        most = max(most, len(under_way))
        await gate.acquire()
        under_way.discard(conversation)
        await status(200)(conversation)

    under_way: set[Conversation] = set()
    receiver.otherwise = answer
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

    assert most == 3
    assert len(receiver.received) == 20


async def test_a_process_makes_no_more_posts_at_once_than_it_is_told(
    sqlite_url: str, receiver: Receiver
) -> None:
    gate, under_way, most = asyncio.Event(), 0, 0

    async def answer(conversation: Conversation) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        await status(200)(conversation)

    receiver.otherwise = answer
    async with running_service(sqlite_url, BELFRY_MAX_POSTS="4") as service:
        for n in range(8):
            await service.subscribe(f"{receiver.url}/{n}")
        await an_ended_job(service)
        await receiver.wait(4)
        gate.set()
        told = await receiver.wait(8)

    assert most == 4
    assert len({one.path for one in told}) == 8


async def test_gone_disables_the_subscription(service: Service, receiver: Receiver) -> None:
    receiver.script = [status(410)]
    made = await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await settled(service, "dead")
    subscription = await service.get(f"/v1/subscriptions/{made['id']}")
    again = await service.http.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert (subscription["enabled"], subscription["disabled_reason"] is not None) == (False, True)
    assert again.status_code == 409


async def test_a_redirect_is_a_failure_and_not_followed(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(302, location=receiver.url)]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await attempted(service)

    assert (delivery["status"], delivery["attempts"][0]["status_code"]) == ("pending", 302)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("answer", [reset, bomb], ids=["reset", "bomb"])
async def test_a_hostile_answer_costs_one_attempt(
    answer: object, service: Service, receiver: Receiver
) -> None:
    receiver.script = [answer]  # type: ignore[list-item]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await attempted(service)

    (attempt, *_) = delivery["attempts"]
    assert attempt["error"] or len(attempt["excerpt"]) <= EXCERPT_BYTES


async def test_an_answer_that_is_compressed_unasked_is_neither_unpacked_nor_kept(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [bomb]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await attempted(service)

    (attempt,) = delivery["attempts"]
    assert (delivery["status"], attempt["status_code"]) == ("delivered", 200)
    assert attempt["excerpt"] == "(gzip, not unpacked)"
    assert attempt["headers"]["content-encoding"] == "gzip"


async def test_only_the_beginning_of_an_answer_is_kept(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(200, b"x" * 1_000_000)]
    await service.subscribe(receiver.url)

    await an_ended_job(service)
    delivery = await settled(service, "delivered")

    assert len(delivery["attempts"][0]["excerpt"]) == EXCERPT_BYTES


async def test_a_receiver_that_hangs_costs_the_others_nothing(
    service: Service, receiver: Receiver
) -> None:
    async with receiving() as hanging:
        hanging.otherwise = hang
        await service.subscribe(hanging.url)
        await service.subscribe(receiver.url)

        for _ in range(20):
            await an_ended_job(service)
        async with asyncio.timeout(8):
            told = await receiver.wait(20)

    assert len(told) == 20
    assert len(hanging.received) == 8, "as many as its max_in_flight"


async def test_events_of_one_job_arrive_in_order_though_the_first_fails(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(503, retry_after="1")]
    await service.subscribe(receiver.url, "job.*")

    await an_ended_job(service)
    told = await receiver.wait(3)

    assert [one.event["sequence"] for one in told] == [1, 1, 2]


async def test_what_a_deleted_subscription_was_owed_is_canceled(
    service: Service, receiver: Receiver
) -> None:
    receiver.otherwise = status(500)
    made = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await attempted(service)

    await service.http.delete(f"/v1/subscriptions/{made['id']}")
    (delivery,) = await service.deliveries()
    again = await service.http.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert delivery["status"] == "canceled"
    assert again.status_code == 409


async def test_a_delivery_can_be_sent_again(service: Service, receiver: Receiver) -> None:
    await service.subscribe(receiver.url)
    await an_ended_job(service)
    delivery = await settled(service, "delivered")

    await service.post(f"/v1/deliveries/{delivery['id']}/retry")
    first, second = await receiver.wait(2)

    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_a_disabled_subscription_waits_and_drains_when_it_is_on_again(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate, 503)]
    made = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await receiver.wait(1)

    path = f"/v1/subscriptions/{made['id']}"
    await service.http.patch(path, json={"enabled": False})
    gate.set()
    delivery = await attempted(service)
    await service.http.patch(path, json={"enabled": True})
    await service.post(f"/v1/deliveries/{delivery['id']}/retry")

    assert delivery["status"] == "pending"
    assert len(await receiver.wait(2)) == 2


async def test_what_waits_in_hand_goes_where_its_subscription_points_now(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.otherwise = held_until(gate)
    made = await service.subscribe(receiver.url, max_in_flight=1)
    for _ in range(3):
        await an_ended_job(service)
    await receiver.wait(1)

    async with receiving() as moved:
        path = f"/v1/subscriptions/{made['id']}"
        await service.http.patch(path, json={"url": moved.url})
        gate.set()
        await moved.wait(2)

    assert len(receiver.received) == 1


async def test_what_waits_in_hand_is_not_sent_after_a_410(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate, 410)]
    await service.subscribe(receiver.url, max_in_flight=1)
    for _ in range(3):
        await an_ended_job(service)
    await receiver.wait(1)
    gate.set()

    async def given_back() -> bool:
        due = await service.deliveries(status="pending")
        return len(due) == 2 and len(await service.deliveries(status="dead")) == 1

    await eventually(given_back)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1.", "2130706433"])
async def test_a_name_that_leads_to_a_private_address_is_not_dialled(
    host: str, database_url: str, receiver: Receiver
) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    async with running_service(database_url, BELFRY_ALLOW_TARGETS="") as service:
        literal = await service.http.post("/v1/subscriptions", json={"url": receiver.url})
        await service.subscribe(f"http://{host}:{port}{receiver.path}")
        await an_ended_job(service)
        delivery = await attempted(service)

    assert literal.status_code == 422
    assert delivery["attempts"][0]["status_code"] is None
    assert receiver.received == []


@pytest.mark.parametrize("allowed", ["", "127.0.0.0/8", "127.0.0.0/8,::1/128"])
async def test_no_error_tells_where_a_name_leads(allowed: str, sqlite_url: str) -> None:
    with capture_logs() as lines:
        async with running_service(sqlite_url, BELFRY_ALLOW_TARGETS=allowed) as service:
            url = f"http://localhost:{free_port()}/hook?key=hush"
            hook = await service.subscribe(url, max_in_flight=1)
            tested = await service.post(f"/v1/subscriptions/{hook['id']}/test")
            await an_ended_job(service)
            delivery = await attempted(service)
            shown = json.dumps([tested, delivery, await service.get("/v1/subscriptions")])

    said = delivery["attempts"][0]["error"]
    blocked = [line for line in lines if line["event"] == "delivery.blocked"]
    assert said == tested["error"]
    assert not any(secret in shown for secret in ("127.0.0.1", "::1", "Errno"))
    assert not any("hush" in str(line) for line in lines)
    if not allowed:
        assert said == "the receiver's address is not allowed; BELFRY_ALLOW_TARGETS may allow it"
        assert "127.0.0.1" in blocked[0]["addresses"]
        assert (blocked[0]["host"], blocked[0]["log_level"]) == ("localhost", "warning")
