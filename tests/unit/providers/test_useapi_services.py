"""useapi.net's services beside Runway: one reader for the jobs of all."""

import json
from typing import Any

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.protocol import Inconclusive, LostAnswerPolicy, ProviderTask, Reply
from service.providers.refusals import AccountRefused, RefusalScope
from service.providers.useapi_services.catalog import OPERATIONS, SERVICES
from service.providers.useapi_services.provider import UseApiServices
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

SERVICES_API = UseApiServices()
VIDEO = "https://s21-kling.klingai.com/result.mp4"


def payload(name: str) -> bytes:
    return (PAYLOADS / "useapi_services" / f"{name}.json").read_bytes()


def callback(name: str) -> Report:
    (report,) = SERVICES_API.read_callback(payload(name), {})
    return report


@pytest.mark.parametrize(
    ("name", "task_id", "files"),
    [
        ("kling_succeed", "123456789", {"video": [VIDEO]}),
        (
            "minimax_completed",
            "user:user_id-minimax:account-video:id",
            {"video": ["https://cdn.hailuoai.video/clean.mp4"]},
        ),
        (
            "pixverse_completed",
            "user:1-pixverse:me@example.com-video:112233445566",
            {"video": ["https://media.pixverse.ai/result.mp4"]},
        ),
        (
            "google_flow_completed",
            "j1731859234567v-u12345-email:jo***@gmail.com-bot:google-flow",
            {"video": ["https://storage.googleapis.com/ai-sandbox/video.mp4"]},
        ),
        ("google_flow_metadata", "j1", {"file": ["https://storage.googleapis.com/a/x?Expires=1"]}),
        ("google_flow_image", "j2i", {"image": ["https://storage.googleapis.com/image/1.png"]}),
        (
            "dreamina_completed",
            "j0223v-u12345-CA:me@example.com-bot:dreamina",
            {"video": ["https://v3-web.douyinvod.com/abc/video"]},
        ),
        (
            "mureka_done",
            "j3",
            {"audio": ["https://static.mureka.ai/1.mp3", "https://static.mureka.ai/2.mp3"]},
        ),
        ("tempolor_completed", "j4", {"audio": ["https://file.tempolor.com/1.mp3"]}),
        (
            "faceswap_completed",
            "j5",
            {"image": ["https://cdn.discordapp.com/attachments/1/2/ins.png?ex=1"]},
        ),
        (
            "midjourney_v2_completed",
            "j6",
            {"image": ["https://cdn.discordapp.com/attachments/1/2/cat.png"]},
        ),
        (
            "midjourney_v3_completed",
            "j7",
            {"image": ["https://cdn.discordapp.com/attachments/1/2/cat.png"]},
        ),
    ],
)
def test_the_files_of_each_service_are_found_and_nothing_else(
    name: str, task_id: str, files: dict[str, list[str]]
) -> None:
    report = callback(name)

    assert (report.task_id, report.status) == (task_id, Status.SUCCEEDED)
    assert report.output is not None
    found: dict[str, list[str | None]] = {}
    for file in report.output.artifacts:
        found.setdefault(file.kind, []).append(file.url)
    assert found == files


@pytest.mark.parametrize(
    ("name", "status", "progress"),
    [
        ("kling_processing", Status.RUNNING, None),
        ("minimax_processing", Status.RUNNING, 0.4),
        ("pixverse_generating", Status.RUNNING, None),
        ("dreamina_created", Status.SUBMITTED, None),
        ("mureka_in_progress", Status.RUNNING, None),
        ("cancelled", Status.CANCELED, None),
        ("midjourney_button_used", None, None),
    ],
)
def test_a_job_in_progress_is_no_end(
    name: str, status: Status | None, progress: float | None
) -> None:
    report = callback(name)

    assert (report.status, report.progress, report.output) == (status, progress, None)


@pytest.mark.parametrize(
    ("name", "code", "retryable"),
    [
        ("minimax_moderated", ErrorCode.MODERATED, False),
        ("midjourney_moderated", ErrorCode.MODERATED, False),
        ("google_flow_moderated", ErrorCode.MODERATED, False),
        ("dreamina_failed", ErrorCode.MODERATED, False),
        ("mureka_failed", ErrorCode.PROVIDER_ERROR, True),
        ("google_flow_incomplete", ErrorCode.NO_OUTPUT, True),
    ],
)
def test_each_failure_has_its_code(name: str, code: ErrorCode, *, retryable: bool) -> None:
    report = callback(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (code, retryable)


@pytest.mark.parametrize(
    "name",
    ["pixverse_completed", "google_flow_completed", "mureka_done", "midjourney_v3_completed"],
)
def test_the_ref_is_found_wherever_the_service_puts_it(name: str) -> None:
    assert callback(name).refs == ("R",)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"response": {}}', b'{"url": "x"}'])
def test_a_body_that_is_no_job_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        SERVICES_API.read_callback(body, {})


def test_too_many_results_are_unreadable() -> None:
    body = {"jobid": "j", "status": "completed", "response": {"media": [{}] * 1001}}

    with pytest.raises(UnreadableJson):
        SERVICES_API.read_callback(json.dumps(body).encode(), {})


@pytest.mark.parametrize(
    ("operation", "path", "more"),
    [
        ("kling.videos.text2video", "/v1/kling/videos/text2video", {}),
        ("pixverse.videos.create", "/v2/pixverse/videos/create", {}),
        ("google-flow.videos", "/v1/google-flow/videos", {"async": True}),
        ("midjourney.jobs.imagine", "/v3/midjourney/jobs/imagine", {"stream": False}),
    ],
)
def test_a_job_is_submitted_with_our_callback_url_and_ref(
    operation: str, path: str, more: dict[str, Any]
) -> None:
    task = ProviderTask(
        ref="r", operation=operation, input={"prompt": "x"}, callback_url="https://b"
    )
    call = SERVICES_API.submit([task])

    sent = {"prompt": "x", **more, "replyUrl": "https://b", "replyRef": "r"}
    assert (call.method, call.path, json.loads(call.body or b"")) == ("POST", path, sent)


@pytest.mark.parametrize(
    ("operation", "task_id", "path"),
    [
        ("kling.videos.extend", "123", "/v1/kling/tasks/123"),
        ("minimax.images.create", "user:1-x:y-image:2", "/v1/minimax/images/user:1-x:y-image:2"),
        ("faceswap.swap", "j5", "/v1/faceswap/jobs/?jobid=j5"),
        ("google-flow.images", "j 1/..", "/v1/google-flow/jobs/j%201%2F.."),
        ("tempolor.music.song", "j4", "/v1/tempolor/music/j4"),
    ],
)
def test_a_lookup_reads_the_job_where_its_service_shows_it(
    operation: str, task_id: str, path: str
) -> None:
    call = SERVICES_API.lookup(build_job(operation=operation, provider_task_id=task_id), 0)

    assert call is not None
    assert (call.method, call.path) == ("GET", path)


def test_there_is_no_lookup_without_an_id_or_for_an_unknown_operation() -> None:
    assert SERVICES_API.lookup(build_job(operation="kling.videos.extend"), 0) is None
    assert SERVICES_API.lookup(build_job(operation="no.more", provider_task_id="1"), 0) is None


def test_the_answer_to_a_submit_names_the_job() -> None:
    task = ProviderTask(ref="r", operation="kling.videos.text2video", input={})
    reply = Reply(status=200, headers={}, body=payload("kling_processing"))
    accepted = SERVICES_API.read_answer(reply, [task])["r"]
    lost = SERVICES_API.read_answer(Reply(status=200, headers={}, body=b"{}"), [task])["r"]

    assert isinstance(accepted, Report)
    assert (accepted.task_id, accepted.status) == ("123456789", Status.RUNNING)
    assert isinstance(lost, Inconclusive)


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        (401, RefusalScope.CREDENTIAL),
        (402, RefusalScope.CREDENTIAL),
        (412, RefusalScope.CREDITS),
        (596, RefusalScope.ACCOUNT),
    ],
)
def test_a_refusal_of_the_account_pauses_its_service(status: int, scope: RefusalScope) -> None:
    task = ProviderTask(ref="r", operation="kling.videos.text2video", input={})
    body = json.dumps({"error": "It cannot be used", "code": status}).encode()
    answer = SERVICES_API.read_answer(Reply(status=status, headers={}, body=body), [task])["r"]

    assert isinstance(answer, AccountRefused)
    assert answer.scope is scope


def test_the_reply_fields_are_ours_and_each_service_has_slots_of_its_own() -> None:
    given = {"prompt": "x", "replyUrl": "https://me.example", "replyRef": "mine", "maxJobs": 3}
    prepared = SERVICES_API.prepare(OPERATIONS["kling.images.kolors"], given)

    assert prepared.input == {"prompt": "x", "maxJobs": 3}
    assert (prepared.reply_url, prepared.reply_ref) == ("https://me.example", "mine")
    assert (prepared.account, prepared.max_jobs) == ("kling", 3)
    with pytest.raises(Invalid):
        SERVICES_API.prepare(OPERATIONS["kling.images.kolors"], {"maxJobs": 0, "replyUrl": "x"})


def test_every_service_of_the_vendor_with_callbacks_is_there() -> None:
    names = [service.name for service in SERVICES]

    assert names == [
        *("kling", "minimax", "pixverse", "google-flow", "dreamina"),
        *("mureka", "tempolor", "faceswap", "midjourney"),
    ]
    assert {operation.on_lost_answer for operation in OPERATIONS.values()} == {
        LostAnswerPolicy.AWAIT
    }
