"""The emulated Replicate, alone and with the service: signed webhooks, outputs, errors."""

from collections.abc import AsyncIterator

import pytest
from standardwebhooks import Webhook

from service.sandbox.providers.replicate.api import WEBHOOK_SECRET, sign
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world
from tests.support.databases import sqlite_file
from tests.support.service_harness import Json, SandboxedService, plain_client, sandboxed_service

pytestmark = pytest.mark.anyio

V1 = "/replicate/v1"
EVERY_EVENT = ["start", "output", "logs", "completed"]


@pytest.fixture(scope="module")
async def world(anyio_backend: object) -> AsyncIterator[World]:
    assert anyio_backend
    async with sandbox_world("r8_sandbox") as client:
        yield client


@pytest.fixture(scope="module")
async def bench(anyio_backend: object) -> AsyncIterator[SandboxedService]:
    """One service for all tests of this file, whose jobs are independent of each other."""
    assert anyio_backend
    with sqlite_file() as url:
        async with sandboxed_service(url) as sandboxed:
            yield sandboxed


async def create(world: World, ref: str, prompt: str = "", **more: object) -> Json:
    body = {
        "input": {"prompt": f"{ref} {prompt}"},
        "webhook": world.inbox.address(ref),
        "webhook_events_filter": EVERY_EVENT,
        **more,
    }
    response = await world.post(f"{V1}/models/acme/bells/predictions", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def run(bench: SandboxedService, prompt: str, model: str = "acme/bells", **more: str) -> Json:
    """Submit a job and wait for its end."""
    given = {"model": model, "input": {"prompt": prompt}, **more}
    job = await bench.submit("replicate", "predictions.create", given)
    return await bench.ended(job["id"])


async def test_a_prediction_is_reported_at_its_start_in_its_logs_and_at_its_end(
    world: World,
) -> None:
    ref = a_ref()
    answer = await create(world, ref)

    callbacks = await world.inbox.wait(ref, 4)

    assert [one["status"] for one in callbacks] == [*["processing"] * 3, "succeeded"]
    assert {one["id"] for one in callbacks} == {answer["id"]}
    assert (answer["status"], answer["output"]) == ("starting", None)
    assert callbacks[2]["logs"].startswith(callbacks[1]["logs"])


@pytest.mark.parametrize(
    ("events", "count"), [(["completed"], 1), (["start", "completed"], 2), (None, 1)]
)
async def test_the_filter_selects_the_webhooks(
    events: list[str] | None, count: int, world: World
) -> None:
    ref = a_ref()
    await create(world, ref, webhook_events_filter=events or [])

    callbacks = await world.inbox.wait(ref, count)

    assert callbacks[-1]["status"] == "succeeded"
    assert len(callbacks) == count


async def test_the_final_webhook_is_repeated_until_it_is_received_but_no_other(
    world: World,
) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [500, 204, 204, 404, 500, 200]
    await create(world, ref)

    callbacks = await world.inbox.wait(ref, 6)

    assert [one["status"] for one in callbacks] == [*["processing"] * 3, *["succeeded"] * 3]


def test_the_official_library_accepts_the_signature_of_the_sandbox() -> None:
    body = b'{"status": "succeeded"}'

    assert Webhook(WEBHOOK_SECRET).verify(body, dict(sign(body))) == {"status": "succeeded"}


async def test_the_secret_the_account_and_the_predictions_need_the_token(world: World) -> None:
    ref = a_ref()
    made = await create(world, ref)
    paths = ("/webhooks/default/secret", "/account", "/predictions", f"/predictions/{made['id']}")

    answers = [await world.get(V1 + path) for path in paths]
    world.headers["Authorization"], token = "Bearer r8_other", world.headers["Authorization"]
    refused = [await world.get(V1 + path) for path in paths]
    world.headers["Authorization"] = token

    assert [one.status_code for one in answers] == [200] * 4
    assert answers[0].json() == {"key": WEBHOOK_SECRET}
    assert answers[3].json()["id"] in {one["id"] for one in answers[2].json()["results"]}
    assert [one.status_code for one in refused] == [401] * 4


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predictions", {"input": {}}, 422),
        ("/predictions", {"version": "x"}, 422),
        ("/predictions", {"version": "x", "input": "y"}, 422),
        ("/predictions", {"version": "x", "input": {}, "webhook": "nowhere"}, 422),
        ("/predictions", {"version": "x", "input": {}, "webhook_events_filter": ["end"]}, 422),
        ("/predictions", {"version": "x", "input": {}, "model": "y"}, 422),
        ("/predictions", [], 422),
        ("/models/acme/predictions", {"input": {}}, 404),
        ("/predictions", {"version": "x", "input": {"prompt": "[402]"}}, 402),
        ("/predictions", {"version": "x", "input": {"prompt": "[429]"}}, 429),
        ("/deployments/acme/bells/predictions", {"input": {}}, 201),
    ],
)
async def test_a_request_is_checked_as_documented(
    path: str, body: object, status: int, world: World
) -> None:
    response = await world.post(V1 + path, json=body)

    assert response.status_code == status
    assert status == 201 or response.json()


async def test_an_unreadable_request_and_an_unknown_prediction_are_refused(world: World) -> None:
    unreadable = await world.post(f"{V1}/predictions", content=b"{")
    unknown = await world.get(f"{V1}/predictions/nothing")

    assert (unreadable.status_code, unknown.status_code) == (400, 404)


@pytest.mark.parametrize(("model", "kind"), [("acme/bells", "image"), ("google/veo-3", "video")])
async def test_a_job_ends_with_the_files_of_the_prediction(
    model: str, kind: str, bench: SandboxedService
) -> None:
    job = await run(bench, "a bell", model)

    (artifact,) = job["output"]["artifacts"]
    assert job["status"] == "succeeded"
    assert artifact["kind"] == kind
    assert artifact["expires_at"] is not None
    async with plain_client() as client:
        assert (await client.get(artifact["url"])).headers["content-type"] == artifact["media_type"]


async def test_a_job_ends_with_the_text_of_a_language_model(bench: SandboxedService) -> None:
    job = await run(bench, "ring", "meta/meta-llama-3-70b")

    assert job["output"]["text"] == "A bell rings in the tower."


async def test_a_job_by_version_and_by_deployment_ends(bench: SandboxedService) -> None:
    for target in ({"version": "5c7d5dc6"}, {"deployment": "acme/bells"}):
        given = {**target, "input": {"prompt": "a bell"}}
        job = await bench.submit("replicate", "predictions.create", given)

        assert (await bench.ended(job["id"]))["status"] == "succeeded"


async def test_the_progress_is_reported_if_the_logs_are_asked_for(
    bench: SandboxedService,
) -> None:
    given = {
        "model": "acme/bells",
        "input": {"prompt": "a bell"},
        "webhook_events_filter": ["start", "logs"],
    }
    job = await bench.submit("replicate", "predictions.create", given)
    await bench.ended(job["id"])
    events = (await bench.get(f"/v1/jobs/{job['id']}/events"))["data"]

    ratios = [event["data"]["progress"]["ratio"] for event in reversed(events)]
    assert [ratio for ratio in ratios if ratio] == [0.3, 0.7, 1.0]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("[fail]", "provider_error"),
        ("[moderated]", "moderated"),
        ("[empty]", "no_output"),
    ],
)
async def test_a_job_fails_as_its_prediction_does(
    prompt: str, code: str, bench: SandboxedService
) -> None:
    job = await run(bench, prompt)

    assert (job["status"], job["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize(
    "prompt", ["[early]", "[dup 3]", "[shuffle]", "[forged]", "[429 1 after 0]"]
)
async def test_a_job_succeeds_whatever_happens_to_its_webhooks(
    prompt: str, bench: SandboxedService
) -> None:
    job = await run(bench, f"a bell {prompt}")

    (artifact,) = job["output"]["artifacts"]
    assert job["status"] == "succeeded"
    assert "forged" not in artifact["url"]
