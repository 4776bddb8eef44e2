"""The description of the API says what the API does."""

from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from handlers import DOORS
from handlers.openapi import describe
from service.events import TYPES
from tests.receivers import Receiver
from tests.running import Bench, Json

pytestmark = pytest.mark.anyio

DESCRIBED = msgspec.json.decode(msgspec.json.encode(describe(DOORS)), type=dict[str, Any])


def test_it_is_valid_openapi() -> None:
    validate(DESCRIBED)


def test_every_door_and_every_event_is_described() -> None:
    doors = {(path, method) for path, item in DESCRIBED["paths"].items() for method in item}

    assert {(door.path, door.method.lower()) for door in DOORS} <= doors
    assert set(DESCRIBED["webhooks"]) == set(TYPES)


def problems(schema: Json, value: Any) -> list[str]:
    bundle = {**schema, "components": DESCRIBED["components"]}
    return [error.message for error in OAS31Validator(bundle).iter_errors(value)]


def answer_schema(path: str, method: str = "get", status: str = "200") -> Json:
    content = DESCRIBED["paths"][path][method]["responses"][status]["content"]
    return dict(content["application/json"]["schema"])


async def test_real_answers_are_as_described(bench: Bench, receiver: Receiver) -> None:
    await bench.subscribe(receiver.url, "job.*")
    submitted = await bench.submit("useapi", "frames.create", {"text_prompt": "a lighthouse"})
    await bench.ended(submitted["id"])
    told = await receiver.wait_for(lambda one: one.event["type"] == "job.succeeded")
    walks = {
        "/v1/jobs": "/v1/jobs",
        "/v1/jobs/{id}": f"/v1/jobs/{submitted['id']}",
        "/v1/jobs/{id}/events": f"/v1/jobs/{submitted['id']}/events",
        "/v1/events": "/v1/events",
        "/v1/events/{id}": f"/v1/events/{told.event['id']}",
        "/v1/event-types": "/v1/event-types",
        "/v1/subscriptions": "/v1/subscriptions",
        "/v1/deliveries": "/v1/deliveries",
        "/v1/callbacks": "/v1/callbacks",
        "/v1/keys": "/v1/keys",
        "/v1/providers": "/v1/providers",
        "/readyz": "/readyz",
    }

    faults = {
        path: problems(answer_schema(path), await bench.get(real)) for path, real in walks.items()
    }
    webhook = DESCRIBED["webhooks"]["job.succeeded"]["post"]["requestBody"]["content"]

    assert {path: found for path, found in faults.items() if found} == {}
    assert problems(answer_schema("/v1/jobs", "post", "202"), submitted) == []
    assert problems(webhook["application/json"]["schema"], told.event) == []


async def test_the_page_shows_every_door(bench: Bench) -> None:
    page = (await bench.http.get("/docs")).text

    assert [door.path for door in DOORS if door.path not in page] == []
    assert "http://" not in page.replace(bench.url, "")
