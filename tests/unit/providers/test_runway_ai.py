import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, Output
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
from service.providers.refusals import AccountRefused
from service.providers.runway_ai.provider import RunwayAi

RUNWAY_AI = RunwayAi()
IMAGE = "https://example.com/a%20b.jpg"
VIDEO = "https://example.com/a.mp4?x=1&y=ä"
TOKEN = "delete-token-0123456789"  # noqa: S105 - made up
BASE_URL = "https://api.runway-ai.ai"

INPUTS: dict[str, dict[str, Any]] = {
    "generate-image": {"prompt": "a lighthouse", "style": "sketch"},
    "edit-image": {"image_url": IMAGE, "edit_type": "resize", "resize_width": 10},
    "generate-video": {"prompt": "a lighthouse", "duration": 3, "fps": 24},
    "edit-video": {"video_url": VIDEO, "edit_type": "trim", "start_time": 0, "end_time": 2},
    "video-filter": {"video_url": VIDEO, "filter": "vintage"},
    "image-metadata": {"image_url": IMAGE},
    "video-metadata": {"video_url": VIDEO},
    "image-to-video": {"image_url": IMAGE, "duration": 3},
    "add-text-to-image": {"image_url": IMAGE, "text": "Hello", "position": "top-left"},
    "style-transfer": {"image_url": IMAGE, "style_reference": IMAGE},
    "resize-video": {"video_url": VIDEO, "new_width": 640, "new_height": 360},
    "generate-thumbnail": {"video_url": VIDEO, "time_position": 0},
    "extract-audio": {"video_url": VIDEO},
    "speed-adjust": {"video_url": VIDEO, "speed_factor": 0.5},
    "delete-media": {"media_url": VIDEO, "auth_token": TOKEN},
}
RESULTS = [
    ("generate-image", "image_url", "images/1.jpg", "image", "image/jpeg"),
    ("edit-image", "edited_image_url", "images/1.jpg", "image", "image/jpeg"),
    ("generate-video", "video_url", "videos/1.mp4", "video", "video/mp4"),
    ("edit-video", "edited_video_url", "videos/1.mp4", "video", "video/mp4"),
    ("video-filter", "filtered_video_url", "videos/1.mp4", "video", "video/mp4"),
    ("image-to-video", "video_url", "videos/1.mp4", "video", "video/mp4"),
    ("add-text-to-image", "text_image_url", "images/1.jpg", "image", "image/jpeg"),
    ("style-transfer", "styled_image_url", "images/1.jpg", "image", "image/jpeg"),
    ("resize-video", "resized_video_url", "videos/1.mp4", "video", "video/mp4"),
    ("generate-thumbnail", "thumbnail_url", "images/1.jpg", "image", "image/jpeg"),
    ("extract-audio", "audio_url", "audios/1.mp3", "audio", "audio/mpeg"),
    ("speed-adjust", "adjusted_speed_video_url", "videos/1.mp4", "video", "video/mp4"),
]
READING = ("image-metadata", "video-metadata")


def build_task(operation: str) -> ProviderTask:
    return ProviderTask(ref="ref", operation=operation, input=INPUTS[operation])


def answer(
    operation: str, status: int, body: object, headers: dict[str, str] | None = None
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status=status, headers=headers or {}, body=raw)
    return RUNWAY_AI.read_answer(reply, [build_task(operation)])["ref"]


def succeeded(operation: str, body: object) -> Output:
    report = answer(operation, 200, body)
    assert isinstance(report, Report)
    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    return report.output


def errors(operation: str, given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        RUNWAY_AI.prepare(RUNWAY_AI.operations[operation], given)
    return {error.path: error.message for error in caught.value.errors}


def test_all_fifteen_endpoints_are_operations_that_answer_immediately() -> None:
    assert RUNWAY_AI.operations.keys() == INPUTS.keys()
    assert len(INPUTS) == 15
    assert all(operation.answers_immediately for operation in RUNWAY_AI.operations.values())
    assert RUNWAY_AI.operation("generate-image") is RUNWAY_AI.operations["generate-image"]
    assert RUNWAY_AI.operation("generate-music") is None


@pytest.mark.parametrize("operation", INPUTS)
def test_only_free_operations_are_sent_again_after_a_lost_answer(operation: str) -> None:
    free = operation in (*READING, "delete-media")

    policy = RUNWAY_AI.operations[operation].on_lost_answer

    assert policy is (LostAnswerPolicy.RESEND if free else LostAnswerPolicy.FAIL)


@pytest.mark.parametrize("operation", INPUTS)
def test_the_documented_input_is_accepted_unchanged(operation: str) -> None:
    given = INPUTS[operation] | {"unheard_of": 1}

    prepared = RUNWAY_AI.prepare(RUNWAY_AI.operations[operation], given)

    assert prepared.input == given
    assert prepared.reply_url is None


@pytest.mark.parametrize("operation", INPUTS)
def test_every_missing_required_input_is_reported(operation: str) -> None:
    inputs = RUNWAY_AI.operations[operation].inputs
    required = {f"input.{entry.name}": "is required" for entry in inputs if entry.required}

    assert errors(operation, {}) == required


@pytest.mark.parametrize(
    ("operation", "given", "path", "message"),
    [
        (
            "generate-image",
            {"style": "vapor"},
            "input.style",
            "must be one of photorealistic, sketch, abstract",
        ),
        (
            "edit-image",
            {"edit_type": "trim"},
            "input.edit_type",
            "must be one of color-adjust, add-filter, resize",
        ),
        (
            "edit-image",
            {"resize_width": 0},
            "input.resize_width",
            "must be an integer of at least 1",
        ),
        ("edit-image", {"image_url": "a.jpg"}, "input.image_url", "must be an http or https URL"),
        (
            "edit-video",
            {"edit_type": "resize"},
            "input.edit_type",
            "must be one of trim, add-filter, adjust-speed",
        ),
        ("edit-video", {"start_time": -1}, "input.start_time", "must be an integer of at least 0"),
        ("edit-video", {"start_time": 2}, "input.end_time", "must be greater than start_time"),
        ("generate-video", {"duration": 2.5}, "input.duration", "must be an integer of at least 1"),
        ("generate-video", {"fps": True}, "input.fps", "must be an integer of at least 1"),
        ("add-text-to-image", {"text": " "}, "input.text", "must not be blank"),
        (
            "speed-adjust",
            {"speed_factor": 0},
            "input.speed_factor",
            "must be a number greater than 0",
        ),
        ("delete-media", {"auth_token": 5}, "input.auth_token", "must be a string"),
    ],
)
def test_a_wrong_parameter_is_rejected_before_the_request(
    operation: str, given: dict[str, Any], path: str, message: str
) -> None:
    assert errors(operation, INPUTS[operation] | given) == {path: message}


def test_a_trim_that_ends_before_it_starts_is_reported_with_the_other_errors() -> None:
    given = {"edit_type": "trim", "start_time": 5, "end_time": 2}

    assert errors("edit-video", given).keys() == {"input.video_url", "input.end_time"}


@pytest.mark.parametrize("filter_name", ["sepia", "my own filter"])
def test_values_that_are_only_documented_examples_are_not_enforced(filter_name: str) -> None:
    given = INPUTS["edit-image"] | {"filter": filter_name}

    prepared = RUNWAY_AI.prepare(RUNWAY_AI.operations["edit-image"], given)

    assert prepared.input["filter"] == filter_name


@pytest.mark.parametrize("operation", [name for name in INPUTS if name not in READING])
def test_paid_work_and_deletions_are_sent_as_json(operation: str) -> None:
    call = RUNWAY_AI.submit([build_task(operation)])

    assert call.method == ("DELETE" if operation == "delete-media" else "POST")
    assert call.path == f"/v1/{operation}"
    assert json.loads(call.body or b"") == INPUTS[operation]


@pytest.mark.parametrize("operation", READING)
def test_metadata_requests_have_their_input_in_the_query(operation: str) -> None:
    call = RUNWAY_AI.submit([build_task(operation)])

    url = urlsplit(call.path)
    assert (call.method, url.path, call.body) == ("GET", f"/v1/{operation}", None)
    assert parse_qs(url.query) == {key: [value] for key, value in INPUTS[operation].items()}


@pytest.mark.parametrize(("operation", "key", "path", "kind", "media_type"), RESULTS)
def test_the_documented_answer_is_one_artifact(
    operation: str, key: str, path: str, kind: str, media_type: str
) -> None:
    url = f"{BASE_URL}/{path}"

    output = succeeded(operation, {key: url})

    assert output == Output(artifacts=(Artifact(kind=kind, url=url, media_type=media_type),))


@pytest.mark.parametrize(
    ("operation", "body", "kind", "url"),
    [
        ("edit-video", {"result_url": f"{BASE_URL}/v/1.mp4"}, "video", f"{BASE_URL}/v/1.mp4"),
        ("edit-video", {"result_url": f"{BASE_URL}/v/1"}, "video", f"{BASE_URL}/v/1"),
        ("edit-video", {"image_url": f"{BASE_URL}/v/1.jpg"}, "image", f"{BASE_URL}/v/1.jpg"),
        (
            "edit-video",
            {"video_url": VIDEO, "output_url": f"{BASE_URL}/v/1.mp4"},
            "video",
            f"{BASE_URL}/v/1.mp4",
        ),
    ],
)
def test_a_url_under_another_key_is_found_if_it_is_the_only_one(
    operation: str, body: dict[str, str], kind: str, url: str
) -> None:
    (artifact,) = succeeded(operation, body).artifacts

    assert (artifact.kind, artifact.url) == (kind, url)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("edit-video", {"a_url": f"{BASE_URL}/1.mp4", "b_url": f"{BASE_URL}/2.mp4"}),
        ("edit-video", {"video_url": VIDEO}),
        ("edit-video", {"edited_video_url": "javascript:alert(1)"}),
        ("edit-video", {"status": "ok"}),
        ("image-metadata", {"image_id": None, "colour": "red"}),
    ],
)
def test_an_answer_without_a_result_fails_with_no_output(
    operation: str, body: dict[str, str]
) -> None:
    report = answer(operation, 200, body)

    assert isinstance(report, Report)
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (ErrorCode.NO_OUTPUT, True)


def test_the_metadata_of_an_image_is_data() -> None:
    body = {
        "image_id": "i1",
        "size": "2MB",
        "width": 1024,
        "height": 768,
        "created_at": "2024-09-12T10:00:00Z",
    }

    assert succeeded("image-metadata", body | {"colour": "red"}).data == body


def test_the_metadata_of_a_video_is_data() -> None:
    body = {
        "video_id": "v1",
        "size": "50MB",
        "duration": "30s",
        "created_at": "2024-09-12T10:00:00Z",
    }

    assert succeeded("video-metadata", body).data == body


def test_the_output_of_a_deletion_is_its_message() -> None:
    body = {"message": "Media successfully deleted"}

    assert succeeded("delete-media", body).text == "Media successfully deleted"


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_answer_to_a_deletion_is_a_success(status: int) -> None:
    report = answer("delete-media", status, b"")

    assert report == Report(status=Status.SUCCEEDED, output=Output())


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503, 504])
def test_a_deletion_token_is_never_shown(status: int) -> None:
    body = {"message": f"token {TOKEN}", "error": f"bad auth_token {TOKEN}"}

    assert TOKEN not in str(answer("delete-media", status, body))


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"x"', b"\xff"])
@pytest.mark.parametrize("operation", ["generate-image", "image-metadata"])
def test_an_unreadable_2xx_answer_fails_the_job(operation: str, body: bytes) -> None:
    report = answer(operation, 200, body)

    assert isinstance(report, Report)
    assert report.error is not None
    assert (report.error.code, report.error.stage) == (
        ErrorCode.PROVIDER_ERROR,
        ErrorStage.PROVIDER,
    )


def test_an_unreadable_answer_to_a_deletion_fails_the_job() -> None:
    report = answer("delete-media", 200, b"<html>")

    assert isinstance(report, Report)
    assert report.status is Status.FAILED


def test_an_error_in_a_200_answer_is_an_error_of_the_provider() -> None:
    report = answer("generate-image", 200, {"error": {"message": "Out of paint"}})

    assert isinstance(report, Report)
    assert report.error is not None
    assert (report.error.code, report.error.message) == (ErrorCode.PROVIDER_ERROR, "Out of paint")


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, ErrorCode.INVALID_INPUT, False),
        (403, ErrorCode.INVALID_INPUT, False),
        (404, ErrorCode.INVALID_INPUT, False),
        (413, ErrorCode.INVALID_INPUT, False),
        (422, ErrorCode.INVALID_INPUT, False),
        (500, ErrorCode.PROVIDER_ERROR, True),
        (502, ErrorCode.PROVIDER_ERROR, True),
    ],
)
def test_a_rejection_fails_the_job_with_an_error_code(
    status: int, code: ErrorCode, *, retryable: bool
) -> None:
    report = answer("generate-image", status, {"error": "no"})

    assert isinstance(report, Report)
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (code, retryable)
    assert report.error.stage is ErrorStage.SUBMIT


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_busy_provider_is_called_again_later(status: int) -> None:
    busy = answer("generate-image", status, {"error": "busy"}, {"retry-after": "7"})

    assert busy == RetryLater(message="busy", retry_after_seconds=7.0)


def test_a_gateway_timeout_is_inconclusive_because_the_work_may_be_done() -> None:
    assert isinstance(answer("generate-video", 504, b""), Inconclusive)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"image_url": "https://example.com"}'])
def test_every_callback_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        RUNWAY_AI.read_callback(body, {})


@settings(deadline=None)
@given(st.sampled_from(sorted(INPUTS)), st.integers(100, 999), st.binary())
def test_every_answer_is_interpreted(operation: str, status: int, body: bytes) -> None:
    found = answer(operation, status, body)

    assert isinstance(found, Report | RetryLater | AccountRefused | Inconclusive)
