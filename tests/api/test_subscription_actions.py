"""What users do with subscriptions: pause, filter, rotate, test, resend, recover."""

import asyncio

import pytest
from standardwebhooks import Webhook

from service.domain.deliveries.retry_policy import INTERMEDIATE_TRIES
from service.domain.primitives.timestamps import DAY, SECOND
from service.workers.pruner import Pruner
from tests.support.job_steps import (
    DONE,
    an_ended_job,
    submit_job,
    subscribe_busy_receiver,
    wait_for_attempts,
)
from tests.support.receivers import Receiver, hang, held_until, receiving, status
from tests.support.service_harness import Client, Json, Service, eventually

pytestmark = pytest.mark.anyio

LONG_AGO = {"since": "2026-01-01T00:00:00Z"}


async def act(client: Client, subscription: Json, action: str, body: object = None) -> Json:
    return await client.post(f"/v1/subscriptions/{subscription['id']}/{action}", body)


async def counted(service: Service, state: str, count: int) -> list[Json]:
    async def look() -> list[Json] | None:
        found = await service.deliveries(status=state)
        return found if len(found) == count else None

    return list(await eventually(look))


async def test_a_paused_subscription_keeps_all_and_sends_it_in_order_when_resumed(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url, "job.*", delivery="every")
    paused = await act(service, made, "pause")
    jobs = [await an_ended_job(service) for _ in range(3)]
    waiting = await counted(service, "pending", 6)

    resumed = await act(service, made, "resume")
    told = await receiver.wait(6)

    assert (paused["state"], resumed["state"]) == ("paused", "active")
    assert {one["due_at"] for one in waiting} == {None}
    assert {one["tries"] for one in waiting} == {0}
    for job in jobs:
        of_job = [one.event["sequence"] for one in told if one.event["data"]["id"] == job["id"]]
        assert of_job == sorted(of_job)


async def test_a_receiver_that_fails_is_held_and_drained_when_it_is_back(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.domain.deliveries.circuit_breaker.FIRST_PROBE", SECOND)
    receiver.otherwise = status(500)
    made = await service.subscribe(receiver.url)
    path = f"/v1/subscriptions/{made['id']}"
    for _ in range(5):
        await an_ended_job(service)

    async def held() -> Json | None:
        shown = await service.get(path)
        return shown if shown["state"] == "held" else None

    shown = await eventually(held)
    later = [await an_ended_job(service) for _ in range(3)]
    receiver.otherwise = status(200)
    await receiver.wait_for(lambda r: r.event["data"]["id"] == later[-1]["id"])

    assert shown["last_error"] == "answered 500"
    assert shown["failing_since"] < shown["next_probe_at"] < shown["disable_at"]

    async def well() -> bool:
        now = await service.get(path)
        return (now["state"], now["failing_since"]) == ("active", None)

    await eventually(well)
    untried = [one for one in await service.deliveries() if one["job"] == later[0]["id"]]
    assert untried[0]["tries"] <= 1, "waiting used up no try"


async def test_a_receiver_that_is_changed_while_it_is_held_is_still_tried(
    service: Service, receiver: Receiver
) -> None:
    made = await subscribe_busy_receiver(service, receiver, seconds=2)

    await service.http.patch(f"/v1/subscriptions/{made['id']}", json={"description": "mine"})
    rotated = await act(service, made, "rotate-secret")
    await act(service, made, "pause")
    resumed = await act(service, made, "resume")
    told = await receiver.wait(2)

    assert resumed["state"] == "held"
    assert resumed["next_probe_at"] is not None
    told[1].verify(rotated["secret"])


async def test_a_receiver_at_another_url_is_tried_at_once(
    service: Service, receiver: Receiver
) -> None:
    async with receiving() as old:
        old.script = [status(503, retry_after="1000")]
        made = await service.subscribe(old.url)
        await an_ended_job(service)
        await wait_for_attempts(service, 1)

        await service.http.patch(f"/v1/subscriptions/{made['id']}", json={"url": receiver.url})
        await an_ended_job(service)
        await receiver.wait()

    shown = await service.get(f"/v1/subscriptions/{made['id']}")
    assert (shown["state"], shown["failing_since"]) == ("active", None)


async def test_a_filter_lets_through_what_matches_and_says_why_not(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url, filter={"tags": "gold"})
    await an_ended_job(service, tags=["silver"])
    wanted = await an_ended_job(service, tags=["gold"])

    told = await receiver.wait()
    log = (await service.get("/v1/events", event_types="job.succeeded"))["data"]
    reasons = [
        (await service.get(f"/v1/events/{event['id']}/subscriptions"))["data"] for event in log
    ]

    assert [one.event["data"]["id"] for one in told] == [wanted["id"]]
    assert reasons[0] == [{"subscription": made["id"], "matched": True, "reason": None}]
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
async def test_a_bad_filter_or_limit_is_refused_by_its_path(
    given: Json, path: str, service: Service
) -> None:
    body = {"url": "https://example.com/hook", **given}

    answer = await service.http.post("/v1/subscriptions", json=body)

    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]


async def test_after_a_rotation_both_secrets_verify(service: Service, receiver: Receiver) -> None:
    made = await service.subscribe(receiver.url)
    rotated = await act(service, made, "rotate-secret")
    await an_ended_job(service)
    (told,) = await receiver.wait()

    for secret in (made["secret"], rotated["secret"]):
        assert Webhook(secret).verify(told.body, told.headers)
    assert len(told.headers["webhook-signature"].split(" ")) == 2
    assert rotated["secret"] != made["secret"]


async def test_a_test_tells_what_came_back(service: Service, receiver: Receiver) -> None:
    receiver.script = [status(418, b"a teapot", x_colour="blue")]
    made = await service.subscribe(receiver.url)

    tried = await act(service, made, "test")
    (told,) = await receiver.wait()

    assert (tried["status_code"], tried["excerpt"]) == (418, "a teapot")
    assert tried["headers"]["x-colour"] == "blue"
    assert tried["duration_ms"] >= tried["first_byte_ms"] > 0
    assert told.event["type"] == "webhook.test"
    told.verify(made["secret"])
    assert (await service.get("/v1/events"))["data"] == [], "it is in no log"


async def test_one_event_is_sent_again_to_a_subscription_or_to_any_url(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url)
    await an_ended_job(service)
    (told,) = await receiver.wait()
    path = f"/v1/events/{told.event['id']}/resend"

    async with receiving() as other:
        await service.post(path, {"subscription": made["id"]})
        await service.post(path, {"url": other.url})
        again, elsewhere = (await receiver.wait(2))[1], (await other.wait())[0]
        await act(service, made, "pause")
        refused = await service.http.post(path, json={"subscription": made["id"]})
        both = await service.http.post(path, json={})

    ids = {one.headers["webhook-id"] for one in (told, again, elsewhere)}
    assert ids == {told.event["id"]}
    assert told.body == elsewhere.body
    assert (refused.status_code, both.status_code) == (409, 422)


async def test_what_was_missed_or_given_up_is_recovered(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(410)]
    made = await service.subscribe(receiver.url)
    path = f"/v1/subscriptions/{made['id']}"
    await an_ended_job(service)
    await counted(service, "dead", 1)
    for _ in range(3):
        await an_ended_job(service)
    (dead,) = (await service.get("/v1/dead-letters"))["data"]
    off = await service.http.post(f"{path}/recover", json=LONG_AGO)
    await service.http.patch(path, json={"enabled": True})

    operation = await act(service, made, "recover", LONG_AGO)
    await receiver.wait(5)
    await counted(service, "delivered", 4)

    async def done() -> Json | None:
        shown = await service.get(f"/v1/recoveries/{operation['id']}")
        return shown if shown["status"] == "done" else None

    shown = await eventually(done)
    assert (dead["subscription"], dead["count"]) == (made["id"], 1)
    assert dead["reason"] == "answered 410"
    assert off.status_code == 409
    assert (shown["looked_at"], shown["sent_again"]) == (4, 4)
    assert [one["id"] for one in (await service.get("/v1/recoveries"))["data"]] == [operation["id"]]


async def test_a_recovery_sends_nothing_that_was_delivered(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await counted(service, "delivered", 1)

    operation = await act(service, made, "recover", {**LONG_AGO, "event_types": ["job.succeeded"]})

    async def done() -> Json | None:
        shown = await service.get(f"/v1/recoveries/{operation['id']}")
        return shown if shown["status"] == "done" else None

    assert (await eventually(done))["sent_again"] == 0
    canceled = await service.http.post(f"/v1/recoveries/{operation['id']}/cancel")
    assert canceled.status_code == 409
    assert len(receiver.received) == 1


async def test_a_newer_event_replaces_progress_that_was_not_sent(
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
    assert len(await counted(service, "superseded", 2)) == 2


async def test_a_rate_is_kept_however_much_is_owed(service: Service, receiver: Receiver) -> None:
    made = await service.subscribe(receiver.url, rate_limit=10)
    await act(service, made, "pause")
    for _ in range(12):
        await an_ended_job(service)

    await act(service, made, "resume")
    loop = asyncio.get_running_loop()
    start = loop.time()
    await receiver.wait(12)

    assert loop.time() - start >= 1, "eleven more take a tenth of a second each"


async def test_an_output_too_large_for_an_event_is_given_as_a_link(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    job = await submit_job(service)
    artifacts = [{"id": str(n), "url": f"https://example.com/{'x' * 900}{n}"} for n in range(30)]
    body = {"replyRef": job["ref"], "status": "SUCCEEDED", "artifacts": artifacts}
    assert await service.call_back("useapi", job["ref"], body) == 204
    (told,) = await receiver.wait()

    assert len(told.body) < 20_000
    link = told.event["data"]["output"]["link"]
    assert len((await service.get(link))["output"]["artifacts"]) == 30


async def test_an_intermediate_event_is_tried_once_more_and_then_given_up(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.domain.deliveries.retry_policy.SCHEDULE", (0, 0.05))
    receiver.otherwise = status(500)
    await service.subscribe(receiver.url, "job.queued")
    await submit_job(service)

    (dead,) = await counted(service, "dead", 1)

    assert dead["tries"] == INTERMEDIATE_TRIES


async def test_what_ended_long_ago_is_forgotten_and_what_is_owed_is_not(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    old = await an_ended_job(service)
    await counted(service, "delivered", 1)
    receiver.otherwise = hang
    owed = await an_ended_job(service)
    await receiver.wait(2)
    running = await submit_job(service)
    clock = service.context.clock

    pruner = Pruner(service.context.store, lambda: clock() + 31 * DAY, 30)
    forgotten = await pruner.prune_batch()
    left = {job["id"] for job in (await service.get("/v1/jobs"))["data"]}

    assert forgotten == 1
    assert left == {owed["id"], running["id"]}
    for path in (f"/v1/jobs/{old['id']}", f"/v1/jobs/{old['id']}/events"):
        assert (await service.http.get(path)).status_code == 404
    assert len((await service.get("/v1/callbacks"))["data"]) == 1
    assert await service.call_back("useapi", old["ref"], DONE) == 204, "late, and no error"


async def test_what_is_owed_for_ever_does_not_hold_up_what_is_forgotten(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [hang]
    await service.subscribe(receiver.url)
    owed, old = [await an_ended_job(service) for _ in range(2)]
    await counted(service, "delivered", 1)
    clock = service.context.clock

    pruner = Pruner(service.context.store, lambda: clock() + 31 * DAY, 30, batch=1)
    swept = [await pruner.prune_batch() for _ in range(3)]
    left = [job["id"] for job in (await service.get("/v1/jobs"))["data"]]

    assert swept == [0, 1, 0], "one is looked at at a time"
    assert left == [owed["id"]]
    assert (await service.http.get(f"/v1/jobs/{old['id']}")).status_code == 404


async def test_metrics_say_how_long_somebody_has_waited(
    service: Service, receiver: Receiver
) -> None:
    made = await subscribe_busy_receiver(service, receiver, seconds=1000)

    held = (await service.http.get("/metrics")).text
    await act(service, made, "pause")
    metrics = (await service.http.get("/metrics")).text

    waited = next(
        float(line.split(" ")[1])
        for line in metrics.splitlines()
        if line.startswith("belfry_oldest_owed_seconds ")
    )
    assert waited > 0
    assert 'belfry_subscriptions{state="held"} 1.0' in held
    assert 'belfry_subscriptions{state="paused"} 1.0' in metrics
