"""The emulated useapi.net, as seen by a client and by a receiver of callbacks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

CREATE = "/v1/runwayml/frames/create"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("user:1-sandbox") as client:
        yield client


async def create(world: World, ref: str, prompt: str, **more: Any) -> httpx.Response:
    body = {
        "text_prompt": prompt,
        "replyRef": ref,
        "replyUrl": world.inbox.address(ref),
        "email": f"{ref}@example.com",  # one account per test, so that they do not share slots
    }
    return await world.post(CREATE, json=body | more)


@pytest.mark.anyio
async def test_a_submit_returns_the_complete_pending_task(world: World) -> None:
    ref = a_ref()

    task = (await create(world, ref, "a bell", aspect_ratio="9:16", seed=7)).json()

    assert task["taskId"] == f"user:1-runwayml:{ref}@example.com-task:{task['id']}"
    assert (task["status"], task["artifacts"], task["code"]) == ("PENDING", [], 200)
    assert (task["replyRef"], task["replyUrl"]) == (ref, world.inbox.address(ref))
    assert (task["options"]["width"], task["options"]["height"]) == (1088, 1920)
    assert (task["options"]["seed"], task["options"]["diversity"]) == (7, 2)


@pytest.mark.anyio
async def test_callbacks_report_progress_and_end(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "a bell")

    callbacks = await world.inbox.wait(ref, 6)

    statuses = [body["status"] for body in callbacks]
    assert statuses == ["THROTTLED", "PENDING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert [body["progressRatio"] for body in callbacks] == [None, None, 0.25, "0.5", 0.75, "1"]
    assert {body["replyRef"] for body in callbacks} == {ref}
    assert len(callbacks[-1]["artifacts"]) == 4
    assert isinstance(callbacks[-1]["artifacts"][0]["fileSize"], str)


@pytest.mark.anyio
async def test_the_task_status_equals_the_last_callback(world: World) -> None:
    ref = a_ref()
    task = (await create(world, ref, "a bell")).json()
    callback = (await world.inbox.wait(ref, 6))[-1]

    shown = (await world.get(f"/v1/runwayml/tasks/{task['taskId']}")).json()

    assert shown == {key: value for key, value in callback.items() if key != "replyRef"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "reason", "keys"),
    [
        ("[fail]", "INTERNAL.BAD_OUTPUT.CODE01", {"errorMessage", "reason", "message"}),
        (
            "[moderated]",
            "SAFETY.INPUT.TEXT",
            {"errorMessage", "reason", "message", "moderation_category", "tally_asimov"},
        ),
    ],
)
async def test_a_failure_has_a_reason(
    world: World, prompt: str, reason: str, keys: set[str]
) -> None:
    ref = a_ref()
    await create(world, ref, prompt)

    end = (await world.inbox.wait(ref, 6))[-1]

    assert (end["status"], end["error"]["reason"]) == ("FAILED", reason)
    assert end["error"].keys() == keys


@pytest.mark.anyio
async def test_an_empty_success_has_no_artifacts(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "[empty]")

    end = (await world.inbox.wait(ref, 6))[-1]

    assert (end["status"], end["artifacts"]) == ("SUCCEEDED", [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"text_prompt": ""}, "text_prompt is required"),
        ({"text_prompt": "x" * 1001}, "text_prompt must be text"),
        ({"style": "baroque"}, "style is not"),
        ({"aspect_ratio": "2:1"}, "aspect_ratio must be one of 16:9"),
        ({"diversity": 6}, "diversity must"),
        ({"seed": 0}, "seed must"),
        ({"seed": "7"}, "seed must"),
        ({"maxJobs": 11}, "maxJobs must"),
        ({"replyUrl": "http://a/" + "b" * 1020}, "replyUrl is too long"),
        ({"replyUrl": "nowhere"}, "replyUrl is not a valid URL"),
        ({"replyRef": "x" * 1025}, "replyRef is too long"),
        ({"exploreMode": 1}, "exploreMode must"),
    ],
)
async def test_an_invalid_parameter_is_named(
    world: World, invalid: dict[str, Any], message: str
) -> None:
    response = await create(world, a_ref(), "a bell", **invalid)

    assert (response.status_code, response.json()["code"]) == (400, 400)
    assert message in response.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"text_prompt": "\xff"}'])
async def test_a_body_that_is_not_an_object_is_rejected(world: World, body: bytes) -> None:
    assert (await world.post(CREATE, content=body)).status_code == 400


@pytest.mark.anyio
async def test_a_wrong_token_is_unauthorized(world: World) -> None:
    response = await world.get("/v1/runwayml/scheduler/", headers={"Authorization": "Bearer x"})

    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized", "code": 401}


@pytest.mark.anyio
@pytest.mark.parametrize("status", [401, 402, 412, 422, 596])
async def test_a_permanent_forced_error_accepts_no_task(world: World, status: int) -> None:
    ref = a_ref()

    responses = [await create(world, ref, f"[{status}]") for _ in range(2)]

    assert [response.status_code for response in responses] == [status, status]
    assert ("code" in responses[0].json()) == (status != 412)
    assert await world.entries(ref) == []


@pytest.mark.anyio
async def test_a_transient_forced_error_is_sent_once_per_reference(world: World) -> None:
    first, second = a_ref(), a_ref()

    responses = [
        (await create(world, ref, "[503] a bell")).status_code
        for ref in (first, second, first, second)
    ]

    assert responses == [503, 503, 200, 200]


@pytest.mark.anyio
async def test_a_forced_429_alternates_between_both_documented_bodies() -> None:
    async with sandbox_world("user:1-sandbox") as world:
        responses = [await create(world, "ref", "[429 2 after 3]") for _ in range(3)]

    assert [response.status_code for response in responses] == [429, 429, 200]
    assert responses[0].json()["runningTasks"] == {"ref@example.com": []}
    assert responses[1].json()["error"].startswith("You have too many tasks")
    assert "code" not in responses[1].json()
    assert {response.headers["Retry-After"] for response in responses[:2]} == {"3"}
    assert responses[0].json()["retryAfter"].endswith("Z")


@pytest.mark.anyio
async def test_a_full_account_lists_its_running_tasks(world: World) -> None:
    ref = a_ref()
    running = (await create(world, ref, "[slow 9999]", maxJobs=1)).json()

    response = await create(world, ref, "another", maxJobs=1)

    [[shown]] = response.json()["runningTasks"].values()
    assert response.status_code == 429
    assert response.json()["error"].endswith("is busy executing 1 tasks")
    assert (shown["taskId"], shown["replyRef"]) == (running["taskId"], ref)
    assert (shown["id"], shown["email"]) == (running["id"], f"{ref}@example.com")


@pytest.mark.anyio
async def test_an_ended_task_frees_its_slot(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "a bell", maxJobs=1)
    await world.ended(ref)

    assert (await create(world, ref, "another", maxJobs=1)).status_code == 200


@pytest.mark.anyio
async def test_the_scheduler_lists_running_tasks_until_they_are_removed(world: World) -> None:
    ref = a_ref()
    task_id = (await create(world, ref, "[slow 9999]")).json()["taskId"]

    listed = (await world.get("/v1/runwayml/scheduler/")).json()
    assert {"taskId": task_id, "replyUrl": world.inbox.address(ref), "replyRef": ref} in listed

    assert (await world.delete(f"/v1/runwayml/scheduler/{task_id}")).status_code == 204
    assert task_id not in (await world.get("/v1/runwayml/scheduler")).text
    assert (await world.get(f"/v1/runwayml/tasks/{task_id}")).status_code == 200


@pytest.mark.anyio
async def test_tasks_are_listed_newest_first_and_by_status(world: World) -> None:
    ref = a_ref()
    await create(world, ref, f"one {ref}")
    await world.ended(ref)
    await create(world, ref, f"[slow 9999] two {ref}")

    all_tasks = await world.get("/v1/runwayml/tasks/?offset=0&limit=1000")
    succeeded = await world.get("/v1/runwayml/tasks/?offset=0&limit=1000&statuses=SUCCEEDED,FAILED")

    mine = [t for t in all_tasks.json() if ref in t["options"]["text_prompt"]]
    assert [t["options"]["text_prompt"][-40:-36].strip("] ") for t in mine] == ["two", "one"]
    assert {t["status"] for t in succeeded.json()} <= {"SUCCEEDED", "FAILED"}
    assert (await world.get("/v1/runwayml/tasks/?limit=1001&offset=0")).status_code == 400


@pytest.mark.anyio
async def test_tasks_can_be_listed_by_account(world: World) -> None:
    ref = a_ref()
    await create(world, a_ref(), "of another account")
    mine = (await create(world, ref, "a bell")).json()["taskId"]

    query = f"offset=0&limit=1000&email={ref}@Example.com"
    listed = (await world.get(f"/v1/runwayml/tasks/?{query}")).json()

    assert [task["taskId"] for task in listed] == [mine]


@pytest.mark.anyio
async def test_status_requests_are_counted_by_route(world: World) -> None:
    async def count() -> list[int]:
        requests = (await world.get("/ledger")).json()["requests"]
        paths = ("scheduler/", "tasks/", "tasks/{task_id}")
        return [requests.get(f"GET /v1/runwayml/{path}", 0) for path in paths]

    before = await count()
    await world.get("/v1/runwayml/scheduler/")
    await world.get("/v1/runwayml/tasks/?offset=0&limit=100")
    await world.get("/v1/runwayml/tasks/unknown")

    assert await count() == [number + 1 for number in before]


@pytest.mark.anyio
async def test_an_unknown_task_returns_404_and_an_expired_one_410(world: World) -> None:
    gone = (await create(world, a_ref(), "[gone]")).json()["taskId"]

    expired = await world.get(f"/v1/runwayml/tasks/{gone}")

    assert (await world.get("/v1/runwayml/tasks/unknown")).status_code == 404
    assert expired.status_code == 410
    assert expired.json() == {"error": "Job has expired", "code": 410}


@pytest.mark.anyio
async def test_an_image_description_is_in_the_response(world: World) -> None:
    response = await world.get("/v1/runwayml/frames/describe/user:1-runwayml:a@b.c-asset:1")

    assert response.status_code == 200
    assert response.json().keys() == {"prompt"}
    assert (await world.get("/v1/runwayml/frames/describe/[fail]")).status_code == 400
    assert (await world.get("/v1/runwayml/frames/describe/[503]")).status_code == 503


@pytest.mark.anyio
async def test_a_callback_is_retried_until_a_2xx(world: World) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [500, 302]
    await create(world, ref, "a bell")

    entry = await world.ended(ref, callbacks=8)

    attempts = [(attempt["kind"], attempt["status_code"]) for attempt in entry["callbacks"]]
    assert attempts[:4] == [
        ("progress", 500),
        ("progress", 302),
        ("progress", 204),
        ("progress", 204),
    ]
    assert attempts[-1] == ("end", 204)


@pytest.mark.anyio
async def test_callbacks_to_an_unreachable_receiver_are_given_up(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "a bell", replyUrl="http://127.0.0.1:1/")

    entry = await world.ended(ref, callbacks=18)

    assert {attempt["status_code"] for attempt in entry["callbacks"]} == {None}


@pytest.mark.anyio
async def test_a_task_without_callback_still_ends(world: World) -> None:
    ref, other = a_ref(), a_ref()
    lost = (await create(world, ref, "[lost]")).json()["taskId"]
    await create(world, other, "a bell")
    await world.inbox.wait(other, 6)

    assert (await world.ended(ref))["callbacks"] == []
    assert (await world.get(f"/v1/runwayml/tasks/{lost}")).json()["status"] == "SUCCEEDED"


@pytest.mark.anyio
async def test_an_early_callback_precedes_the_submit_response(world: World) -> None:
    ref = a_ref()

    response = await create(world, ref, "[early]")

    assert world.inbox.bodies[ref][-1]["status"] == "SUCCEEDED"
    assert response.json()["status"] == "PENDING"


@pytest.mark.anyio
async def test_shuffled_callbacks_start_with_the_final_one(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "[shuffle] [dup 2]")

    statuses = [body["status"] for body in await world.inbox.wait(ref, 7)]

    assert statuses[:3] == ["SUCCEEDED", "SUCCEEDED", "RUNNING"]
    assert statuses[-2:] == ["PENDING", "THROTTLED"]


@pytest.mark.anyio
async def test_a_forged_callback_has_another_signature_and_other_outputs(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "[forged] [fail]")

    callbacks = await world.inbox.wait(ref, 7)
    forged, end = callbacks[-2:]

    queries = world.inbox.queries[ref]
    assert queries[-2] != queries[-1]
    assert queries[-2].endswith("&keep=1")
    assert forged["status"] == "SUCCEEDED"
    assert forged["artifacts"][0]["url"].startswith("https://forged.")
    assert end["status"] == "FAILED"


@pytest.mark.anyio
async def test_a_hanging_submit_is_accepted_and_sends_its_callbacks(world: World) -> None:
    ref = a_ref()

    hanging = asyncio.create_task(create(world, ref, "[hang]"))
    await world.inbox.wait(ref, 6)

    assert not hanging.done()
    hanging.cancel()
    assert (await world.entries(ref))[0]["paid"]


@pytest.mark.anyio
async def test_explore_mode_is_free(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "a bell", exploreMode=True)

    [entry] = await world.entries(ref)

    assert not entry["paid"]


@pytest.mark.anyio
async def test_the_accounts_are_listed_only_with_a_valid_token(world: World) -> None:
    shown = await world.get("/v1/runwayml/accounts")
    rejected = await world.get("/v1/runwayml/accounts", headers={"authorization": "Bearer x"})

    assert shown.json() == {"demo@example.com": {"email": "demo@example.com", "maxJobs": 5}}
    assert (rejected.status_code, rejected.json()["code"]) == (401, 401)
