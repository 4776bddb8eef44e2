"""The emulated useapi.net, as seen by a client and by a receiver of callbacks."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.sandbox import EXAMPLE_ASSET, Account, UseapiSetup
from service.sandbox.providers.useapi.assets import AssetStore, example_asset
from tests.sandbox.test_sandbox import World, a_ref, receiving, sandbox_world

BASE = "/v1/runwayml"
CREATE = f"{BASE}/frames/create"
ASSETS = f"{BASE}/assets/"
_NUMBERS = itertools.count()
EMAILS = defaultdict[str, str](lambda: f"{next(_NUMBERS)}@example.com")
"""The account of each test by the test's ref: tests must not share slots."""
ACCOUNTS = tuple(Account(email=f"{number}@example.com") for number in range(300))
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("user:1-sandbox", useapi=UseapiSetup(accounts=ACCOUNTS)) as client:
        yield client


async def create(world: World, ref: str, prompt: str, **more: Any) -> httpx.Response:
    body = {
        "text_prompt": prompt,
        "replyRef": ref,
        "replyUrl": world.inbox.address(ref),
        "email": EMAILS[ref],
    }
    return await world.post(CREATE, json=body | more)


@pytest.mark.anyio
async def test_a_submit_returns_the_complete_pending_task(world: World) -> None:
    ref = a_ref()

    task = (await create(world, ref, "a bell", aspect_ratio="9:16", seed=7)).json()

    assert task["taskId"] == f"user:1-runwayml:{EMAILS[ref]}-task:{task['id']}"
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
    async with sandbox_world("user:1-sandbox", useapi=UseapiSetup(accounts=ACCOUNTS)) as world:
        responses = [await create(world, "ref", "[429 2 after 3]") for _ in range(3)]

    assert [response.status_code for response in responses] == [429, 429, 200]
    assert responses[0].json()["runningTasks"] == {EMAILS["ref"]: []}
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
    assert (shown["id"], shown["email"]) == (running["id"], EMAILS[ref])


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

    page = f"{BASE}/tasks/?offset=0&limit=1000&email={EMAILS[ref]}"
    all_tasks = await world.get(page)
    succeeded = await world.get(f"{page}&statuses=SUCCEEDED,FAILED")

    mine = [t for t in all_tasks.json() if ref in t["options"]["text_prompt"]]
    assert [t["options"]["text_prompt"][-40:-36].strip("] ") for t in mine] == ["two", "one"]
    assert {t["status"] for t in succeeded.json()} <= {"SUCCEEDED", "FAILED"}
    assert (await world.get("/v1/runwayml/tasks/?limit=1001&offset=0")).status_code == 400


@pytest.mark.anyio
async def test_tasks_can_be_listed_by_account(world: World) -> None:
    ref = a_ref()
    await create(world, a_ref(), "of another account")
    mine = (await create(world, ref, "a bell")).json()["taskId"]

    query = f"offset=0&limit=1000&email={EMAILS[ref].upper()}"
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
    response = await world.get(f"{BASE}/frames/describe/{example_asset(ACCOUNTS[0].email)}")

    assert response.status_code == 200
    assert response.json().keys() == {"prompt"}


@pytest.mark.anyio
async def test_an_unknown_image_cannot_be_described(world: World) -> None:
    response = await world.get(f"{BASE}/frames/describe/user:1-runwayml:a@b.c-asset:1")

    assert (response.status_code, response.json()["code"]) == (400, 400)


@pytest.mark.anyio
@pytest.mark.parametrize(("directive", "status"), [("[fail]", 400), ("[503]", 503)])
async def test_a_description_obeys_directives_in_the_id_and_the_name_of_an_asset(
    world: World, directive: str, status: int
) -> None:
    asset = (await upload(world, a_ref(), name=f"{directive} {a_ref()}")).json()["assetId"]

    assert (await world.get(f"{BASE}/frames/describe/{directive}")).status_code == status
    assert (await world.get(f"{BASE}/frames/describe/{asset}")).status_code == status


async def upload(
    world: World, ref: str, content: bytes = PNG, content_type: str = "image/png", **query: str
) -> httpx.Response:
    query = {"name": "bell.png", "email": EMAILS[ref]} | query
    return await world.post(
        ASSETS, params=query, content=content, headers={"Content-Type": content_type}
    )


@pytest.mark.anyio
async def test_an_uploaded_asset_is_shown_listed_and_deleted(world: World) -> None:
    ref = a_ref()

    asset = (await upload(world, ref)).json()
    page = {"email": EMAILS[ref], "offset": "0", "limit": "50"}
    shown = (await world.get(ASSETS + asset["assetId"])).json()
    listed = (await world.get(ASSETS, params=page)).json()
    videos = (await world.get(ASSETS, params=page | {"mediaType": "video"})).json()
    deleted = await world.delete(ASSETS + asset["assetId"])

    assert asset["assetId"] == f"user:1-runwayml:{EMAILS[ref]}-asset:{asset['id']}"
    assert (asset["size"], asset["name"], asset["isUserUpload"]) == (len(PNG), "bell.png", True)
    assert asset["type"] == {"name": "image", "type": "image", "isDirectory": False}
    assert (shown["mediaType"], shown["fileSize"]) == ("image", len(PNG))
    assert [entry["assetId"] for entry in listed] == [asset["assetId"], example_asset(EMAILS[ref])]
    assert (videos, deleted.status_code) == ([], 204)
    for response in (
        await world.get(ASSETS + asset["assetId"]),
        await world.delete(ASSETS + asset["assetId"]),
    ):
        assert (response.status_code, response.json()) == (
            404,
            {"error": "Not found.", "code": 404},
        )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "content_type", "query", "message"),
    [
        (PNG, "image/webp", {}, "Content-Type must be one of image/png"),
        (PNG, "application/octet-stream", {}, "Content-Type must be"),
        (b"", "image/png", {}, "The body must be"),
        (PNG, "image/png", {"name": ""}, "name is required"),
        (PNG, "image/png", {"email": ""}, "email is required"),
    ],
)
async def test_an_invalid_upload_is_rejected(
    world: World, content: bytes, content_type: str, query: dict[str, str], message: str
) -> None:
    response = await upload(world, a_ref(), content, content_type, **query)

    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", ["video/MP2T", "audio/wave; x=1", "image/jpeg"])
async def test_an_upload_may_have_any_documented_media_type(
    world: World, content_type: str
) -> None:
    assert (await upload(world, a_ref(), content_type=content_type)).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "query", ["offset=0", "offset=0&limit=51", "offset=1001&limit=1", "limit=x"]
)
async def test_a_list_of_assets_needs_a_page(world: World, query: str) -> None:
    response = await world.get(f"{ASSETS}?email={EMAILS['assets']}&{query}")

    assert response.status_code == 400


@pytest.mark.anyio
@pytest.mark.parametrize(
    "query",
    [
        "offset=0&limit=1",
        "offset=0&limit=1&email=nobody@example.com",
        "offset=0&limit=1&email=0@example.com&mediaType=text",
    ],
)
async def test_a_list_of_assets_needs_an_account_and_a_known_media_type(
    world: World, query: str
) -> None:
    assert (await world.get(f"{ASSETS}?{query}")).is_client_error


@pytest.mark.anyio
async def test_the_example_image_always_exists(world: World) -> None:
    example = ASSETS + example_asset(EMAILS["example"])

    assert (await world.delete(example)).status_code == 400
    assert (await world.get(example)).status_code == 200


def test_the_oldest_asset_is_forgotten_but_not_the_example() -> None:
    store = AssetStore(["a@b.c"], limit=2)

    one, two = (store.upload("a@b.c", name, "image/png", 1) for name in ("one", "two"))

    assert store.find(one.asset_id) is None
    assert store.newest("a@b.c", "image") == [two, store.find(example_asset("a@b.c"))]


@pytest.mark.anyio
async def test_the_image_of_a_task_is_an_asset_that_others_use(world: World) -> None:
    ref = a_ref()
    await create(world, ref, "a bell")
    made = (await world.inbox.wait(ref, 6))[-1]["artifacts"][0]["assetId"]

    described = await world.get(f"{BASE}/frames/describe/{made}")
    used = await create(world, ref, "a bell", imageAssetId1=made, imageAssetId2=None)

    assert (described.status_code, used.status_code) == (200, 200)


@pytest.mark.anyio
async def test_a_task_runs_in_the_account_of_its_asset(world: World) -> None:
    ref = a_ref()
    asset = (await upload(world, ref)).json()["assetId"]

    task = (await create(world, a_ref(), "a bell", firstImage_assetId=asset)).json()

    assert f"-runwayml:{EMAILS[ref]}-task:" in task["taskId"]


@pytest.mark.anyio
@pytest.mark.parametrize("asset", ["nothing", 5, {}])
async def test_a_task_with_an_unknown_asset_is_rejected(world: World, asset: object) -> None:
    assert (await create(world, a_ref(), "a bell", imageAssetId1=asset)).status_code == 400


@pytest.mark.anyio
async def test_an_account_that_is_not_linked_is_unknown(world: World) -> None:
    task = await create(world, a_ref(), "a bell", email="nobody@example.com")
    asset = await upload(world, a_ref(), email="nobody@example.com")

    assert (task.status_code, task.json()["code"]) == (404, 404)
    assert (asset.status_code, asset.json()["code"]) == (404, 404)


@pytest.mark.anyio
async def test_without_an_email_an_account_with_a_free_slot_is_used(world: World) -> None:
    tasks = [await create(world, a_ref(), "[slow 9999]", email=None, maxJobs=1) for _ in range(2)]

    one, two = (task.json()["taskId"].partition("-task:")[0] for task in tasks)
    assert one != two


@pytest.mark.anyio
async def test_a_form_has_the_same_fields_as_json(world: World) -> None:
    ref = a_ref()
    fields = {
        "text_prompt": "12",
        "seed": "7",
        "diversity": "2.5",
        "exploreMode": "true",
        "style": "",
        "email": EMAILS[ref],
        "replyRef": ref,
    }

    response = await world.post(CREATE, files={name: (None, text) for name, text in fields.items()})

    options = response.json()["options"]
    assert response.status_code == 200
    assert (options["text_prompt"], options["seed"], options["diversity"]) == ("12", 7, 2.5)
    assert (options["exploreMode"], options["style"]) == (True, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=X", b"x"),
        ("multipart/form-data; boundary=X", b"--X\r\n\r\nno name\r\n--X--"),
    ],
)
async def test_a_malformed_form_is_rejected(world: World, content_type: str, body: bytes) -> None:
    response = await world.post(CREATE, content=body, headers={"Content-Type": content_type})

    assert response.status_code == 400


@pytest.mark.anyio
async def test_paid_tasks_use_up_the_credits_of_their_account() -> None:
    poor, rich = Account(email="poor@example.com", credits=10), Account(email="rich@example.com")
    setup = UseapiSetup(accounts=(poor, rich))
    async with sandbox_world("user:1-sandbox", useapi=setup) as world:
        features = f"{BASE}/features?email={poor.email}"
        before = (await world.get(features)).json()
        tasks = [await create(world, a_ref(), "a bell", email=poor.email) for _ in range(3)]
        free = await create(world, a_ref(), "a bell", email=poor.email, exploreMode=True)
        other = await create(world, a_ref(), "a bell", email=rich.email)
        after = (await world.get(features)).json()

    assert before == {
        "permitted": {"storageGB": 500, "numPlanCredits": 10},
        "used": {"numPlanCredits": 0},
    }
    assert [task.status_code for task in (*tasks, free, other)] == [200, 200, 412, 200, 200]
    assert tasks[1].json()["features"]["numPlanCredits_used"] == 10
    assert after["used"] == {"numPlanCredits": 10}


@pytest.mark.anyio
async def test_a_task_without_a_reply_url_calls_that_of_the_setup() -> None:
    async with receiving() as inbox:
        setup = UseapiSetup(reply_url=f"{inbox.url}/account")
        async with sandbox_world("user:1-sandbox", useapi=setup) as world:
            await world.post(CREATE, json={"text_prompt": "a bell", "replyRef": "mine"})
            callbacks = await inbox.wait("account", 6)

    assert {body["replyRef"] for body in callbacks} == {"mine"}


@pytest.mark.anyio
async def test_calls_without_callbacks_answer_at_once(world: World) -> None:
    ref = a_ref()
    email, asset = EMAILS[ref], (await upload(world, ref, content_type="audio/mpeg")).json()
    calls = {
        "lipsync/voices": {"email": email},
        "transcribe": {"assetId": asset["assetId"], "language": "en"},
        "image_upscaler": {"email": email, "image_url": "https://a/b", "width": 9, "height": 9},
        "text_to_image_preview": {"email": email, "text_prompt": "a bell", "seed": 7},
    }

    answers = {
        path: (await world.get(f"{BASE}/{path}/", params=query)).json()
        for path, query in calls.items()
    }

    assert all(voice["id"] for voice in answers["lipsync/voices"])
    assert (answers["transcribe"]["status"], answers["transcribe"]["mediaUrl"]) == (
        "completed",
        asset["url"],
    )
    assert answers["image_upscaler"]["url"].startswith(f"{world.url}/media/image/")
    assert answers["text_to_image_preview"].keys() == {"url", "seed"}
    assert answers["text_to_image_preview"]["seed"] == 7


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("features", {"email": ""}, 400),
        ("features", {"email": "nobody@example.com"}, 404),
        ("lipsync/voices", {"email": ""}, 400),
        ("transcribe", {"assetId": "x", "language": "en"}, 404),
        ("image_upscaler", {"email": ""}, 400),
        ("text_to_image_preview", {"email": ""}, 400),
        ("text_to_image_preview", {"text_prompt": "x", "seed": "seven"}, 400),
        ("text_to_image_preview", {"text_prompt": "x", "seed": "9" * 5000}, 400),
        ("text_to_image_preview", {"text_prompt": "x [500]"}, 500),
        ("transcribe", {"assetId": "x", "language": "la"}, 400),
        ("image_upscaler", {"image_url": "https://a/b", "width": "9"}, 400),
        ("image_upscaler", {"image_url": "[503]", "width": "9", "height": "9"}, 503),
        ("text_to_image_preview", {}, 400),
        ("text_to_image_preview", {"text_prompt": "x", "aspect_ratio": "2:1"}, 400),
        ("text_to_image_preview", {"text_prompt": "x [moderated]"}, 403),
    ],
)
async def test_an_invalid_call_without_callback_is_rejected(
    world: World, path: str, query: dict[str, str], status: int
) -> None:
    query = {"email": EMAILS["invalid calls"]} | query

    assert (await world.get(f"{BASE}/{path}", params=query)).status_code == status


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
async def test_the_accounts_are_listed_only_with_a_valid_token() -> None:
    async with sandbox_world("user:1-sandbox") as world:
        shown = await world.get(f"{BASE}/accounts")
        rejected = await world.get(f"{BASE}/accounts", headers={"authorization": "Bearer x"})

    assert shown.json() == {"demo@example.com": {"email": "demo@example.com", "maxJobs": 5}}
    assert (rejected.status_code, rejected.json()["code"]) == (401, 401)


@pytest.mark.anyio
async def test_a_single_account_needs_no_email() -> None:
    async with sandbox_world("user:1-sandbox") as world:
        features = await world.get(f"{BASE}/features/")
        described = await world.get(f"{BASE}/frames/describe/{EXAMPLE_ASSET}")
        tasks = await world.get(f"{BASE}/tasks/?offset=0&limit=10")

    assert [response.status_code for response in (features, described, tasks)] == [200] * 3
