"""Refused requests: missing scopes, ids of other tenants, invalid queries and bodies."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from handlers import ENDPOINTS
from handlers.http.endpoint import Endpoint
from service.domain.primitives.ids import new_id
from service.domain.security.api_keys import Scope
from tests.support.factories import an_asset
from tests.support.receivers import Receiver, status
from tests.support.service_harness import Client, Json, Service, eventually, running_service

pytestmark = pytest.mark.anyio

NEW_JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
PREFIXES = {
    "jobs": "job",
    "events": "evt",
    "subscriptions": "sub",
    "deliveries": "dlv",
    "callbacks": "cb",
    "recoveries": "rec",
    "keys": "key",
}
WITH_ID = [
    endpoint for endpoint in ENDPOINTS if "{id}" in endpoint.path and "/keys/" not in endpoint.path
]


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def collection_of(endpoint: Endpoint) -> str:
    return endpoint.path.split("/")[2]


async def request_status(client: Client, endpoint: Endpoint, path: str) -> int:
    """Return the status only, without reading the body: a stream would not end."""
    async with client.http.stream(endpoint.method, path) as response:
        return response.status_code


@pytest.fixture
async def clients(service: Service) -> AsyncIterator[dict[Scope, Client]]:
    """One client for each scope, whose API key has no other scope."""
    by_scope = {scope: Client(service.url, await service.another_key(scope)) for scope in Scope}
    yield by_scope
    for client in by_scope.values():
        await client.http.aclose()


@pytest.mark.parametrize("scope", list(Scope))
async def test_an_api_key_allows_the_endpoints_of_its_scope_and_no_others(
    scope: Scope, clients: dict[Scope, Client]
) -> None:
    allowed, expected = {}, {}

    for endpoint in ENDPOINTS:
        missing = new_id(PREFIXES.get(collection_of(endpoint), "job"), 1, 1)
        path = endpoint.path.replace("{id}", missing)
        status_code = await request_status(clients[scope], endpoint, path)
        allowed[name_of(endpoint)] = status_code not in (401, 403)
        expected[name_of(endpoint)] = scope in (endpoint.scope, Scope.ADMIN)

    assert allowed == expected


async def test_every_endpoint_requires_a_valid_api_key(shared_service: Service) -> None:
    client = Client(shared_service.url, "bfy_" + "0" * 56)

    status_codes = {
        name_of(endpoint): await request_status(
            client, endpoint, endpoint.path.replace("{id}", new_id("job", 1, 1))
        )
        for endpoint in ENDPOINTS
    }
    await client.http.aclose()

    assert set(status_codes.values()) == {401}


@pytest.fixture
async def ids(service: Service, receiver: Receiver) -> dict[str, str]:
    """The id of one object of each kind, all of the default tenant."""
    receiver.script = [status(500)]
    subscription = await service.subscribe(receiver.url, "job.*")
    job = await service.post("/v1/jobs", NEW_JOB)
    await receiver.wait()
    await service.call_back("useapi", job["ref"], {"status": "RUNNING"})
    path = f"/v1/subscriptions/{subscription['id']}/recover"
    recovery = await service.post(path, {"since": "2026-01-01T00:00:00Z"})
    asset = an_asset(tenant="default")
    await service.context.store.assets.add(asset)
    return {
        "providers": asset.id,
        "recoveries": recovery["id"],
        "jobs": job["id"],
        "subscriptions": subscription["id"],
        "events": receiver.received[0].event["id"],
        "deliveries": (await service.deliveries())[0]["id"],
        "callbacks": (await service.get("/v1/callbacks"))["data"][0]["id"],
    }


@pytest.mark.parametrize("endpoint", WITH_ID, ids=name_of)
async def test_every_endpoint_returns_404_for_an_id_of_another_tenant(
    endpoint: Endpoint, ids: dict[str, str], service: Service
) -> None:
    other_tenant = Client(service.url, await service.another_key("admin", tenant="other_tenant"))
    path = endpoint.path.replace("{id}", ids[collection_of(endpoint)])
    path = path.replace("{provider}", "useapi")

    body = {"enabled": False} if endpoint.method == "PATCH" else None
    response = await other_tenant.http.request(endpoint.method, path, json=body)
    await other_tenant.http.aclose()
    mine = await service.get(f"/v1/subscriptions/{ids['subscriptions']}")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert mine["enabled"] is True


async def test_filters_with_ids_of_another_tenant_find_nothing(
    ids: dict[str, str], service: Service
) -> None:
    other_tenant = Client(
        service.url, await service.another_key("jobs:read", tenant="other_tenant")
    )
    lists = [
        ("/v1/deliveries", {"subscription": ids["subscriptions"]}),
        ("/v1/deliveries", {"job": ids["jobs"]}),
        ("/v1/deliveries", {"event": ids["events"]}),
        ("/v1/callbacks", {"job": ids["jobs"]}),
        ("/v1/events", {"job": ids["jobs"]}),
        ("/v1/jobs", {"provider": "useapi"}),
    ]

    found_by_other = [(await other_tenant.get(path, **query))["data"] for path, query in lists]
    found = [(await service.get(path, **query))["data"] for path, query in lists]
    await other_tenant.http.aclose()

    assert found_by_other == [[]] * len(lists)
    assert all(found)


@pytest.mark.parametrize("given", ["x", "job_", "%00", "..%2f..", "job_" + "z" * 26, "a" * 3000])
async def test_a_malformed_id_returns_404(given: str, shared_service: Service) -> None:
    endpoints = [endpoint for endpoint in ENDPOINTS if "{id}" in endpoint.path]

    responses = {
        name_of(endpoint): await shared_service.http.request(
            endpoint.method,
            endpoint.path.replace("{id}", given).replace("{provider}", "useapi"),
            json={"enabled": True} if endpoint.method == "PATCH" else None,
        )
        for endpoint in endpoints
    }

    assert {
        name: one.status_code for name, one in responses.items() if one.status_code != 404
    } == {}


async def test_a_wrong_method_returns_405_with_the_allowed_methods(
    shared_service: Service,
) -> None:
    paths = {endpoint.path.replace("{id}", new_id("job", 1, 1)) for endpoint in ENDPOINTS}

    responses = [await shared_service.http.request("TRACE", path) for path in paths]

    assert {response.status_code for response in responses} == {405}
    assert {response.json()["code"] for response in responses} == {"method_not_allowed"}
    assert {response.headers["content-type"] for response in responses} == {
        "application/problem+json"
    }
    assert all(response.headers["allow"] for response in responses)


QUERIES: dict[str, str] = {
    "/v1/jobs?colour=red": "?colour",
    "/v1/jobs?limit=0": "?limit",
    "/v1/jobs?limit=101": "?limit",
    "/v1/jobs?limit=many": "?limit",
    "/v1/jobs?status=done": "?status",
    "/v1/jobs?cursor='": "?cursor",
    "/v1/events?cursor=x": "?cursor",
    "/v1/events?cursor=job_01m7y216mwfmba7vf8agkswbaf": "?cursor",
    "/v1/events?cursor=99999999999999999999": "?cursor",
    "/v1/jobs?cursor=17": "?cursor",
    "/v1/deliveries?status=lost": "?status",
    "/v1/callbacks?verdict=good": "?verdict",
    "/v1/keys?cursor=%00": "?cursor",
}


@pytest.mark.parametrize("path", QUERIES)
async def test_an_error_in_the_query_names_its_parameter(
    path: str, shared_service: Service
) -> None:
    response = await shared_service.http.get(path)

    assert response.status_code == 422, response.text
    assert [error["path"] for error in response.json()["errors"]] == [QUERIES[path]]


EMPTY_VALUES = {
    "/v1/jobs?provider=": "/v1/jobs",
    "/v1/jobs?operation=&tag=&ref=": "/v1/jobs",
    "/v1/jobs?cursor=&limit=1": "/v1/jobs?limit=1",
    "/v1/events?event_types=&job=&provider=": "/v1/events",
    "/v1/events?cursor=": "/v1/events",
    "/v1/deliveries?subscription=&event=&job=": "/v1/deliveries",
    "/v1/callbacks?job=": "/v1/callbacks",
    "/v1/subscriptions?url=": "/v1/subscriptions",
    "/v1/keys?cursor=": "/v1/keys",
}


@pytest.mark.parametrize("path", EMPTY_VALUES)
async def test_an_empty_text_parameter_counts_as_absent(path: str, service: Service) -> None:
    await service.subscribe("http://127.0.0.1:9/", "job.queued")
    job = await service.post("/v1/jobs", {**NEW_JOB, "tags": ["t"], "reply_ref": "r"})
    await service.call_back("useapi", job["ref"], b"{")
    await service.another_key("jobs:read")

    with_empty = await service.http.get(path)
    without = await service.http.get(EMPTY_VALUES[path])

    assert with_empty.status_code == 200, with_empty.text
    assert len(with_empty.json()["data"]) == len(without.json()["data"]) > 0


async def test_a_stream_with_empty_parameters_has_all_events(shared_service: Service) -> None:
    await shared_service.post("/v1/jobs", NEW_JOB)

    async with (
        asyncio.timeout(10),
        shared_service.http.stream(
            "GET", "/v1/stream?event_types=&provider=&tag=&after=0"
        ) as stream,
    ):
        first = await anext(line async for line in stream.aiter_lines() if line[:3] == "id:")

    assert (stream.status_code, first) == (200, "id: 1")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/jobs?status=", "?status"),
        ("/v1/jobs?limit=", "?limit"),
        ("/v1/deliveries?status=", "?status"),
        ("/v1/callbacks?verdict=", "?verdict"),
        ("/v1/callbacks?quarantined=", "?quarantined"),
        ("/v1/stream?after=", "?after"),
        ("/v1/jobs?colour=", "?colour"),
    ],
)
async def test_other_empty_parameters_are_refused(
    path: str, name: str, shared_service: Service
) -> None:
    response = await shared_service.http.get(path)

    assert response.status_code == 422, response.text
    assert [error["path"] for error in response.json()["errors"]] == [name]


async def test_the_events_of_a_job_refuse_a_cursor_of_another_list(service: Service) -> None:
    job = await service.post("/v1/jobs", NEW_JOB)

    response = await service.http.get(f"/v1/jobs/{job['id']}/events", params={"cursor": job["id"]})

    assert response.status_code == 422


BODIES: dict[str, tuple[str, object, list[str]]] = {
    "an unknown field": ("/v1/jobs", {**NEW_JOB, "colour": "red"}, ["colour"]),
    "a missing field": ("/v1/jobs", {"provider": "useapi", "input": {}}, ["operation"]),
    "a wrong type": ("/v1/jobs", {**NEW_JOB, "input": []}, ["input"]),
    "a wrong type inside": ("/v1/jobs", {**NEW_JOB, "tags": ["a", 1]}, ["tags[1]"]),
    "in an array": ("/v1/jobs", [NEW_JOB, {**NEW_JOB, "colour": "red"}], ["[1].colour"]),
    "several at once": (
        "/v1/jobs",
        {**NEW_JOB, "input": {"style": "x", "seed": 0}, "tags": [""], "deadline_seconds": 0},
        ["deadline_seconds", "input.seed", "input.style", "input.text_prompt", "tags[0]"],
    ),
    "an unknown provider": ("/v1/jobs", {**NEW_JOB, "provider": "unknown"}, ["provider"]),
    "an unknown operation": ("/v1/jobs", {**NEW_JOB, "operation": "unknown"}, ["operation"]),
    "an empty reply URL": ("/v1/jobs", {**NEW_JOB, "reply_url": ""}, ["reply_url"]),
    "a private reply URL": ("/v1/jobs", {**NEW_JOB, "reply_url": "http://10.0.0.1"}, ["reply_url"]),
    "an unknown event type": (
        "/v1/jobs",
        {**NEW_JOB, "reply_event_types": ["job.x"]},
        ["reply_event_types[0]"],
    ),
    "an empty array": ("/v1/jobs", [], [""]),
    "not an object": ("/v1/jobs", "x", [""]),
    "an empty URL": ("/v1/subscriptions", {"url": ""}, ["url"]),
    "a URL with a user": ("/v1/subscriptions", {"url": "https://a:b@example.com"}, ["url"]),
    "an invalid event pattern": (
        "/v1/subscriptions",
        {"url": "https://example.com", "event_types": ["job.*", "job"]},
        ["event_types[1]"],
    ),
    "no scope": ("/v1/keys", {"scopes": []}, ["scopes"]),
    "an unknown scope": ("/v1/keys", {"scopes": ["root"]}, ["scopes[0]"]),
    "an invalid tenant": ("/v1/keys", {"scopes": ["admin"], "tenant": "a b"}, ["tenant"]),
}


@pytest.mark.parametrize("name", BODIES)
async def test_errors_in_the_body_have_paths(name: str, shared_service: Service) -> None:
    path, body, errors = BODIES[name]

    response = await shared_service.http.post(path, json=body)

    assert response.status_code == 422, response.text
    assert sorted(error["path"] for error in response.json()["errors"]) == errors
    assert all(error["message"] for error in response.json()["errors"])


@pytest.mark.parametrize("change", [{"url": ""}, {"url": None}, {"enabled": None}], ids=str)
async def test_an_update_is_checked_like_a_new_subscription(change: Json, service: Service) -> None:
    created = await service.subscribe("https://example.com/hook")
    path = f"/v1/subscriptions/{created['id']}"

    response = await service.http.patch(path, json=change)

    assert response.status_code == 422
    assert (await service.get(path))["url"] == created["url"]


async def test_jobs_for_a_provider_without_a_credential_are_refused(
    database_url: str,
) -> None:
    async with running_service(database_url, USEAPI_TOKEN="") as service:
        response = await service.http.post("/v1/jobs", json=NEW_JOB)
        shown = (await service.get("/v1/providers"))["data"]

    assert (response.status_code, response.json()["code"]) == (422, "provider_not_configured")
    unconfigured = {one["name"] for one in shown if not one["configured"]}
    assert unconfigured == {"useapi", "useapi_services"}  # they have the same token


async def test_jobs_for_a_remote_provider_are_refused_without_a_public_url(
    database_url: str,
) -> None:
    env = {"USEAPI_BASE_URL": "https://api.useapi.net/v1/runwayml", "BELFRY_PUBLIC_URL": ""}
    async with running_service(database_url, **env) as service:
        response = await service.http.post("/v1/jobs", json=NEW_JOB)

    assert (response.status_code, response.json()["code"]) == (422, "public_url_missing")


async def test_readyz_reports_a_dead_loop(service: Service) -> None:
    async def fail() -> None:
        raise RuntimeError("internal details")

    service.context.supervisor.start("dying", fail)
    response = await eventually(lambda: unready(service))

    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "store": "ok",
        "loops": "dead: dying",
        "accounts": {},
    }


async def unready(service: Service) -> httpx.Response | None:
    response = await service.http.get("/readyz")
    return None if response.is_success else response
