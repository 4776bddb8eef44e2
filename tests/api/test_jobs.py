"""Jobs over HTTP beyond the plain walk: keys, refs, secrets, pages, all at once."""

import asyncio

import pytest

from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, Service

pytestmark = pytest.mark.anyio

ORDER: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
CAPTION = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
FIELDS = (
    "id object provider operation status progress provider_status provider_task_id ref reply_ref "
    "input output error cost_usd metadata tags version created_at submitted_at finished_at "
    "deadline_at"
)


async def test_a_job_has_every_field_and_null_where_there_is_nothing(service: Service) -> None:
    job = await service.post("/v1/jobs", ORDER)

    assert sorted(job) == sorted(FIELDS.split())
    assert (job["object"], job["status"], job["version"]) == ("job", "queued", 1)
    assert job["progress"] == {"ratio": None, "text": None}
    assert (job["output"], job["error"], job["finished_at"]) == (None, None, None)
    assert job["created_at"].endswith("Z")
    assert len(job["created_at"]) == len("2026-01-01T00:00:00.000Z")


async def test_one_key_sent_many_times_at_once_makes_one_job(service: Service) -> None:
    headers = {"idempotency-key": "k"}

    answers = await asyncio.gather(
        *(service.http.post("/v1/jobs", json=ORDER, headers=headers) for _ in range(20))
    )
    kept = (await service.get("/v1/jobs"))["data"]
    events = (await service.get("/v1/events"))["data"]

    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["id"] for answer in answers} == {kept[0]["id"]}
    assert len([a for a in answers if "idempotent-replayed" not in a.headers]) == 1
    assert (len(kept), len(events)) == (1, 1)


async def test_a_repeated_array_gives_back_the_same_jobs_in_the_same_order(
    service: Service,
) -> None:
    orders = [{**ORDER, "reply_ref": str(n)} for n in range(10)]
    headers = {"idempotency-key": "many"}

    first = await service.http.post("/v1/jobs", json=orders, headers=headers)
    again = await service.http.post("/v1/jobs", json=orders, headers=headers)

    assert [job["reply_ref"] for job in first.json()["data"]] == [str(n) for n in range(10)]
    assert [j["id"] for j in again.json()["data"]] == [j["id"] for j in first.json()["data"]]
    assert again.json()["data"][3]["input"] == {"text_prompt": "x"}


async def test_a_key_belongs_to_its_tenant(service: Service) -> None:
    headers = {"idempotency-key": "k"}
    other = await service.another_key("jobs:write", tenant="other")

    mine = await service.http.post("/v1/jobs", json=ORDER, headers=headers)
    headers["authorization"] = f"Bearer {other}"
    theirs = await service.http.post("/v1/jobs", json=ORDER, headers=headers)

    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_a_refused_order_does_not_use_up_its_key(service: Service) -> None:
    headers = {"idempotency-key": "k"}

    refused = await service.http.post("/v1/jobs", json={**ORDER, "input": {}}, headers=headers)
    taken = await service.http.post("/v1/jobs", json=ORDER, headers=headers)

    assert (refused.status_code, taken.status_code) == (422, 202)


@pytest.mark.parametrize("key", ["", "k" * 256, "naïve"])
async def test_a_key_that_is_none_is_refused(key: str, service: Service) -> None:
    headers = {b"idempotency-key": key.encode("latin-1")}

    answer = await service.http.post("/v1/jobs", json=ORDER, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "Idempotency-Key"


async def test_a_task_uuid_is_taken_once(service: Service) -> None:
    uuid = "F0A5574F-d653-47f1-ab42-e2c1631f1a47"
    order = {
        "provider": "runware",
        "operation": "imageCaption",
        "input": {**CAPTION, "taskUUID": uuid},
    }

    twice = await service.http.post("/v1/jobs", json=[order, order])
    first = await service.http.post("/v1/jobs", json=order)
    second = await service.http.post("/v1/jobs", json=order)
    beside = await service.http.post("/v1/jobs", json=[ORDER, order])
    kept = (await service.get("/v1/jobs"))["data"]
    found = (await service.get("/v1/jobs", ref=uuid))["data"]

    assert (first.status_code, first.json()["reply_ref"]) == (202, uuid)
    assert first.json()["ref"] != uuid.lower()
    assert [job["id"] for job in kept] == [job["id"] for job in found] == [first.json()["id"]]
    paths = [answer.json()["errors"][0]["path"] for answer in (twice, second, beside)]
    assert paths == ["[1].input.taskUUID", "input.taskUUID", "[1].input.taskUUID"]


async def test_a_task_uuid_of_another_tenant_is_no_obstacle(service: Service) -> None:
    uuid = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
    given = {**CAPTION, "taskUUID": uuid}
    ours = await service.submit("runware", "imageCaption", given)
    other = Client(service.url, await service.another_key("jobs:write", "jobs:read", tenant="b"))

    theirs = await other.submit("runware", "imageCaption", given)
    await other.http.aclose()

    assert ours["reply_ref"] == theirs["reply_ref"] == uuid
    assert len({ours["ref"], theirs["ref"], uuid}) == 3


async def test_secrets_of_an_input_are_stored_for_the_provider_and_shown_to_nobody(
    service: Service,
) -> None:
    given = {"media_url": "https://example.com/1.mp4", "auth_token": "hush-hush-hush"}

    job = await service.submit("runway_ai", "delete-media", given)
    texts = [
        (await service.http.get(path)).text
        for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", "/v1/events")
    ]

    assert job["input"]["auth_token"] == "[redacted]"  # noqa: S105 - shown in its place
    assert not [text for text in texts if "hush" in text]


async def test_a_list_is_complete_though_jobs_are_added_while_it_is_read(
    service: Service,
) -> None:
    before = {job["id"] for job in (await service.post("/v1/jobs", [ORDER] * 30))["data"]}

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await service.get("/v1/jobs", limit=7, **cursor)
        seen += [job["id"] for job in page["data"]]
        await service.post("/v1/jobs", ORDER)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert before == set(seen)
    assert len(seen) == len(before)


async def test_events_are_listed_newest_first_and_paged(service: Service) -> None:
    jobs = (await service.post("/v1/jobs", [ORDER] * 12))["data"]

    first = await service.get("/v1/events", limit=5)
    rest = await service.get("/v1/events", limit=7, cursor=first["next_cursor"])

    listed = [event["data"]["id"] for event in first["data"] + rest["data"]]
    assert listed == [job["id"] for job in reversed(jobs)]
    assert rest["next_cursor"] is None


async def test_events_deliveries_and_callbacks_are_found_by_what_they_are_about(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url, "job.*")
    jobs = [await service.post("/v1/jobs", ORDER) for _ in range(2)]
    for job in jobs:
        await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    told = await receiver.wait(4)
    job, event = jobs[0]["id"], told[0].event["id"]
    asked: list[tuple[str, Json, int]] = [
        ("/v1/events", {"job": job}, 2),
        ("/v1/events", {"event_types": "job.failed"}, 2),
        ("/v1/events", {"event_types": "subscription.*, job.failed"}, 2),
        ("/v1/events", {"provider": "useapi", "event_types": "job.queued"}, 2),
        ("/v1/events", {"provider": "runware"}, 0),
        (f"/v1/jobs/{job}/events", {}, 2),
        ("/v1/deliveries", {"job": job}, 2),
        ("/v1/deliveries", {"event": event}, 1),
        ("/v1/deliveries", {"subscription": made["id"]}, 4),
        ("/v1/deliveries", {"subscription": made["id"], "status": "dead"}, 0),
        ("/v1/callbacks", {"job": job}, 1),
        ("/v1/callbacks", {"job": job, "verdict": "accepted"}, 1),
        ("/v1/callbacks", {"verdict": "late"}, 0),
        ("/v1/subscriptions", {"url": receiver.url}, 1),
        ("/v1/subscriptions", {"kind": "per_job"}, 0),
    ]

    found = [len((await service.get(path, **query))["data"]) for path, query, _ in asked]

    assert found == [count for _, _, count in asked]


async def test_a_subscriptions_own_headers_are_sent_and_their_values_never_shown(
    service: Service, receiver: Receiver
) -> None:
    headers = {"authorization": "Bearer hush", "x-a": "b"}

    made = await service.subscribe(receiver.url, "job.queued", headers=headers)
    await service.post("/v1/jobs", ORDER)
    (told,) = await receiver.wait()
    texts = [
        (await service.http.get(path)).text
        for path in ("/v1/subscriptions", f"/v1/subscriptions/{made['id']}")
    ]

    assert told.headers["authorization"] == "Bearer hush"
    assert list(made["headers"]) == ["authorization", "x-a"]
    assert not [text for text in texts if "hush" in text or made["secret"] in text]


async def test_what_a_change_does_not_name_stays_and_null_is_the_default(
    service: Service,
) -> None:
    made = await service.subscribe(
        "https://example.com/hook",
        "job.*",
        description="mine",
        headers={"x-a": "b"},
        max_in_flight=3,
        metadata={"a": 1},
    )
    path = f"/v1/subscriptions/{made['id']}"
    del made["secret"]

    nothing = (await service.http.patch(path, json={})).json()
    nulls = dict.fromkeys(("event_types", "description", "headers", "max_in_flight", "metadata"))
    defaults = (await service.http.patch(path, json=nulls)).json()

    changed = {"updated_at": nothing["updated_at"]}
    assert nothing == {**made, **changed}
    assert (defaults["description"], defaults["headers"], defaults["metadata"]) == (None, {}, {})
    assert defaults["max_in_flight"] == 8
    assert defaults["event_types"] == ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
