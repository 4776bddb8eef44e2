"""What the doors refuse: who may pass which, other tenants' ids, and faults named by their path."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from handlers import ENDPOINTS
from handlers.http.endpoint import Endpoint
from service.domain.primitives.ids import new_id
from service.domain.security.api_keys import Scope
from tests.support.receivers import Receiver, status
from tests.support.service_harness import Client, Json, Service, eventually, running_service

pytestmark = pytest.mark.anyio

ORDER: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
PREFIXES = {
    "jobs": "job",
    "events": "evt",
    "subscriptions": "sub",
    "deliveries": "dlv",
    "callbacks": "cb",
    "recoveries": "rec",
    "keys": "key",
}
WITH_AN_ID = [door for door in ENDPOINTS if "{id}" in door.path and "/keys/" not in door.path]


def named(door: Endpoint) -> str:
    return f"{door.method} {door.path}"


def kind_of(door: Endpoint) -> str:
    return door.path.split("/")[2]


async def ask(client: Client, door: Endpoint, path: str) -> int:
    """Knock at *door* and look at no more than the status: a stream would not end."""
    async with client.http.stream(door.method, path) as answer:
        return answer.status_code


@pytest.fixture
async def clients(service: Service) -> AsyncIterator[dict[Scope, Client]]:
    """One client with a key for each scope, and no other."""
    made = {scope: Client(service.url, await service.another_key(scope)) for scope in Scope}
    yield made
    for client in made.values():
        await client.http.aclose()


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_opens_the_doors_of_its_scope_and_no_others(
    scope: Scope, clients: dict[Scope, Client]
) -> None:
    opened, expected = {}, {}

    for door in ENDPOINTS:
        missing = new_id(PREFIXES.get(kind_of(door), "job"), 1, 1)
        answer = await ask(clients[scope], door, door.path.replace("{id}", missing))
        opened[named(door)] = answer not in (401, 403)
        expected[named(door)] = scope in (door.scope, Scope.ADMIN)

    assert opened == expected


async def test_no_door_opens_without_a_key(shared_service: Service) -> None:
    stranger = Client(shared_service.url, "bfy_" + "0" * 56)

    answers = {
        named(door): await ask(stranger, door, door.path.replace("{id}", new_id("job", 1, 1)))
        for door in ENDPOINTS
    }
    await stranger.http.aclose()

    assert set(answers.values()) == {401}


@pytest.fixture
async def ids(service: Service, receiver: Receiver) -> dict[str, str]:
    """One of each thing there is, of the default tenant."""
    receiver.script = [status(500)]
    subscription = await service.subscribe(receiver.url, "job.*")
    job = await service.post("/v1/jobs", ORDER)
    await receiver.wait()
    await service.call_back("useapi", job["ref"], {"status": "RUNNING"})
    recovery = f"/v1/subscriptions/{subscription['id']}/recover"
    operation = await service.post(recovery, {"since": "2026-01-01T00:00:00Z"})
    return {
        "recoveries": operation["id"],
        "jobs": job["id"],
        "subscriptions": subscription["id"],
        "events": receiver.received[0].event["id"],
        "deliveries": (await service.deliveries())[0]["id"],
        "callbacks": (await service.get("/v1/callbacks"))["data"][0]["id"],
    }


@pytest.mark.parametrize("door", WITH_AN_ID, ids=named)
async def test_another_tenants_id_is_not_there_at_any_door(
    door: Endpoint, ids: dict[str, str], service: Service
) -> None:
    stranger = Client(service.url, await service.another_key("admin", tenant="stranger"))
    path = door.path.replace("{id}", ids[kind_of(door)])

    body = {"enabled": False} if door.method == "PATCH" else None
    answer = await stranger.http.request(door.method, path, json=body)
    await stranger.http.aclose()
    mine = await service.get(f"/v1/subscriptions/{ids['subscriptions']}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert mine["enabled"] is True


async def test_another_tenants_ids_find_nothing_in_lists(
    ids: dict[str, str], service: Service
) -> None:
    stranger = Client(service.url, await service.another_key("jobs:read", tenant="stranger"))
    asked = [
        ("/v1/deliveries", {"subscription": ids["subscriptions"]}),
        ("/v1/deliveries", {"job": ids["jobs"]}),
        ("/v1/deliveries", {"event": ids["events"]}),
        ("/v1/callbacks", {"job": ids["jobs"]}),
        ("/v1/events", {"job": ids["jobs"]}),
        ("/v1/jobs", {"provider": "useapi"}),
    ]

    theirs = [(await stranger.get(path, **query))["data"] for path, query in asked]
    ours = [(await service.get(path, **query))["data"] for path, query in asked]
    await stranger.http.aclose()

    assert theirs == [[]] * len(asked)
    assert all(ours)


@pytest.mark.parametrize("given", ["x", "job_", "%00", "..%2f..", "job_" + "z" * 26, "a" * 3000])
async def test_what_cannot_be_an_id_is_not_there(given: str, shared_service: Service) -> None:
    doors = [door for door in ENDPOINTS if "{id}" in door.path]

    answers = {
        named(door): await shared_service.http.request(
            door.method,
            door.path.replace("{id}", given),
            json={"enabled": True} if door.method == "PATCH" else None,
        )
        for door in doors
    }

    assert {name: one.status_code for name, one in answers.items() if one.status_code != 404} == {}


async def test_a_method_that_a_door_does_not_know_is_405_and_names_those_it_does(
    shared_service: Service,
) -> None:
    paths = {door.path.replace("{id}", new_id("job", 1, 1)) for door in ENDPOINTS}

    answers = [await shared_service.http.request("TRACE", path) for path in paths]

    assert {answer.status_code for answer in answers} == {405}
    assert {answer.json()["code"] for answer in answers} == {"method_not_allowed"}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert all(answer.headers["allow"] for answer in answers)


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
async def test_a_fault_in_the_query_is_named(path: str, shared_service: Service) -> None:
    answer = await shared_service.http.get(path)

    assert answer.status_code == 422, answer.text
    assert [fault["path"] for fault in answer.json()["errors"]] == [QUERIES[path]]


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
async def test_an_empty_value_in_the_query_is_as_if_absent(path: str, service: Service) -> None:
    await service.subscribe("http://127.0.0.1:9/", "job.queued")
    job = await service.post("/v1/jobs", {**ORDER, "tags": ["t"], "reply_ref": "r"})
    await service.call_back("useapi", job["ref"], b"{")
    await service.another_key("jobs:read")

    with_empty = await service.http.get(path)
    without = await service.http.get(EMPTY_VALUES[path])

    assert with_empty.status_code == 200, with_empty.text
    assert len(with_empty.json()["data"]) == len(without.json()["data"]) > 0


async def test_a_stream_with_empty_values_follows_everything(shared_service: Service) -> None:
    await shared_service.post("/v1/jobs", ORDER)

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
async def test_an_empty_value_that_the_schema_does_not_allow_is_refused(
    path: str, name: str, shared_service: Service
) -> None:
    answer = await shared_service.http.get(path)

    assert answer.status_code == 422, answer.text
    assert [fault["path"] for fault in answer.json()["errors"]] == [name]


async def test_the_events_of_a_job_refuse_the_cursor_of_another_list(service: Service) -> None:
    job = await service.post("/v1/jobs", ORDER)

    answer = await service.http.get(f"/v1/jobs/{job['id']}/events", params={"cursor": job["id"]})

    assert answer.status_code == 422


BODIES: dict[str, tuple[str, object, list[str]]] = {
    "an unknown field": ("/v1/jobs", {**ORDER, "colour": "red"}, ["colour"]),
    "a missing field": ("/v1/jobs", {"provider": "useapi", "input": {}}, ["operation"]),
    "a wrong type": ("/v1/jobs", {**ORDER, "input": []}, ["input"]),
    "a wrong type inside": ("/v1/jobs", {**ORDER, "tags": ["a", 1]}, ["tags[1]"]),
    "in an array": ("/v1/jobs", [ORDER, {**ORDER, "colour": "red"}], ["[1].colour"]),
    "several at once": (
        "/v1/jobs",
        {**ORDER, "input": {"style": "x", "seed": 0}, "tags": [""], "deadline_seconds": 0},
        ["deadline_seconds", "input.seed", "input.style", "input.text_prompt", "tags[0]"],
    ),
    "no provider": ("/v1/jobs", {**ORDER, "provider": "nobody"}, ["provider"]),
    "no operation": ("/v1/jobs", {**ORDER, "operation": "nothing"}, ["operation"]),
    "an empty reply URL": ("/v1/jobs", {**ORDER, "reply_url": ""}, ["reply_url"]),
    "a private reply URL": ("/v1/jobs", {**ORDER, "reply_url": "http://10.0.0.1"}, ["reply_url"]),
    "no event": ("/v1/jobs", {**ORDER, "reply_event_types": ["job.x"]}, ["reply_event_types[0]"]),
    "an empty array": ("/v1/jobs", [], [""]),
    "no object": ("/v1/jobs", "x", [""]),
    "an empty URL": ("/v1/subscriptions", {"url": ""}, ["url"]),
    "a URL with a user": ("/v1/subscriptions", {"url": "https://a:b@example.com"}, ["url"]),
    "an event that is none": (
        "/v1/subscriptions",
        {"url": "https://example.com", "event_types": ["job.*", "job"]},
        ["event_types[1]"],
    ),
    "no scope": ("/v1/keys", {"scopes": []}, ["scopes"]),
    "a scope that is none": ("/v1/keys", {"scopes": ["root"]}, ["scopes[0]"]),
    "a tenant that is none": ("/v1/keys", {"scopes": ["admin"], "tenant": "a b"}, ["tenant"]),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_fault_in_the_body_is_named(name: str, shared_service: Service) -> None:
    path, body, errors = BODIES[name]

    answer = await shared_service.http.post(path, json=body)

    assert answer.status_code == 422, answer.text
    assert sorted(fault["path"] for fault in answer.json()["errors"]) == errors
    assert all(fault["message"] for fault in answer.json()["errors"])


@pytest.mark.parametrize("change", [{"url": ""}, {"url": None}, {"enabled": None}], ids=str)
async def test_a_subscription_cannot_be_changed_into_what_could_not_be_made(
    change: Json, service: Service
) -> None:
    made = await service.subscribe("https://example.com/hook")
    path = f"/v1/subscriptions/{made['id']}"

    answer = await service.http.patch(path, json=change)

    assert answer.status_code == 422
    assert (await service.get(path))["url"] == made["url"]


async def test_a_provider_without_its_credential_takes_no_jobs_and_says_why(
    database_url: str,
) -> None:
    async with running_service(database_url, USEAPI_TOKEN="") as service:
        answer = await service.http.post("/v1/jobs", json=ORDER)
        shown = (await service.get("/v1/providers"))["data"]

    assert (answer.status_code, answer.json()["code"]) == (422, "provider_not_configured")
    assert [one["name"] for one in shown if not one["configured"]] == ["useapi"]


async def test_a_provider_out_in_the_world_needs_a_public_url_to_call_back(
    database_url: str,
) -> None:
    env = {"USEAPI_BASE_URL": "https://api.useapi.net/v1/runwayml", "BELFRY_PUBLIC_URL": ""}
    async with running_service(database_url, **env) as service:
        answer = await service.http.post("/v1/jobs", json=ORDER)

    assert (answer.status_code, answer.json()["code"]) == (422, "public_url_missing")


async def test_a_loop_that_has_died_is_told_by_readyz(service: Service) -> None:
    async def dies() -> None:
        raise RuntimeError("the inside")

    service.context.supervisor.start("dying", dies)
    answer = await eventually(lambda: unready(service))

    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "store": "ok", "loops": "dead: dying", "accounts": {}}


async def unready(service: Service) -> httpx.Response | None:
    answer = await service.http.get("/readyz")
    return None if answer.is_success else answer
