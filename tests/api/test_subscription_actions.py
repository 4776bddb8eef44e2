"""Actions on subscriptions: pause, filter, rotate, test, resend, recover."""

import asyncio

import pytest
from standardwebhooks import Webhook

from service.domain.deliveries.circuit_breaker import FIRST_PROBE
from service.domain.deliveries.retry_policy import INTERMEDIATE_TRIES, SCHEDULE
from service.domain.primitives.timestamps import DAY, SECOND
from service.workers.pruner import Pruner
from tests.support.job_steps import (
    DONE,
    an_ended_job,
    submit_job,
    subscribe_busy_receiver,
    wait_for_attempts,
)
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Receiver, hang, held_until, receiving, status
from tests.support.service_harness import Client, Json, Service, eventually

pytestmark = pytest.mark.anyio

LONG_AGO = {"since": "2026-01-01T00:00:00Z"}


async def perform(client: Client, subscription: Json, action: str, body: object = None) -> Json:
    return await client.post(f"/v1/subscriptions/{subscription['id']}/{action}", body)


async def wait_for_count(service: Service, state: str, count: int) -> list[Json]:
    async def find() -> list[Json] | None:
        found = await service.deliveries(status=state)
        return found if len(found) == count else None

    return list(await eventually(find))


async def test_a_paused_subscription_sends_its_deliveries_in_order_when_resumed(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url, "job.*", delivery="every")
    paused = await perform(service, created, "pause")
    jobs = [await an_ended_job(service) for _ in range(3)]
    waiting = await wait_for_count(service, "pending", 6)

    resumed = await perform(service, created, "resume")
    webhooks = await receiver.wait(6)

    assert (paused["state"], resumed["state"]) == ("paused", "active")
    assert {one["due_at"] for one in waiting} == {None}
    assert {one["tries"] for one in waiting} == {0}
    for job in jobs:
        of_job = [one.event["sequence"] for one in webhooks if one.event["data"]["id"] == job["id"]]
        assert of_job == sorted(of_job)


async def test_a_failing_receiver_is_held_and_gets_its_deliveries_when_it_recovers(
    service: Service, receiver: Receiver, clock: MovableClock
) -> None:
    receiver.otherwise = status(500)
    created = await service.subscribe(receiver.url)
    path = f"/v1/subscriptions/{created['id']}"
    for _ in range(5):
        await an_ended_job(service)

    async def held() -> Json | None:
        shown = await service.get(path)
        return shown if shown["state"] == "held" else None

    shown = await eventually(held)
    later = [await an_ended_job(service) for _ in range(3)]
    receiver.otherwise = status(200)
    clock.advance(FIRST_PROBE)
    await receiver.wait_for(lambda r: r.event["data"]["id"] == later[-1]["id"])

    assert shown["last_error"] == "answered 500"
    assert shown["failing_since"] < shown["next_probe_at"] < shown["disable_at"]

    async def recovered() -> bool:
        now = await service.get(path)
        return (now["state"], now["failing_since"]) == ("active", None)

    await eventually(recovered)
    untried = [one for one in await service.deliveries() if one["job"] == later[0]["id"]]
    assert untried[0]["tries"] <= 1, "a held delivery uses no tries"


async def test_a_subscription_that_is_updated_while_held_is_still_probed(
    service: Service, receiver: Receiver
) -> None:
    created = await subscribe_busy_receiver(service, receiver, seconds=2)

    await service.http.patch(f"/v1/subscriptions/{created['id']}", json={"description": "mine"})
    rotated = await perform(service, created, "rotate-secret")
    await perform(service, created, "pause")
    resumed = await perform(service, created, "resume")
    webhooks = await receiver.wait(2)

    assert resumed["state"] == "held"
    assert resumed["next_probe_at"] is not None
    webhooks[1].verify(rotated["secret"])


async def test_a_subscription_with_a_new_url_is_tried_at_once(
    service: Service, receiver: Receiver
) -> None:
    async with receiving() as old:
        old.script = [status(503, retry_after="1000")]
        created = await service.subscribe(old.url)
        await an_ended_job(service)
        await wait_for_attempts(service, 1)

        await service.http.patch(f"/v1/subscriptions/{created['id']}", json={"url": receiver.url})
        await an_ended_job(service)
        await receiver.wait()

    shown = await service.get(f"/v1/subscriptions/{created['id']}")
    assert (shown["state"], shown["failing_since"]) == ("active", None)


async def test_a_filter_selects_events_and_explains_mismatches(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url, filter={"tags": "gold"})
    await an_ended_job(service, tags=["silver"])
    matching = await an_ended_job(service, tags=["gold"])

    webhooks = await receiver.wait()
    log = (await service.get("/v1/events", event_types="job.succeeded"))["data"]
    reasons = [
        (await service.get(f"/v1/events/{event['id']}/subscriptions"))["data"] for event in log
    ]

    assert [one.event["data"]["id"] for one in webhooks] == [matching["id"]]
    assert reasons[0] == [{"subscription": created["id"], "matched": True, "reason": None}]
    assert reasons[1][0]["reason"].startswith("filter.tags: ")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"data": {"x": {"$like": 1}}}}, "filter.data.x.$like"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"delivery": "some"}, "delivery"),
    ],
)
async def test_an_invalid_filter_or_limit_is_refused_with_its_path(
    given: Json, path: str, service: Service
) -> None:
    body = {"url": "https://example.com/hook", **given}

    response = await service.http.post("/v1/subscriptions", json=body)

    assert response.status_code == 422
    assert [error["path"] for error in response.json()["errors"]] == [path]


async def test_after_a_rotation_both_secrets_verify(service: Service, receiver: Receiver) -> None:
    created = await service.subscribe(receiver.url)
    rotated = await perform(service, created, "rotate-secret")
    await an_ended_job(service)
    (webhook,) = await receiver.wait()

    for secret in (created["secret"], rotated["secret"]):
        assert Webhook(secret).verify(webhook.body, webhook.headers)
    assert len(webhook.headers["webhook-signature"].split(" ")) == 2
    assert rotated["secret"] != created["secret"]


async def test_a_test_event_returns_the_answer_of_the_receiver(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(418, b"a teapot", x_colour="blue")]
    created = await service.subscribe(receiver.url)

    attempt = await perform(service, created, "test")
    (webhook,) = await receiver.wait()

    assert (attempt["status_code"], attempt["excerpt"]) == (418, "a teapot")
    assert attempt["headers"]["x-colour"] == "blue"
    assert attempt["duration_ms"] >= attempt["first_byte_ms"] > 0
    assert webhook.event["type"] == "webhook.test"
    webhook.verify(created["secret"])
    assert (await service.get("/v1/events"))["data"] == [], "test events are not logged"


async def test_an_event_can_be_resent_to_a_subscription_or_to_any_url(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url)
    await an_ended_job(service)
    (webhook,) = await receiver.wait()
    path = f"/v1/events/{webhook.event['id']}/resend"

    async with receiving() as other:
        await service.post(path, {"subscription": created["id"]})
        await service.post(path, {"url": other.url})
        again, elsewhere = (await receiver.wait(2))[1], (await other.wait())[0]
        await perform(service, created, "pause")
        refused = await service.http.post(path, json={"subscription": created["id"]})
        both = await service.http.post(path, json={})

    ids = {one.headers["webhook-id"] for one in (webhook, again, elsewhere)}
    assert ids == {webhook.event["id"]}
    assert webhook.body == elsewhere.body
    assert (refused.status_code, both.status_code) == (409, 422)


async def test_a_recovery_sends_missed_events_and_dead_deliveries(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(410)]
    created = await service.subscribe(receiver.url)
    path = f"/v1/subscriptions/{created['id']}"
    await an_ended_job(service)
    await wait_for_count(service, "dead", 1)
    for _ in range(3):
        await an_ended_job(service)
    (dead,) = (await service.get("/v1/dead-letters"))["data"]
    refused = await service.http.post(f"{path}/recover", json=LONG_AGO)
    await service.http.patch(path, json={"enabled": True})

    recovery = await perform(service, created, "recover", LONG_AGO)
    await receiver.wait(5)
    await wait_for_count(service, "delivered", 4)

    async def done() -> Json | None:
        shown = await service.get(f"/v1/recoveries/{recovery['id']}")
        return shown if shown["status"] == "done" else None

    shown = await eventually(done)
    assert (dead["subscription"], dead["count"]) == (created["id"], 1)
    assert dead["reason"] == "answered 410"
    assert refused.status_code == 409
    assert (shown["looked_at"], shown["sent_again"]) == (4, 4)
    assert [one["id"] for one in (await service.get("/v1/recoveries"))["data"]] == [recovery["id"]]


async def test_a_recovery_does_not_resend_delivered_events(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await wait_for_count(service, "delivered", 1)

    recovery = await perform(
        service, created, "recover", {**LONG_AGO, "event_types": ["job.succeeded"]}
    )

    async def done() -> Json | None:
        shown = await service.get(f"/v1/recoveries/{recovery['id']}")
        return shown if shown["status"] == "done" else None

    assert (await eventually(done))["sent_again"] == 0
    canceled = await service.http.post(f"/v1/recoveries/{recovery['id']}/cancel")
    assert canceled.status_code == 409
    assert len(receiver.received) == 1


async def test_a_newer_event_supersedes_unsent_progress(
    service: Service, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate)]
    await service.subscribe(receiver.url, "job.*")
    job = await submit_job(service)
    await receiver.wait()
    for ratio in (0.1, 0.2, 0.3):
        body = {"replyRef": job["ref"], "status": "RUNNING", "progressRatio": ratio}
        assert await service.call_back("useapi", job["ref"], body) == 204
    assert await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE}) == 204
    gate.set()
    await receiver.wait_for(lambda r: r.event["type"] == "job.succeeded")

    assert receiver.types == ["job.queued", "job.running", "job.succeeded"]
    assert len(await wait_for_count(service, "superseded", 2)) == 2


async def test_the_rate_limit_holds_for_a_backlog(service: Service, receiver: Receiver) -> None:
    created = await service.subscribe(receiver.url, rate_limit=10)
    await perform(service, created, "pause")
    for _ in range(12):
        await an_ended_job(service)

    await perform(service, created, "resume")
    loop = asyncio.get_running_loop()
    start = loop.time()
    await receiver.wait(12)

    assert loop.time() - start >= 1, "after the first, 11 deliveries at 10 per second"


async def test_an_output_too_large_for_an_event_is_replaced_by_a_link(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    job = await submit_job(service)
    artifacts = [{"id": str(n), "url": f"https://example.com/{'x' * 900}{n}"} for n in range(30)]
    body = {"replyRef": job["ref"], "status": "SUCCEEDED", "artifacts": artifacts}
    assert await service.call_back("useapi", job["ref"], body) == 204
    (webhook,) = await receiver.wait()

    assert len(webhook.body) < 20_000
    link = webhook.event["data"]["output"]["link"]
    assert len((await service.get(link))["output"]["artifacts"]) == 30


async def test_an_intermediate_event_is_tried_twice_and_then_dead(
    service: Service, receiver: Receiver, clock: MovableClock
) -> None:
    receiver.otherwise = status(500)
    await service.subscribe(receiver.url, "job.queued")
    await submit_job(service)

    async def tried() -> bool:
        (delivery,) = await service.deliveries()
        return bool(delivery["tries"] == 1)

    await eventually(tried)
    clock.advance(2 * SCHEDULE[1] * SECOND)
    (dead,) = await wait_for_count(service, "dead", 1)

    assert dead["tries"] == INTERMEDIATE_TRIES


async def test_old_jobs_are_deleted_unless_they_run_or_have_pending_deliveries(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    old = await an_ended_job(service)
    await wait_for_count(service, "delivered", 1)
    receiver.otherwise = hang
    undelivered = await an_ended_job(service)
    await receiver.wait(2)
    running = await submit_job(service)
    clock = service.context.clock

    pruner = Pruner(service.context.store, lambda: clock() + 31 * DAY, 30)
    deleted = await pruner.prune_batch()
    left = {job["id"] for job in (await service.get("/v1/jobs"))["data"]}

    assert deleted == 1
    assert left == {undelivered["id"], running["id"]}
    for path in (f"/v1/jobs/{old['id']}", f"/v1/jobs/{old['id']}/events"):
        assert (await service.http.get(path)).status_code == 404
    assert len((await service.get("/v1/callbacks"))["data"]) == 1
    assert await service.call_back("useapi", old["ref"], DONE) == 204, (
        "a callback for a deleted job is no error"
    )


async def test_a_job_with_pending_deliveries_does_not_block_the_deletion_of_others(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [hang]
    await service.subscribe(receiver.url)
    undelivered, old = [await an_ended_job(service) for _ in range(2)]
    await wait_for_count(service, "delivered", 1)
    clock = service.context.clock

    pruner = Pruner(service.context.store, lambda: clock() + 31 * DAY, 30, batch=1)
    deleted = [await pruner.prune_batch() for _ in range(3)]
    left = [job["id"] for job in (await service.get("/v1/jobs"))["data"]]

    assert deleted == [0, 1, 0], "each batch looks at one job"
    assert left == [undelivered["id"]]
    assert (await service.http.get(f"/v1/jobs/{old['id']}")).status_code == 404


async def test_metrics_show_the_age_of_the_oldest_pending_delivery(
    service: Service, receiver: Receiver
) -> None:
    created = await subscribe_busy_receiver(service, receiver, seconds=1000)

    held = (await service.http.get("/metrics")).text
    await perform(service, created, "pause")
    metrics = (await service.http.get("/metrics")).text

    waited = next(
        float(line.split(" ")[1])
        for line in metrics.splitlines()
        if line.startswith("belfry_oldest_pending_seconds ")
    )
    assert waited > 0
    assert 'belfry_subscriptions{state="held"} 1.0' in held
    assert 'belfry_subscriptions{state="paused"} 1.0' in metrics
