"""Jobs over HTTP in detail: idempotency keys, refs, secrets, pagination, subscriptions."""

import asyncio

import pytest

from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, Service

pytestmark = pytest.mark.anyio

NEW_JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
CAPTION = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
FIELDS = (
    "id object provider operation status progress provider_status provider_task_id "
    "provider_info ref reply_ref reply_subscription_id input output error cost_usd metadata tags "
    "version created_at submitted_at finished_at deadline_at"
)


async def test_a_new_job_has_every_field(service: Service) -> None:
    job = await service.post("/v1/jobs", NEW_JOB)

    assert sorted(job) == sorted(FIELDS.split())
    assert (job["object"], job["status"], job["version"]) == ("job", "queued", 1)
    assert job["progress"] == {"ratio": None, "text": None}
    assert (job["output"], job["error"], job["finished_at"]) == (None, None, None)
    assert job["created_at"].endswith("Z")
    assert len(job["created_at"]) == len("2026-01-01T00:00:00.000Z")


async def test_concurrent_requests_with_one_idempotency_key_create_one_job(
    service: Service,
) -> None:
    headers = {"idempotency-key": "k"}

    responses = await asyncio.gather(
        *(service.http.post("/v1/jobs", json=NEW_JOB, headers=headers) for _ in range(20))
    )
    stored = (await service.get("/v1/jobs"))["data"]
    events = (await service.get("/v1/events"))["data"]

    assert {response.status_code for response in responses} == {202}
    assert {response.json()["id"] for response in responses} == {stored[0]["id"]}
    assert len([a for a in responses if "idempotent-replayed" not in a.headers]) == 1
    assert (len(stored), len(events)) == (1, 1)


async def test_a_repeated_array_returns_the_same_jobs_in_the_same_order(
    service: Service,
) -> None:
    new_jobs = [{**NEW_JOB, "reply_ref": str(n)} for n in range(10)]
    headers = {"idempotency-key": "many"}

    first = await service.http.post("/v1/jobs", json=new_jobs, headers=headers)
    again = await service.http.post("/v1/jobs", json=new_jobs, headers=headers)

    assert [job["reply_ref"] for job in first.json()["data"]] == [str(n) for n in range(10)]
    assert [j["id"] for j in again.json()["data"]] == [j["id"] for j in first.json()["data"]]
    assert again.json()["data"][3]["input"] == {"text_prompt": "x"}


async def test_an_idempotency_key_belongs_to_its_tenant(service: Service) -> None:
    headers = {"idempotency-key": "k"}
    other = await service.another_key("jobs:write", tenant="other")

    first = await service.http.post("/v1/jobs", json=NEW_JOB, headers=headers)
    headers["authorization"] = f"Bearer {other}"
    second = await service.http.post("/v1/jobs", json=NEW_JOB, headers=headers)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]


async def test_a_refused_request_does_not_use_up_its_idempotency_key(service: Service) -> None:
    headers = {"idempotency-key": "k"}

    refused = await service.http.post("/v1/jobs", json={**NEW_JOB, "input": {}}, headers=headers)
    accepted = await service.http.post("/v1/jobs", json=NEW_JOB, headers=headers)

    assert (refused.status_code, accepted.status_code) == (422, 202)


@pytest.mark.parametrize("key", ["", "k" * 256, "naïve"])
async def test_an_invalid_idempotency_key_is_refused(key: str, service: Service) -> None:
    headers = {b"idempotency-key": key.encode("latin-1")}

    response = await service.http.post("/v1/jobs", json=NEW_JOB, headers=headers)

    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == "Idempotency-Key"


async def test_a_task_uuid_is_accepted_once(service: Service) -> None:
    uuid = "F0A5574F-d653-47f1-ab42-e2c1631f1a47"
    new_job = {
        "provider": "runware",
        "operation": "imageCaption",
        "input": {**CAPTION, "taskUUID": uuid},
    }

    twice = await service.http.post("/v1/jobs", json=[new_job, new_job])
    first = await service.http.post("/v1/jobs", json=new_job)
    second = await service.http.post("/v1/jobs", json=new_job)
    beside = await service.http.post("/v1/jobs", json=[NEW_JOB, new_job])
    stored = (await service.get("/v1/jobs"))["data"]
    found = (await service.get("/v1/jobs", ref=uuid))["data"]

    assert (first.status_code, first.json()["reply_ref"]) == (202, uuid)
    assert first.json()["ref"] != uuid.lower()
    assert [job["id"] for job in stored] == [job["id"] for job in found] == [first.json()["id"]]
    paths = [response.json()["errors"][0]["path"] for response in (twice, second, beside)]
    assert paths == ["[1].input.taskUUID", "input.taskUUID", "[1].input.taskUUID"]


async def test_two_tenants_can_use_the_same_task_uuid(service: Service) -> None:
    uuid = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
    given = {**CAPTION, "taskUUID": uuid}
    first = await service.submit("runware", "imageCaption", given)
    other = Client(service.url, await service.another_key("jobs:write", "jobs:read", tenant="b"))

    second = await other.submit("runware", "imageCaption", given)
    await other.http.aclose()

    assert first["reply_ref"] == second["reply_ref"] == uuid
    assert len({first["ref"], second["ref"], uuid}) == 3


async def test_secrets_in_an_input_are_redacted_in_responses_and_events(
    service: Service,
) -> None:
    given = {"media_url": "https://example.com/1.mp4", "auth_token": "hush-hush-hush"}

    job = await service.submit("runway_ai", "delete-media", given)
    texts = [
        (await service.http.get(path)).text
        for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", "/v1/events")
    ]

    assert job["input"]["auth_token"] == "[redacted]"  # noqa: S105 - a placeholder
    assert not [text for text in texts if "hush" in text]


async def test_a_list_is_complete_while_jobs_are_added(
    service: Service,
) -> None:
    before = {job["id"] for job in (await service.post("/v1/jobs", [NEW_JOB] * 30))["data"]}

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await service.get("/v1/jobs", limit=7, **cursor)
        seen += [job["id"] for job in page["data"]]
        await service.post("/v1/jobs", NEW_JOB)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert before == set(seen)
    assert len(seen) == len(before)


async def test_events_are_listed_newest_first_and_paged(service: Service) -> None:
    jobs = (await service.post("/v1/jobs", [NEW_JOB] * 12))["data"]

    first = await service.get("/v1/events", limit=5)
    rest = await service.get("/v1/events", limit=7, cursor=first["next_cursor"])

    listed = [event["data"]["id"] for event in first["data"] + rest["data"]]
    assert listed == [job["id"] for job in reversed(jobs)]
    assert rest["next_cursor"] is None


async def test_events_deliveries_and_callbacks_can_be_filtered(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url, "job.*")
    jobs = [await service.post("/v1/jobs", NEW_JOB) for _ in range(2)]
    for job in jobs:
        await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    webhooks = await receiver.wait(4)
    job, event = jobs[0]["id"], webhooks[0].event["id"]
    queries: list[tuple[str, Json, int]] = [
        ("/v1/events", {"job": job}, 2),
        ("/v1/events", {"event_types": "job.failed"}, 2),
        ("/v1/events", {"event_types": "subscription.*, job.failed"}, 2),
        ("/v1/events", {"provider": "useapi", "event_types": "job.queued"}, 2),
        ("/v1/events", {"provider": "runware"}, 0),
        (f"/v1/jobs/{job}/events", {}, 2),
        ("/v1/deliveries", {"job": job}, 2),
        ("/v1/deliveries", {"event": event}, 1),
        ("/v1/deliveries", {"subscription": created["id"]}, 4),
        ("/v1/deliveries", {"subscription": created["id"], "status": "dead"}, 0),
        ("/v1/callbacks", {"job": job}, 1),
        ("/v1/callbacks", {"job": job, "verdict": "accepted"}, 1),
        ("/v1/callbacks", {"verdict": "late"}, 0),
        ("/v1/subscriptions", {"url": receiver.url}, 1),
        ("/v1/subscriptions", {"kind": "per_job"}, 0),
    ]

    found = [len((await service.get(path, **query))["data"]) for path, query, _ in queries]

    assert found == [count for _, _, count in queries]


async def test_the_headers_of_a_subscription_are_sent_but_their_values_are_not_shown(
    service: Service, receiver: Receiver
) -> None:
    headers = {"authorization": "Bearer hush", "x-a": "b"}

    created = await service.subscribe(receiver.url, "job.queued", headers=headers)
    await service.post("/v1/jobs", NEW_JOB)
    (webhook,) = await receiver.wait()
    texts = [
        (await service.http.get(path)).text
        for path in ("/v1/subscriptions", f"/v1/subscriptions/{created['id']}")
    ]

    assert webhook.headers["authorization"] == "Bearer hush"
    assert list(created["headers"]) == ["authorization", "x-a"]
    assert not [text for text in texts if "hush" in text or created["secret"] in text]


async def test_an_update_keeps_omitted_fields_and_null_sets_the_default(
    service: Service,
) -> None:
    created = await service.subscribe(
        "https://example.com/hook",
        "job.*",
        description="mine",
        headers={"x-a": "b"},
        max_in_flight=3,
        metadata={"a": 1},
    )
    path = f"/v1/subscriptions/{created['id']}"
    del created["secret"]

    unchanged = (await service.http.patch(path, json={})).json()
    all_null = dict.fromkeys(("event_types", "description", "headers", "max_in_flight", "metadata"))
    defaults = (await service.http.patch(path, json=all_null)).json()

    assert unchanged == {**created, "updated_at": unchanged["updated_at"]}
    assert (defaults["description"], defaults["headers"], defaults["metadata"]) == (None, {}, {})
    assert defaults["max_in_flight"] == 8
    assert defaults["event_types"] == ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
