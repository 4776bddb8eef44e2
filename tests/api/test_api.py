"""The basics of the API: jobs, lists, API keys, tenants, errors."""

import httpx
import pytest

from handlers import ENDPOINTS
from service.domain.primitives.ids import new_id
from service.providers import registry
from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, Service

pytestmark = pytest.mark.anyio

NEW_JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


async def test_a_job_is_accepted_with_its_location(service: Service) -> None:
    response = await service.http.post("/v1/jobs", json={**NEW_JOB, "metadata": {"a": 1}})
    job = response.json()
    shown = await service.get(response.headers["location"])

    assert response.status_code == 202
    assert shown["id"] == job["id"]
    assert shown["metadata"] == {"a": 1}
    assert shown["input"] == {"text_prompt": "x"}


async def test_an_array_of_jobs_is_accepted_completely_or_not_at_all(service: Service) -> None:
    bad = {**NEW_JOB, "input": {"style": "vapor"}}

    response = await service.http.post("/v1/jobs", json=[NEW_JOB, bad, NEW_JOB])
    too_many = await service.http.post("/v1/jobs", json=[NEW_JOB] * 101)
    stored = (await service.get("/v1/jobs"))["data"]

    paths = [error["path"] for error in response.json()["errors"]]
    assert (response.status_code, too_many.status_code, stored) == (422, 422, [])
    assert sorted(paths) == ["[1].input.style", "[1].input.text_prompt"]


async def test_a_repeated_idempotency_key_creates_no_second_job(service: Service) -> None:
    headers = {"idempotency-key": "k1"}
    reordered = dict(reversed(NEW_JOB.items()))

    first = await service.http.post("/v1/jobs", json=NEW_JOB, headers=headers)
    again = await service.http.post("/v1/jobs", json=reordered, headers=headers)
    other = await service.http.post("/v1/jobs", json=[NEW_JOB], headers=headers)

    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_reused")
    assert len((await service.get("/v1/jobs"))["data"]) == 1


async def test_lists_are_filtered_and_paged(service: Service) -> None:
    for n in range(3):
        await service.post("/v1/jobs", [{**NEW_JOB, "tags": [f"t{n}"], "reply_ref": f"r{n}"}] * 15)

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await service.get("/v1/jobs", limit=20, **cursor)
        seen += [job["id"] for job in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert len(seen) == len(set(seen)) == 45
    assert seen == sorted(seen, reverse=True)
    for query in ({"tag": "t1"}, {"ref": "r1"}):
        assert len((await service.get("/v1/jobs", limit=100, **query))["data"]) == 15
    assert (await service.get("/v1/jobs", provider="runware"))["data"] == []
    assert len((await service.get("/v1/jobs", status="queued", limit=100))["data"]) <= 45


@pytest.mark.parametrize(
    ("target", "arguments", "expected"),
    [
        ("GET /v1/nothing", {}, "404 not_found"),
        ("GET /v1/jobs/job_x", {}, "404 not_found"),
        ("GET /v1/jobs/%2f..%2f", {}, "404 not_found"),
        ("GET /v1/jobs/%00", {}, "404 not_found"),
        ("DELETE /v1/jobs", {}, "405 method_not_allowed"),
        ("GET /v1/jobs?limit=0", {}, "422 invalid_input"),
        ("GET /v1/jobs?colour=red", {}, "422 invalid_input"),
        ("GET /v1/jobs?cursor='", {}, "422 invalid_input"),
        ("POST /v1/jobs", {"content": b"{"}, "422 invalid_json"),
        ("POST /v1/jobs", {"content": b"[" * 100_000}, "422 invalid_json"),
        ("POST /v1/jobs", {"json": {**NEW_JOB, "colour": "red"}}, "422 invalid_input"),
        ("POST /v1/jobs", {"json": {**NEW_JOB, "provider": "x"}}, "422 invalid_input"),
        ("POST /v1/jobs", {"data": {"a": "b"}}, "415 unsupported_media_type"),
        ("POST /v1/jobs", {"content": b" " * 9_000_000}, "413 too_large"),
    ],
)
async def test_every_refusal_is_a_problem_document(
    target: str, arguments: Json, expected: str, service: Service
) -> None:
    response = await service.http.request(*target.split(" ", 1), **arguments)
    problem = response.json()

    assert f"{response.status_code} {problem['code']}" == expected
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == problem["request_id"]


async def test_a_request_without_a_valid_api_key_is_refused(service: Service) -> None:
    keys = ["", "Bearer", "Bearer x", "Basic abc", "Bearer bfy_" + "0" * 56]

    async with httpx.AsyncClient(base_url=service.url) as client:
        responses = [await client.get("/v1/jobs", headers={"authorization": key}) for key in keys]

    assert {response.status_code for response in responses} == {401}
    assert {"www-authenticate" in response.headers for response in responses} == {True}


async def test_a_revoked_api_key_is_refused_at_once(service: Service) -> None:
    created = await service.post("/v1/keys", {"scopes": ["jobs:read"], "name": "reader"})
    headers = {"authorization": f"Bearer {created['key']}"}

    before = await service.http.get("/v1/jobs", headers=headers)
    await service.http.delete(f"/v1/keys/{created['id']}")
    after = await service.http.get("/v1/jobs", headers=headers)

    assert (before.status_code, after.status_code) == (200, 401)
    assert created["key"] not in (await service.http.get("/v1/keys")).text


@pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}"
)
async def test_an_api_key_without_the_scope_is_refused(endpoint: object, service: Service) -> None:
    assert isinstance(endpoint, type(ENDPOINTS[0]))
    others = [s for s in ("jobs:read", "jobs:write", "subscriptions:write") if s != endpoint.scope]
    key = await service.another_key(*others)
    path = endpoint.path.replace("{id}", new_id("job", 1, 1))

    response = await service.http.request(
        endpoint.method, path, headers={"authorization": f"Bearer {key}"}
    )

    assert response.status_code == 403


async def test_another_tenant_finds_no_object(service: Service, receiver: Receiver) -> None:
    job = await service.post("/v1/jobs", {**NEW_JOB, "reply_ref": "mine"})
    subscription = await service.subscribe(receiver.url, "job.*")
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    (webhook,) = await receiver.wait()
    ids = {
        "jobs": job["id"],
        "subscriptions": subscription["id"],
        "events": webhook.event["id"],
        "deliveries": (await service.deliveries())[0]["id"],
        "callbacks": (await service.get("/v1/callbacks"))["data"][0]["id"],
    }

    other_tenant = Client(service.url, await service.another_key("admin", tenant="other_tenant"))
    responses = {
        name: await other_tenant.http.get(f"/v1/{name}/{one}") for name, one in ids.items()
    }
    lists = {name: (await other_tenant.get(f"/v1/{name}"))["data"] for name in ids}
    found = (await other_tenant.get("/v1/jobs", ref="mine"))["data"]
    await other_tenant.http.aclose()

    assert {response.status_code for response in responses.values()} == {404}
    assert set(map(len, lists.values())) == {0}
    assert found == []


async def test_a_subscription_is_created_read_updated_and_deleted(service: Service) -> None:
    created = await service.subscribe("https://example.com/hook", "job.*", description="mine")
    path = f"/v1/subscriptions/{created['id']}"

    secret = (await service.get(f"{path}/secret"))["secret"]
    changed = (
        await service.http.patch(path, json={"event_types": None, "max_in_flight": 2})
    ).json()
    listed = (await service.get("/v1/subscriptions"))["data"]
    deleted = await service.http.delete(path)
    gone = await service.http.get(path)

    assert created["secret"] == secret
    assert "secret" not in changed
    assert (changed["max_in_flight"], changed["description"]) == (2, "mine")
    assert "job.succeeded" in changed["event_types"]
    assert [one["id"] for one in listed] == [created["id"]]
    assert (deleted.status_code, gone.status_code) == (204, 404)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"event_types": ["job.sucess"]}, "event_types[0]"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"x-a": "a\r\nb: c"}}, "headers.x-a"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_an_invalid_subscription_is_refused_with_the_path(
    change: Json, path: str, service: Service
) -> None:
    body = {"url": "https://example.com/hook", **change}

    response = await service.http.post("/v1/subscriptions", json=body)

    assert response.status_code == 422
    assert [error["path"] for error in response.json()["errors"]] == [path]


async def test_health_metrics_and_the_catalog_are_served(service: Service) -> None:
    await service.post("/v1/jobs", NEW_JOB)

    ready = await service.get("/readyz")
    metrics = (await service.http.get("/metrics")).text
    providers = (await service.get("/v1/providers"))["data"]
    types = (await service.get("/v1/event-types"))["data"]

    assert ready == {"ready": True, "store": "ok", "loops": "ok", "accounts": {}}
    assert 'belfry_events_total{type="job.queued"}' in metrics
    assert {one["name"] for one in providers} == registry().keys()
    assert "job.succeeded" in {one["type"] for one in types}
