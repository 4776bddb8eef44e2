import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.protocol import (
    Answer,
    Inconclusive,
    LostAnswerPolicy,
    ProviderTask,
    Reply,
    RetryLater,
)
from service.providers.refusals import AccountRefused, RefusalScope
from service.providers.useapi.catalog import LANGUAGES, STYLES
from service.providers.useapi.fields import COMMON_FIELDS, RATIOS
from service.providers.useapi.provider import UseApi
from service.providers.useapi.runway_endpoints import IMAGE_SECONDS, ROWS, VIDEO_SECONDS
from service.providers.useapi.video_models import MODELS
from tests.support.paths import PAYLOADS

CALLBACK_ENDPOINTS = (
    *("frames/create", "images/create", "videos/create", "videos/upscale"),
    *("gen4turbo/create", "gen4_5/create", "gen4/create", "gen4/upscale"),
    *("gen4/act-two", "gen4/act-two-voice", "gen4/video"),
    *("gen3turbo/create", "gen3turbo/video", "gen3turbo/extend", "gen3turbo/expand"),
    *("gen3turbo/actone", "gen3/create", "gen3/video", "gen3/extend", "gen3/actone"),
    *("gen3alpha/upscale", "gen2/create", "gen2/extend", "lipsync/create", "super_slow_motion"),
)
"""The endpoints that the vendor documents with replyUrl and replyRef."""
INSTANT: dict[str, dict[str, Any]] = {
    "frames.describe": {"image_assetId": "x"},
    "features": {},
    "lipsync.voices": {},
    "transcribe": {"assetId": "x", "language": "en"},
    "image_upscaler": {"image_url": "https://example.com/1.png", "width": 9, "height": 9},
    "text_to_image_preview": {"text_prompt": "x"},
}
"""The operations that answer at once, with an input of each."""
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
UUID = "8f14e45f-ceea-467f-a0e6-7c9d3f1b2a10"
TASK_ID = f"user:1234-runwayml:a-b+c@mail.com-task:{UUID}"
FEATURES = {"storageGB": 500, "numPlanCredits_permitted": 2250, "numPlanCredits_used": 1515}
CALLBACK_URL = f"https://belfry.example/callbacks/useapi/{REF}?t=1.abc"
USEAPI = UseApi()
CREATE = USEAPI.operations["frames.create"]
DESCRIBE = USEAPI.operations["frames.describe"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = st.sampled_from(
    [
        *("taskId", "id", "status", "error", "reason", "code", "progressRatio", "progressText"),
        *("artifacts", "url", "metadata", "dimensions", "size", "fileSize", "filename"),
        *("task", "request", "response", "replyRef", "taskType", "runningTasks", "previewUrls"),
        *(
            "prompt",
            "words",
            "text",
            "details",
            "message",
            "features",
            "options",
            "seed",
            "previewUrls",
        ),
    ]
)
WORDS = st.sampled_from(["SUCCEEDED", "FAILED", "RUNNING", "https://a/b.png", "SAFETY.X", REF])
TASK_LIKE_JSON = st.recursive(
    JSON | WORDS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=25
)


def payload(name: str) -> bytes:
    return (PAYLOADS / "useapi" / f"{name}.json").read_bytes()


def callback(name: str) -> Report:
    (report,) = USEAPI.read_callback(payload(name), {})
    return report


def build_task(operation: str = "frames.create", **given: object) -> ProviderTask:
    given = given or {"text_prompt": "a lighthouse"}
    return ProviderTask(ref=REF, operation=operation, input=given, callback_url=CALLBACK_URL)


def answer(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    operation: str = "frames.create",
) -> Answer:
    reply = Reply(status=status, headers=headers or {}, body=body)
    return USEAPI.read_answer(reply, [build_task(operation)])[REF]


def refusal(status: int, body: bytes, operation: str = "frames.create") -> JobError:
    report = answer(status, body, operation=operation)
    assert isinstance(report, Report)
    assert report.status is Status.FAILED
    assert report.error is not None
    return report.error


def errors(given: dict[str, Any], operation: str = "frames.create") -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        USEAPI.prepare(USEAPI.operations[operation], given)
    return {error.path: error.message for error in caught.value.errors}


def test_after_a_lost_answer_frames_are_awaited_and_descriptions_sent_again() -> None:
    assert (CREATE.answers_immediately, CREATE.on_lost_answer, CREATE.batched) == (
        False,
        LostAnswerPolicy.AWAIT,
        False,
    )
    assert (DESCRIBE.answers_immediately, DESCRIBE.on_lost_answer, DESCRIBE.batched) == (
        True,
        LostAnswerPolicy.RESEND,
        False,
    )


def test_an_operation_outside_the_table_is_unknown() -> None:
    assert USEAPI.operation("frames.create") is CREATE
    assert USEAPI.operation("frames.delete") is None


def test_every_documented_endpoint_with_callbacks_is_an_operation() -> None:
    names = [path.replace("/", ".") for path in CALLBACK_ENDPOINTS]

    assert {*names, *INSTANT} == USEAPI.operations.keys()


@pytest.mark.parametrize("path", CALLBACK_ENDPOINTS)
def test_an_endpoint_with_callbacks_gets_our_callback_url_and_ref(path: str) -> None:
    call = USEAPI.submit([build_task(path.replace("/", "."), firstImage_assetId="x", seconds=10)])

    assert (call.method, call.path) == ("POST", f"/{path}")
    assert json.loads(call.body or b"") == {
        "firstImage_assetId": "x",
        "seconds": 10,
        "replyUrl": CALLBACK_URL,
        "replyRef": REF,
    }


@pytest.mark.parametrize("path", CALLBACK_ENDPOINTS)
def test_after_a_lost_answer_an_endpoint_with_callbacks_is_awaited(path: str) -> None:
    operation = USEAPI.operations[path.replace("/", ".")]

    assert (operation.answers_immediately, operation.on_lost_answer) == (
        False,
        LostAnswerPolicy.AWAIT,
    )
    assert set(COMMON_FIELDS) <= set(operation.inputs)


@pytest.mark.parametrize(
    ("path", "seconds", "summary"), [row[:3] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_an_endpoint_has_a_summary_and_a_deadline(path: str, seconds: int, summary: str) -> None:
    operation = USEAPI.operations[path.replace("/", ".")]

    assert (operation.deadline_seconds, operation.summary) == (seconds, summary)
    assert summary.endswith(".")


def test_videos_have_a_longer_deadline_than_images() -> None:
    deadlines = {name: operation.deadline_seconds for name, operation in USEAPI.operations.items()}

    assert IMAGE_SECONDS < VIDEO_SECONDS
    assert deadlines["frames.create"] == deadlines["images.create"] == IMAGE_SECONDS
    assert deadlines["gen4.create"] == deadlines["lipsync.create"] == VIDEO_SECONDS


@pytest.mark.parametrize(
    ("operation", "given", "expected"),
    [
        (
            "gen4_5.create",
            {"text_prompt": "x" * 5001, "seconds": 7, "seed": 0, "aspect_ratio": "2:1"},
            {
                "input.text_prompt": "may have at most 5000 characters (has 5001)",
                "input.seconds": "must be one of 5, 8, 10",
                "input.seed": "must be an integer from 1 to 4294967294",
                "input.aspect_ratio": f"must be one of {', '.join(RATIOS)}",
            },
        ),
        (
            "gen4.create",
            {"text_prompt": 5, "seconds": "5", "maxJobs": 11},
            {
                "input.firstImage_assetId": "is required",
                "input.text_prompt": "must be a string",
                "input.seconds": "must be one of 5, 10",
                "input.maxJobs": "must be an integer from 1 to 10",
            },
        ),
        (
            "images.create",
            {"num_images": 2},
            {
                "input.model": "is required",
                "input.num_images": "must be one of 1, 4",
            },
        ),
        ("gen2.create", {"zoom": 11}, {"input.zoom": "must be an integer from -10 to 10"}),
        ("super_slow_motion", {"assetId": "x"}, {"input.speed": "is required"}),
        (
            "super_slow_motion",
            {"assetId": "x", "speed": 2},
            {"input.speed": "must be a number from 0.1 to 1"},
        ),
        (
            "transcribe",
            {"assetId": "x", "language": "la"},
            {"input.language": f"must be one of {', '.join(LANGUAGES)}"},
        ),
        (
            "frames.create",
            {"text_prompt": "x", "num_images": 3, "imageAssetId1": ".."},
            {
                "input.num_images": "must be one of 1, 4",
                "input.imageAssetId1": "must be the id of an asset",
            },
        ),
    ],
)
def test_the_documented_limits_of_an_operation_are_checked(
    operation: str, given: dict[str, Any], expected: dict[str, str]
) -> None:
    assert errors(given, operation) == expected


@pytest.mark.parametrize("seconds", [5, 8, 10])
def test_a_video_of_gen_4_5_may_have_each_documented_length(seconds: int) -> None:
    given = {"text_prompt": "x" * 5000, "seconds": seconds, "seed": 4294967294}

    assert USEAPI.prepare(USEAPI.operations["gen4_5.create"], given).input == given


@pytest.mark.parametrize("diversity", [0, 2.5, 5])
def test_diversity_is_a_number(diversity: float) -> None:
    given = {"text_prompt": "x", "diversity": diversity}

    assert USEAPI.prepare(CREATE, given).input["diversity"] == diversity


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"input.model": "is required"}),
        ({"model": 5}, {"input.model": "must be a string"}),
        (
            {"model": "seedance-2", "text_prompt": "x" * 3501, "duration": 3, "resolution": "4k"},
            {
                "input.text_prompt": "may have at most 3500 characters with seedance-2",
                "input.duration": "must be one of 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"
                " with seedance-2",
                "input.resolution": "must be one of 480p, 720p, 1080p with seedance-2",
            },
        ),
        (
            {"model": "veo-3.1", "duration": 5, "aspect_ratio": "2:3"},
            {
                "input.duration": "must be one of 4, 6, 8 with veo-3.1",
                "input.aspect_ratio": f"must be one of {', '.join(RATIOS)} with veo-3.1",
            },
        ),
        (
            {"model": "gen4", "duration": "5"},
            {
                "input.duration": "must be an integer of at least 1",
                "input.text_prompt": "is required by gen4",
                "input.imageAssetId1": "is required by gen4",
            },
        ),
        (
            {"model": "kling-3.0-motion-control", "characterOrientation": "left"},
            {
                "input.characterOrientation": "must be one of image, video",
                "input.videoAssetId": "is required by kling-3.0-motion-control",
            },
        ),
        (
            {"model": "kling-o3-pro", "endFrameAssetId": "x", "aspect_ratio": "4:3"},
            {
                "input.startFrameAssetId": "is required with endFrameAssetId",
                "input.aspect_ratio": "must be one of 16:9, 9:16, 1:1 with kling-o3-pro",
            },
        ),
        (
            {"model": "kling-3.0-pro", "multishot_duration_1": 8, "multishot_duration_2": 8},
            {
                "input.multishot_duration_1": "and the other shots may have at most 15 seconds"
                " together"
            },
        ),
    ],
)
def test_the_documented_limits_of_a_video_model_are_checked(
    given: dict[str, Any], expected: dict[str, str]
) -> None:
    assert errors(given, "videos.create") == expected


@pytest.mark.parametrize("model", MODELS)
def test_each_documented_video_model_accepts_its_limits(model: str) -> None:
    limits = MODELS[model]
    given: dict[str, Any] = {"model": model, "text_prompt": "x" * (limits.max_prompt or 5000)}
    given |= dict.fromkeys(set(limits.required) - {"text_prompt"}, "x")
    if limits.durations:
        given["duration"] = limits.durations[-1]
    if limits.resolutions:
        given["resolution"] = limits.resolutions[-1]

    assert USEAPI.prepare(USEAPI.operations["videos.create"], given).input == given


@pytest.mark.parametrize(
    "given",
    [
        {"model": "kling-4-tomorrow", "duration": 60, "resolution": "8k"},
        {"model": "kling-o3-pro", "duration": 7, "videoAssetId": "x"},
        {"model": "kling-3.0-pro", "duration": 7, "multishot_prompt_1": "x"},
    ],
)
def test_what_no_table_limits_is_left_to_the_provider(given: dict[str, Any]) -> None:
    assert USEAPI.prepare(USEAPI.operations["videos.create"], given).input == given


@pytest.mark.parametrize("name", INSTANT)
def test_an_operation_that_answers_at_once_is_free_and_sent_again(name: str) -> None:
    operation = USEAPI.operations[name]

    assert operation.answers_immediately
    assert operation.on_lost_answer is LostAnswerPolicy.RESEND
    assert USEAPI.prepare(operation, dict(INSTANT[name])).account is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("features", "/features/?email=a%40b.c"),
        ("lipsync.voices", "/lipsync/voices/?email=a%40b.c"),
        ("transcribe", "/transcribe/?assetId=x&language=en&email=a%40b.c"),
        (
            "image_upscaler",
            (
                "/image_upscaler/?image_url=https%3A%2F%2Fexample.com%2F1.png&width=9&height=9"
                "&email=a%40b.c"
            ),
        ),
        ("text_to_image_preview", "/text_to_image_preview/?text_prompt=x&email=a%40b.c"),
    ],
)
def test_an_operation_that_answers_at_once_is_a_get_with_a_query(name: str, path: str) -> None:
    given = INSTANT[name] | {"email": "a@b.c"}

    call = USEAPI.submit([build_task(name, **given)])

    assert (call.method, call.path, call.body) == ("GET", path, None)


TRANSCRIPT: dict[str, Any] = {
    "id": "<uuid>",
    "languageCode": "en",
    "words": [
        {"start": 1400, "end": 1560, "text": "Hi", "confidence": 1, "speaker": None},
        None,
        {"start": 1560, "end": 1872, "text": "there", "confidence": 0.89742, "speaker": None},
    ],
    "status": "completed",
    "utterances": None,
}


@pytest.mark.parametrize(
    ("operation", "body", "output"),
    [
        (
            "features",
            {"permitted": {"numPlanCredits": 2250}},
            Output(data={"permitted": {"numPlanCredits": 2250}}),
        ),
        ("lipsync.voices", [{"id": "1"}], Output(data=[{"id": "1"}])),
        ("lipsync.voices", [], Output(data=[])),
        ("transcribe", TRANSCRIPT, Output(text="Hi there", data=TRANSCRIPT["words"])),
        ("transcribe", {"words": []}, Output(text="", data=[])),
        (
            "image_upscaler",
            {"url": "https://example.com/1.png"},
            Output(
                artifacts=(
                    Artifact(kind="image", url="https://example.com/1.png", media_type="image/png"),
                )
            ),
        ),
        (
            "text_to_image_preview",
            {"url": "https://example.com/1", "seed": 1234567},
            Output(artifacts=(Artifact(kind="image", url="https://example.com/1", seed=1234567),)),
        ),
    ],
)
def test_the_result_of_a_call_without_callback_is_read(
    operation: str, body: object, output: Output
) -> None:
    report = answer(200, json.dumps(body).encode(), operation=operation)

    assert report == Report(status=Status.SUCCEEDED, output=output)


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("features", b"x", ErrorCode.PROVIDER_ERROR),
        ("features", b'{"error": "no features today"}', ErrorCode.PROVIDER_ERROR),
        ("lipsync.voices", b"5", ErrorCode.PROVIDER_ERROR),
        ("transcribe", b'{"words": null, "status": "completed"}', ErrorCode.NO_OUTPUT),
        ("transcribe", b"{}", ErrorCode.PROVIDER_ERROR),
        ("image_upscaler", b'{"url": "ftp://a"}', ErrorCode.NO_OUTPUT),
        ("text_to_image_preview", b"[]", ErrorCode.PROVIDER_ERROR),
    ],
)
def test_an_answer_without_its_result_fails_the_job(
    operation: str, body: bytes, code: ErrorCode
) -> None:
    error = refusal(200, body, operation)

    assert (error.code, error.stage, error.retryable) == (code, ErrorStage.PROVIDER, True)


def test_a_preview_that_is_forbidden_was_moderated() -> None:
    body = b'{"error": "Forbidden", "code": 403}'

    assert refusal(403, body, "text_to_image_preview").code is ErrorCode.MODERATED
    assert refusal(403, body, "features").code is not ErrorCode.MODERATED


def test_the_documented_request_is_valid_but_for_its_two_placeholders() -> None:
    documented = json.loads(payload("documented_frames_request"))

    assert errors(documented) == {
        "input.email": "must be an e-mail address",
        "input.replyUrl": "must be an http or https URL",
    }


@pytest.mark.parametrize("way", ["answer", "callback"])
def test_the_documented_task_is_read_as_an_answer_and_as_a_callback(way: str) -> None:
    body = payload("documented_frames_200")
    expected = Report(
        refs=("<your optional reference id>",),
        task_id="user:user_id-runwayml:account_email-task:task_uuid",
        status=Status.SUBMITTED,
        provider_status="PENDING",
        provider_info={"features": FEATURES, "estimatedTimeToStartSeconds": 0},
    )

    report = answer(200, body) if way == "answer" else USEAPI.read_callback(body, {})[0]

    assert report == expected


@pytest.mark.parametrize(
    ("name", "status", "operation", "code"),
    [
        ("frames_400", 400, "frames.create", ErrorCode.INVALID_INPUT),
        ("describe_400", 400, "frames.describe", ErrorCode.INVALID_INPUT),
    ],
)
def test_each_documented_error_is_read(
    name: str, status: int, operation: str, code: ErrorCode
) -> None:
    error = refusal(status, payload(f"documented_{name}"), operation)

    assert (error.code, error.provider_code) == (code, str(status))


@pytest.mark.parametrize(
    ("name", "status", "operation", "scope"),
    [
        ("frames_401", 401, "frames.create", RefusalScope.CREDENTIAL),
        ("frames_412", 412, "frames.create", RefusalScope.CREDITS),
        ("describe_401", 401, "frames.describe", RefusalScope.CREDENTIAL),
    ],
)
def test_each_documented_refusal_of_the_account_is_read(
    name: str, status: int, operation: str, scope: RefusalScope
) -> None:
    refused = answer(status, payload(f"documented_{name}"), operation=operation)

    assert isinstance(refused, AccountRefused)
    assert refused.scope is scope


def test_both_documented_429_are_tried_again_later() -> None:
    account = answer(429, payload("documented_frames_429_account"))
    runway = answer(429, payload("documented_frames_429_runway"))

    assert isinstance(account, RetryLater)
    assert account.message.startswith("Account <Runway account email> is busy executing")
    assert isinstance(runway, RetryLater)
    assert runway.message.startswith("You have too many tasks running or pending.")


def test_a_documented_running_task_is_found_by_its_reference() -> None:
    body = payload("documented_frames_429_account").replace(
        b"<replyRef if provided>", REF.encode(), 1
    )

    assert answer(429, body) == Report(
        refs=(REF,),
        task_id="user:user_id-runwayml:account_email-task:task_#1_uuid",
        status=Status.SUBMITTED,
    )


def test_the_documented_description_is_the_text_of_the_output() -> None:
    body = payload("documented_describe_200")

    report = answer(200, body, operation="frames.describe")

    assert isinstance(report, Report)
    assert report.output == Output(text=json.loads(body)["prompt"])


def test_the_example_of_the_vendor_is_a_valid_input() -> None:
    given = {
        "email": "Me+1@Mail.com",
        "text_prompt": "Required text prompt",
        "aspect_ratio": "21:9",
        "diversity": 5,
        "style": "vivid",
        "seed": 12345678,
        "exploreMode": True,
        "replyUrl": "https://example.com/cb",
        "replyRef": "order-1",
        "maxJobs": 5,
    }

    prepared = USEAPI.prepare(CREATE, given)

    assert prepared.reply_url == "https://example.com/cb"
    assert prepared.reply_ref == "order-1"
    assert prepared.account == "me+1@mail.com"
    assert prepared.max_jobs == prepared.input["maxJobs"] == 5
    assert prepared.input["email"] == "Me+1@Mail.com"
    assert not {"replyUrl", "replyRef"} & prepared.input.keys()
    assert prepared.task_uuid is None
    assert prepared.expected_parts == 1


def test_all_errors_of_an_input_are_reported_at_once() -> None:
    given = {
        "style": "vapor",
        "aspect_ratio": "2:1",
        "diversity": 9,
        "seed": 0,
        "maxJobs": 11,
        "exploreMode": "yes",
        "email": "nobody",
        "replyUrl": "javascript:alert(1)",
        "replyRef": "x" * 1025,
    }

    assert errors(given) == {
        "input.text_prompt": "is required",
        "input.style": f"must be one of {', '.join(STYLES)}",
        "input.aspect_ratio": f"must be one of {', '.join(RATIOS)}",
        "input.diversity": "must be a number from 0 to 5",
        "input.seed": "must be an integer from 1 to 4294967294",
        "input.maxJobs": "must be an integer from 1 to 10",
        "input.exploreMode": "must be true or false",
        "input.email": "must be an e-mail address",
        "input.replyUrl": "must be an http or https URL",
        "input.replyRef": "may have at most 1024 characters (has 1025)",
    }


def test_there_are_nineteen_styles_and_six_ratios() -> None:
    assert len(set(STYLES)) == 19
    assert len(set(RATIOS)) == 6


@pytest.mark.parametrize("style", STYLES)
def test_each_documented_style_is_accepted(style: str) -> None:
    assert USEAPI.prepare(CREATE, {"text_prompt": "x", "style": style}).input["style"] == style


def test_unknown_inputs_pass_through_to_the_provider() -> None:
    prepared = USEAPI.prepare(CREATE, {"text_prompt": "x", "num_images": 4})

    call = USEAPI.submit([build_task(**prepared.input)])

    assert json.loads(call.body or b"")["num_images"] == 4


def test_a_task_is_posted_with_our_callback_url_and_ref() -> None:
    call = USEAPI.submit([build_task(text_prompt="a lighthouse", maxJobs=2)])

    assert (call.method, call.path) == ("POST", "/frames/create")
    assert json.loads(call.body or b"") == {
        "text_prompt": "a lighthouse",
        "maxJobs": 2,
        "replyUrl": CALLBACK_URL,
        "replyRef": REF,
    }


def test_a_task_without_a_callback_url_has_no_reply_url() -> None:
    task = ProviderTask(ref=REF, operation="frames.create", input={"text_prompt": "x"})

    call = USEAPI.submit([task])

    assert json.loads(call.body or b"") == {"text_prompt": "x", "replyRef": REF}


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        ("x", "x"),
        (
            "user:1-runwayml:a-b+c@mail.com-asset:0",
            "user:1-runwayml:a-b%2Bc@mail.com-asset:0",
        ),
        ("../tasks/1", "..%2Ftasks%2F1"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\\b%2F", "a%5Cb%252F"),
        ("ü ", "%C3%BC%20"),
    ],
)
def test_an_asset_id_stays_within_its_path_segment(asset: str, path: str) -> None:
    call = USEAPI.submit([build_task("frames.describe", image_assetId=asset)])

    assert call.method == "GET"
    assert call.path == f"/frames/describe/{path}"
    assert call.body is None


def test_unknown_inputs_of_a_get_are_sent_in_the_query() -> None:
    task = build_task("frames.describe", image_assetId="x", email="a+b@c.de", deep=True)

    assert USEAPI.submit([task]).path == "/frames/describe/x?email=a%2Bb%40c.de&deep=true"


@pytest.mark.parametrize("asset", [".", "..", "", "  ", 5, None])
def test_an_invalid_asset_id_is_rejected(asset: object) -> None:
    assert errors({"image_assetId": asset}, "frames.describe").keys() == {"input.image_assetId"}


def test_a_description_accepts_a_reply_url_and_ref() -> None:
    given = {"image_assetId": "x", "replyUrl": "https://example.com", "replyRef": "r-1"}

    prepared = USEAPI.prepare(DESCRIBE, given)

    assert (prepared.reply_url, prepared.reply_ref) == ("https://example.com", "r-1")
    assert prepared.input == {"image_assetId": "x"}


def test_a_description_is_the_text_of_the_answer() -> None:
    report = answer(200, payload("describe"), operation="frames.describe")

    assert isinstance(report, Report)
    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    assert report.output.text is not None
    assert report.output.text.startswith("Subject: A woman wearing")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", ErrorCode.PROVIDER_ERROR),
        (b"", ErrorCode.PROVIDER_ERROR),
        (b"[]", ErrorCode.PROVIDER_ERROR),
        (b'{"error": "no vision today"}', ErrorCode.PROVIDER_ERROR),
        (b'{"prompt": " "}', ErrorCode.NO_OUTPUT),
    ],
)
def test_an_answer_without_a_description_fails_the_job(body: bytes, code: ErrorCode) -> None:
    error = refusal(200, body, "frames.describe")

    assert (error.code, error.stage, error.retryable) == (code, ErrorStage.PROVIDER, True)


@pytest.mark.parametrize(
    ("name", "provider_status"),
    [
        ("answer_pending", "PENDING"),
        ("answer_nested_under_task", "PENDING"),
        ("answer_throttled", "THROTTLED"),
    ],
)
def test_an_accepted_task_is_submitted(name: str, provider_status: str) -> None:
    assert answer(200, payload(name)) == Report(
        refs=(REF,),
        task_id=TASK_ID,
        status=Status.SUBMITTED,
        provider_status=provider_status,
        provider_info={"features": FEATURES, "estimatedTimeToStartSeconds": 0},
    )


def test_an_answer_with_only_the_uuid_of_the_task_is_read() -> None:
    report = answer(201, payload("answer_id_only"))

    assert isinstance(report, Report)
    assert (report.task_id, report.status) == (UUID, Status.SUBMITTED)


def test_an_accepted_task_with_an_unknown_status_is_submitted() -> None:
    report = answer(200, b'{"taskId": "t", "status": "REVIEWING"}')

    assert report == Report(task_id="t", status=Status.SUBMITTED, provider_status="REVIEWING")


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"{}", b"\xff"])
def test_a_2xx_answer_without_a_task_is_inconclusive(body: bytes) -> None:
    assert isinstance(answer(200, body), Inconclusive)


def test_a_task_object_without_an_id_is_inconclusive() -> None:
    assert isinstance(answer(200, payload("answer_without_a_task")), Inconclusive)


def test_an_error_in_a_200_answer_is_classified_by_the_code_in_the_body() -> None:
    error = refusal(200, payload("answer_200_with_an_error"))

    assert (error.code, error.stage) == (ErrorCode.INVALID_INPUT, ErrorStage.SUBMIT)


def test_an_error_without_a_code_in_a_200_answer_fails_the_submit() -> None:
    error = refusal(200, b'{"error": "Something broke"}')

    assert (error.code, error.stage) == (ErrorCode.PROVIDER_ERROR, ErrorStage.SUBMIT)
    assert error.message == "Something broke"


@pytest.mark.parametrize(
    ("status", "name", "code", "retryable"),
    [
        (400, "error_400", ErrorCode.INVALID_INPUT, False),
        (400, "error_passed_through", ErrorCode.INVALID_INPUT, False),
        (403, "error_400", ErrorCode.INVALID_INPUT, False),
        (404, "error_404", ErrorCode.INVALID_INPUT, False),
        (410, "error_410", ErrorCode.PROVIDER_ERROR, False),
        (422, "error_422", ErrorCode.MODERATED, False),
    ],
)
def test_a_rejected_submit_fails_the_job_with_an_error_code(
    status: int, name: str, code: ErrorCode, *, retryable: bool
) -> None:
    error = refusal(status, payload(name))

    assert (error.code, error.retryable) == (code, retryable)
    assert error.stage is ErrorStage.SUBMIT
    assert error.provider_code == str(status)


@pytest.mark.parametrize("status", [500, 502, 520])
def test_a_server_error_is_retryable(status: int) -> None:
    error = refusal(status, b"<html>Bad gateway</html>")

    assert (error.code, error.retryable) == (ErrorCode.PROVIDER_ERROR, True)
    assert error.message == f"The provider answered with HTTP status {status}."


@pytest.mark.parametrize("status", [302, 405, 409])
def test_an_unexpected_status_is_not_retryable(status: int) -> None:
    error = refusal(status, b"")

    assert (error.code, error.retryable) == (ErrorCode.PROVIDER_ERROR, False)


def test_a_nested_error_message_is_found() -> None:
    assert refusal(400, payload("error_passed_through")).message == "The asset is not valid"


@pytest.mark.parametrize("name", ["error_401", "error_404", "error_596", "busy_account"])
def test_accounts_and_credentials_are_masked_in_messages(name: str) -> None:
    message = str(refusal(400, payload(name)))

    assert "mail.com" not in message
    assert "user:1234" not in message


@pytest.mark.parametrize("status", [408, 429, 503, 504])
def test_a_busy_provider_is_called_again_later(status: int) -> None:
    busy = answer(status, payload("busy_runway"))

    assert isinstance(busy, RetryLater)
    assert busy.message.startswith("You have too many tasks running")
    assert busy.retry_after_seconds is None


def test_the_address_of_a_busy_account_is_masked() -> None:
    other = payload("busy_account").replace(REF.encode(), b"a-third")

    assert answer(429, other) == RetryLater(message="Account … is busy executing 5 tasks")


def test_a_task_among_the_running_ones_was_accepted_before() -> None:
    assert answer(429, payload("busy_account")) == Report(
        refs=(REF,), task_id=TASK_ID, status=Status.SUBMITTED
    )


def test_running_tasks_are_read_from_a_plain_list() -> None:
    body = {"runningTasks": [None, {"replyRef": REF, "id": UUID}], "code": 429}

    report = answer(429, json.dumps(body).encode())

    assert isinstance(report, Report)
    assert report.task_id == UUID


DATE = "Fri, 20 Nov 2026 01:02:03 GMT"


@pytest.mark.parametrize(
    ("headers", "name", "seconds"),
    [
        ({"retry-after": "17"}, "busy_runway", 17.0),
        ({"retry-after": "0.5"}, "busy_runway", 0.5),
        ({"retry-after": "-3"}, "busy_runway", 0.0),
        ({"retry-after": "999999"}, "busy_runway", 3600.0),
        ({"retry-after": "Fri, 20 Nov 2026 01:02:18 GMT", "date": DATE}, "busy_runway", 15.0),
        ({"retry-after": "Fri, 20 Nov 2026 01:02:18 GMT"}, "busy_runway", None),
        ({"retry-after": "soon", "date": DATE}, "busy_runway", None),
        ({"retry-after": "nan", "date": "nonsense"}, "busy_runway", None),
        ({"date": DATE}, "busy_with_retry_after", 30.0),
        ({"date": "Fri, 20 Nov 2026 01:02:03 -0000"}, "busy_with_retry_after", 30.0),
        ({}, "busy_with_retry_after", None),
        ({"date": DATE, "retry-after": "4"}, "busy_with_retry_after", 4.0),
    ],
)
def test_the_retry_delay_of_the_provider_is_read(
    headers: dict[str, str], name: str, seconds: float | None
) -> None:
    busy = answer(429, payload(name), headers)

    assert isinstance(busy, RetryLater)
    assert busy.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("name", "status", "provider_status"),
    [
        ("callback_pending", Status.SUBMITTED, "PENDING"),
        ("callback_throttled", Status.SUBMITTED, "THROTTLED"),
        ("callback_running_ratio_null", Status.RUNNING, "RUNNING"),
        ("callback_succeeded_images", Status.SUCCEEDED, "SUCCEEDED"),
        ("callback_failed_null", Status.FAILED, "FAILED"),
        ("callback_cancelled", Status.CANCELED, "CANCELLED"),
        ("callback_canceled", Status.CANCELED, "CANCELED"),
        ("callback_unknown_status", None, "REVIEWING"),
        ("callback_error_without_status", Status.FAILED, None),
    ],
)
def test_each_status_of_the_provider_is_mapped(
    name: str, status: Status | None, provider_status: str | None
) -> None:
    report = callback(name)

    assert (report.status, report.provider_status) == (status, provider_status)


@pytest.mark.parametrize(
    ("name", "progress"),
    [
        ("callback_running_ratio_null", None),
        ("callback_running_ratio_number", 0.25),
        ("callback_running_ratio_string", 0.25),
        ("callback_running_ratio_nonsense", None),
        ("callback_nested_under_task", 0.5),
        ("callback_succeeded_images", 1.0),
    ],
)
def test_a_progress_ratio_is_read_from_a_number_or_a_string(
    name: str, progress: float | None
) -> None:
    assert callback(name).progress == progress


@pytest.mark.parametrize(
    ("value", "progress"),
    [(0, 0.0), (1, 1.0), (7, None), (-1, None), ("1e999", None), (True, None), (10**400, None)],
)
def test_a_progress_ratio_outside_0_to_1_is_ignored(value: object, progress: float | None) -> None:
    body = json.dumps({"replyRef": REF, "status": "RUNNING", "progressRatio": value})

    (report,) = USEAPI.read_callback(body.encode(), {})

    assert report.progress == progress


def test_the_progress_text_is_read() -> None:
    assert callback("callback_running_ratio_number").progress_text == "Generating"


@pytest.mark.parametrize(
    "name",
    [
        "callback_pending",
        "callback_nested_under_task",
        "callback_ref_under_task",
        "callback_ref_under_request",
        "callback_ref_under_response",
    ],
)
def test_our_ref_is_found_in_every_documented_place(name: str) -> None:
    report = callback(name)

    assert report.refs == (REF,)
    assert report.task_id == TASK_ID


def test_all_refs_of_a_callback_are_reported() -> None:
    assert callback("callback_two_refs").refs == (REF, "somebody-else")


def test_a_callback_without_a_ref_is_read() -> None:
    report = callback("callback_without_ref")

    assert report.refs == ()
    assert report.task_id == TASK_ID


def test_four_images_are_four_artifacts() -> None:
    output = callback("callback_succeeded_images").output

    assert output is not None
    assert [artifact.bytes for artifact in output.artifacts] == [1843201, 1843202, 1843203, 1843204]
    assert output.artifacts[0] == Artifact(
        id="user:1234-runwayml:a-b+c@mail.com-asset:00000001-0000-4000-8000-000000000000",
        kind="image",
        url="https://dnznrvs05pmza.cloudfront.net/1.png?_jwt=abc",
        media_type="image/png",
        width=1088,
        height=1920,
        bytes=1843201,
        seed=12345789,
        preview_urls=("https://dnznrvs05pmza.cloudfront.net/1-preview.jpg?_jwt=abc",),
    )


def test_a_video_is_recognized_by_its_metadata_and_its_size_is_read_from_a_string() -> None:
    output = callback("callback_succeeded_video").output

    assert output is not None
    (artifact,) = output.artifacts
    assert (artifact.kind, artifact.media_type) == ("video", None)
    assert (artifact.width, artifact.height) == (1280, 768)
    assert artifact.bytes == 12345678


def test_an_artifact_with_a_duration_and_no_dimensions_is_audio() -> None:
    output = callback("callback_succeeded_audio").output

    assert output is not None
    assert output.artifacts[0].kind == "audio"


def test_an_artifact_without_metadata_gets_its_kind_from_the_task() -> None:
    assert callback("callback_succeeded_bare_artifact").output == Output(
        artifacts=(Artifact(id="a1", kind="image", url="https://example.com/1"),)
    )


@pytest.mark.parametrize(
    ("task_type", "metadata", "kind"),
    [
        ("gen4_turbo", {}, "video"),
        ("unheard_of", {}, "file"),
        (None, {}, "file"),
        ("gen4", {"dimensions": ["640", "480"]}, "image"),
        ("text_to_image", {"frameRate": "24"}, "video"),
        ("gen4", {"dimensions": [640]}, "video"),
        ("gen4", "none", "video"),
    ],
)
def test_the_kind_of_an_artifact_is_found_by_metadata_or_task_type(
    task_type: str | None, metadata: object, kind: str
) -> None:
    item = {"id": 17, "url": "https://example.com/x", "metadata": metadata}
    body = {"replyRef": REF, "status": "SUCCEEDED", "taskType": task_type, "artifacts": [item]}

    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})

    assert report.output is not None
    assert (report.output.artifacts[0].id, report.output.artifacts[0].kind) == ("17", kind)


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (12345678.0, 12345678),
        ("12345678", 12345678),
        ("12 MB", None),
        (-1, None),
        (True, None),
        (2**63, None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_a_file_size_is_a_number_of_bytes_or_none(size: object, read: int | None) -> None:
    item = {"id": "a1", "url": "https://example.com/1.png", "fileSize": size}
    body = {"replyRef": REF, "status": "SUCCEEDED", "artifacts": [item]}

    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})

    assert report.output is not None
    assert report.output.artifacts[0].bytes == read


def succeeded(item: dict[str, Any], **task: object) -> Artifact:
    body = {"replyRef": REF, "status": "SUCCEEDED", "artifacts": [item], **task}
    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})
    assert report.output is not None
    (artifact,) = report.output.artifacts
    return artifact


@pytest.mark.parametrize(
    ("seed", "read"),
    [
        (4294967294, 4294967294),
        (2**53 + 1, 2**53 + 1),
        ("9007199254740995", 2**53 + 3),
        (None, None),
        ("x", None),
        (-1, None),
        (True, None),
        (1.5, None),
    ],
)
def test_a_seed_is_read_without_rounding(seed: object, read: int | None) -> None:
    artifact = succeeded({"url": "https://example.com/1.png"}, options={"seed": seed})

    assert artifact.seed == read


@pytest.mark.parametrize(
    ("previews", "read"),
    [
        (
            ["https://a/1.jpg", None, 5, "ftp://a", "https://a/2.jpg"],
            ("https://a/1.jpg", "https://a/2.jpg"),
        ),
        ("https://a/1.jpg", ("https://a/1.jpg",)),
        ({}, ()),
        (None, ()),
        (["https://a/1.jpg"] * 5000, ("https://a/1.jpg",) * 20),
    ],
)
def test_the_previews_of_an_artifact_are_read(previews: object, read: tuple[str, ...]) -> None:
    item = {"url": "https://example.com/1.png", "previewUrls": previews}

    assert succeeded(item).preview_urls == read


def test_the_end_of_a_signed_url_is_that_of_the_artifact() -> None:
    url = "https://example.com/1.png?Expires=1767225600&Signature=x&Key-Pair-Id=K"

    assert succeeded({"url": url}).expires_at == "2026-01-01T00:00:00.000Z"


def test_a_size_is_read_from_the_metadata_itself() -> None:
    item = {"url": "https://example.com/1", "metadata": {"width": 1280, "height": 768}}

    artifact = succeeded(item)

    assert (artifact.width, artifact.height, artifact.kind) == (1280, 768, "image")


@pytest.mark.parametrize(
    ("task", "info"),
    [
        ({}, None),
        ({"features": None, "estimatedTimeToStartSeconds": None}, None),
        ({"features": [], "estimatedTimeToStartSeconds": "soon"}, None),
        ({"features": {"a": {}, "b": "x", "c": None}}, None),
        ({"features": {"a": 1, "b": {}, "c": True}}, {"features": {"a": 1, "c": True}}),
        ({"estimatedTimeToStartSeconds": "12.5"}, {"estimatedTimeToStartSeconds": 12.5}),
        (
            {"task": {"features": {"a": 1}}, "estimatedTimeToStartSeconds": 3},
            {"features": {"a": 1}, "estimatedTimeToStartSeconds": 3},
        ),
    ],
)
def test_credits_and_the_estimated_wait_are_provider_info(
    task: dict[str, Any], info: dict[str, Any] | None
) -> None:
    body = {"replyRef": REF, "status": "RUNNING", **task}

    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})

    assert report.provider_info == info


def test_of_many_features_the_first_fifty_are_kept() -> None:
    body = {"replyRef": REF, "features": {str(number): number for number in range(100)}}

    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})

    assert report.provider_info == {"features": {str(number): number for number in range(50)}}


@pytest.mark.parametrize(
    "name", ["callback_succeeded_without_artifacts", "callback_succeeded_without_url"]
)
def test_success_without_a_url_is_a_failure(name: str) -> None:
    report = callback(name)

    assert report.status is Status.FAILED
    assert report.provider_status == "SUCCEEDED"
    assert report.refs == (REF,)
    assert report.output is None
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (ErrorCode.NO_OUTPUT, True)


def test_an_artifact_without_a_url_is_left_out() -> None:
    output = callback("callback_succeeded_one_without_url").output

    assert output is not None
    assert len(output.artifacts) == 1


@pytest.mark.parametrize(
    ("name", "code", "reason", "retryable"),
    [
        ("callback_failed_null", ErrorCode.PROVIDER_ERROR, None, True),
        ("callback_failed_string", ErrorCode.PROVIDER_ERROR, None, True),
        ("callback_failed_empty_reason", ErrorCode.PROVIDER_ERROR, None, True),
        (
            "callback_failed_bad_output",
            ErrorCode.PROVIDER_ERROR,
            "INTERNAL.BAD_OUTPUT.CODE01",
            True,
        ),
        ("callback_failed_other_reason", ErrorCode.PROVIDER_ERROR, "QUOTA.WEEKLY", False),
        ("callback_failed_asset", ErrorCode.INVALID_INPUT, "ASSET.INVALID", False),
        ("callback_failed_reason_string", ErrorCode.MODERATED, "SAFETY.INPUT.TEXT", False),
        ("callback_failed_moderated_input", ErrorCode.MODERATED, "SAFETY.INPUT.TEXT", False),
        ("callback_failed_moderated_output", ErrorCode.MODERATED, "SAFETY.OUTPUT.IMAGE", False),
        ("callback_failed_moderated_category_only", ErrorCode.MODERATED, None, False),
        ("callback_failed_with_code", ErrorCode.MODERATED, "422", False),
    ],
)
def test_an_error_is_classified_by_its_reason(
    name: str, code: ErrorCode, reason: str | None, *, retryable: bool
) -> None:
    report = callback(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert (report.error.code, report.error.provider_code) == (code, reason)
    assert (report.error.retryable, report.error.stage) == (retryable, ErrorStage.PROVIDER)


GOOGLE_MESSAGE = "Request contains an invalid argument."


def google_error(reason: object, code: int = 400) -> dict[str, Any]:
    """Build an error of Google as useapi.net passes it on."""
    details = [None, {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    fields = {"code": code, "message": GOOGLE_MESSAGE, "status": "INVALID_ARGUMENT"}
    return fields | {"details": details}


def failure(error: object, **task: object) -> JobError:
    body = {"replyRef": REF, "status": "FAILED", "error": error, **task}
    (report,) = USEAPI.read_callback(json.dumps(body).encode(), {})
    assert report.error is not None
    return report.error


@pytest.mark.parametrize(
    "reason",
    [
        "PUBLIC_ERROR_TRUMP_FACE_DETECTED",
        "PUBLIC_ERROR_UNSAFE_GENERATION",
        "PUBLIC_ERROR_MINOR_UPLOAD",
        "PUBLIC_ERROR_PROMINENT_PEOPLE_FILTER_FAILED",
        "PUBLIC_ERROR_SEXUAL",
        "PUBLIC_ERROR_VIOLENCE_FILTER",
        "PUBLIC_ERROR_AUDIO_FILTERED",
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_moderation_reason_in_the_details_of_an_error_is_found(reason: str, depth: int) -> None:
    error = google_error(reason)
    for _ in range(depth):
        error = {"error": error}

    failed, refused = failure(error), refusal(400, json.dumps({"error": error}).encode())

    for found in (failed, refused):
        assert (found.code, found.provider_code) == (ErrorCode.MODERATED, reason)
        assert (found.message, found.retryable) == (GOOGLE_MESSAGE, False)


@pytest.mark.parametrize(
    ("reason", "status", "code", "retryable"),
    [
        ("PUBLIC_ERROR_USER_QUOTA_REACHED", 400, ErrorCode.INVALID_INPUT, False),
        ("PUBLIC_ERROR_VIDEO_GENERATION_TIMED_OUT", 500, ErrorCode.PROVIDER_ERROR, True),
        ("PUBLIC_ERROR_SURFACE", 500, ErrorCode.PROVIDER_ERROR, True),
        ("SOMETHING", 500, ErrorCode.PROVIDER_ERROR, True),
        ({}, 500, ErrorCode.PROVIDER_ERROR, True),
    ],
)
def test_another_reason_in_the_details_of_an_error_is_not_moderation(
    reason: object, status: int, code: ErrorCode, *, retryable: bool
) -> None:
    error = failure(google_error(reason, status))

    assert (error.code, error.retryable, error.message) == (code, retryable, GOOGLE_MESSAGE)


@pytest.mark.parametrize(
    "message",
    [
        "NSFW content detected",
        "Text prompt did not pass moderation",
        "The image has not passed our content moderation.",
        "Your prompt was moderated",
        "Blocked by content moderation",
        "Your image was flagged as unsafe",
        "This prompt violates our usage policy",
        "Failed [PUBLIC_ERROR_UNSAFE_GENERATION]",
    ],
)
def test_an_error_text_about_moderation_is_moderated(message: str) -> None:
    errors = [
        failure(message),
        failure({"message": message}),
        refusal(400, json.dumps({"error": message, "code": 400}).encode()),
        refusal(403, json.dumps({"error": message}).encode()),
        refusal(200, json.dumps({"error": message}).encode()),
    ]

    assert {(error.code, error.retryable) for error in errors} == {(ErrorCode.MODERATED, False)}


@pytest.mark.parametrize(
    "message",
    ["The moderation service is down", "nsfwish", "Moderate rain expected", "safety first"],
)
def test_an_error_text_that_only_mentions_such_words_is_not_moderated(message: str) -> None:
    assert failure(message).code is ErrorCode.PROVIDER_ERROR
    assert refusal(400, json.dumps({"error": message}).encode()).code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        (401, RefusalScope.CREDENTIAL),
        (402, RefusalScope.CREDENTIAL),
        (412, RefusalScope.CREDITS),
    ],
)
def test_a_refusal_of_the_account_is_no_matter_of_its_details(
    status: int, scope: RefusalScope
) -> None:
    refused = answer(status, json.dumps({"error": google_error("SERVICE_DISABLED")}).encode())

    assert isinstance(refused, AccountRefused)
    assert refused.scope is scope


def test_only_the_first_details_and_layers_of_an_error_are_read() -> None:
    many = google_error("x") | {"details": [{}] * 50 + [{"reason": "SAFETY.INPUT.TEXT"}]}
    deep: dict[str, Any] = {"tally_asimov": True}
    for _ in range(10):
        deep = {"error": deep}

    assert failure(many).code is ErrorCode.INVALID_INPUT
    assert failure(deep).code is ErrorCode.PROVIDER_ERROR


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("callback_failed_null", "The provider gave no reason."),
        ("callback_failed_string", "An unexpected error occurred."),
        ("callback_failed_moderated_input", "Your prompt was moderated"),
    ],
)
def test_an_error_has_the_message_of_the_provider(name: str, message: str) -> None:
    error = callback(name).error

    assert error is not None
    assert error.message == message


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"[]", b"{}", b"0", b'"text"', b"true", b"<html>", b"\xff\xfe"),
        *(b'{"data": []}', b'{"foo": 1}', b'[{"taskId": "t"}]', b'{"status": 5}'),
        *(b"[" * 5000, b'{"task":' * 100 + b"1" + b"}" * 100, b'{"taskId": "t"'),
    ],
)
def test_a_body_without_a_task_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        USEAPI.read_callback(body, {})


@settings(deadline=None)
@given(TASK_LIKE_JSON)
def test_any_json_is_read_or_unreadable(value: object) -> None:
    body = msgspec.json.encode(value)

    try:
        reports = USEAPI.read_callback(body, {})
    except UnreadableJson:
        return

    assert [type(report) for report in reports] == [Report]


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        reports = USEAPI.read_callback(body, {})
    except UnreadableJson:
        return

    assert reports


@settings(deadline=None)
@given(
    st.sampled_from(["frames.create", *INSTANT]),
    st.integers(100, 999),
    st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text() | st.just(DATE)),
    TASK_LIKE_JSON.map(msgspec.json.encode) | st.binary(),
)
def test_every_answer_is_interpreted(
    operation: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    found = answer(status, body, headers, operation)

    assert isinstance(found, Report | RetryLater | AccountRefused | Inconclusive)
