"""fal: operations by model id, requests, and what its answers, callbacks and lookups mean."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.fal.provider import Fal
from service.providers.protocol import (
    Answer,
    Inconclusive,
    LookupResult,
    LostAnswerPolicy,
    Provider,
    ProviderTask,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.providers.refusals import AccountRefused, RefusalScope
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

FAL: Provider = Fal()
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
CALLBACK_URL = f"https://belfry.example/callbacks/fal/{REF}?t=1.abc&x=/"
REQUEST = "80e732af-660e-45cd-bd63-580e4f2a94cc"
CALLED = "123e4567-e89b-12d3-a456-426614174000"
IMAGE = Artifact(
    kind="image",
    url="https://url.to/image.png",
    media_type="image/png",
    width=1024,
    height=1024,
    bytes=1824075,
    seed=196619188014358660,
)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"fal/{name}.json").read_bytes()


def task(operation: str = "fal-ai/flux/dev", **given: Any) -> ProviderTask:
    return ProviderTask(ref=REF, operation=operation, input=given, callback_url=CALLBACK_URL)


def callback(name: str) -> Report:
    (report,) = FAL.read_callback(payload(name), {})
    return report


def answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    return FAL.read_answer(Reply(status=status, headers=headers, body=body), [task()])[REF]


def error_of(report: object) -> JobError:
    assert isinstance(report, Report)
    assert report.status is Status.FAILED
    assert report.error is not None
    return report.error


def build_fal_job(operation: str = "fal-ai/flux/dev", task_id: str | None = REQUEST) -> Job:
    return build_job(provider="fal", operation=operation, ref=REF, provider_task_id=task_id)


def read(body: bytes, step: int, status: int = 200) -> LookupResult:
    return FAL.read_lookup(Reply(status=status, headers={}, body=body), build_fal_job(), step)


def found(result: LookupResult) -> Report:
    assert not isinstance(result, TaskNotFound | Inconclusive)
    (report,) = result
    assert report.refs == (REF,)
    return report


@pytest.mark.parametrize(
    "model",
    [
        "fal-ai/flux/dev",
        "fal-ai/fast-sdxl",
        "fal-ai/flux-pro/v1.1",
        "fal-ai/bytedance/seedance/v1/pro/image-to-video",
        "workflows/somebody/a_flow",
    ],
)
def test_any_model_is_an_operation_by_its_id(model: str) -> None:
    operation = FAL.operation(model)

    assert operation is not None
    assert (operation.name, operation.answers_immediately) == (model, False)
    assert operation.on_lost_answer is LostAnswerPolicy.AWAIT


@pytest.mark.parametrize(
    "name",
    [
        *("", "flux", "fal-ai/", "/fal-ai/flux", "fal-ai//flux", "fal-ai/flux/", "fal-ai/Flux"),
        *("fal-ai/../rest", "fal-ai/./flux", "fal-ai/flux?x=1", "fal-ai/flux#x", "fal-ai/%2e"),
        *("fal-ai/flux/requests/80e732af/cancel", "fal-ai/" + "x" * 65, "a/b/c/d/e/f/g/h/i"),
        *("fal-ai/flux\n", "https://fal.run/x", "fal-ai/flux dev"),
    ],
)
def test_what_is_no_id_of_a_model_is_no_operation(name: str) -> None:
    assert FAL.operation(name) is None


def test_every_listed_operation_could_be_given_by_its_id_too() -> None:
    assert len(FAL.operations) >= 5
    for name, operation in FAL.operations.items():
        unlisted = Fal().operation(f"{name}-x")
        assert operation.name == name
        assert operation.summary.endswith(".")
        assert unlisted is not None


def test_the_input_is_sent_as_it_is_and_the_callback_url_is_encoded() -> None:
    call = FAL.submit([task(prompt="a cat", seed=2**60, image_size={"width": 64})])
    query = urlsplit(call.path).query

    assert call.method == "POST"
    assert urlsplit(call.path).path == "/fal-ai/flux/dev"
    assert parse_qs(query, strict_parsing=True) == {"fal_webhook": [CALLBACK_URL]}
    assert not set("?&:/") & set(query)
    assert json.loads(call.body or b"") == {
        "prompt": "a cat",
        "seed": 2**60,
        "image_size": {"width": 64},
    }


def test_the_reply_url_of_the_input_is_not_sent() -> None:
    operation = FAL.operations["fal-ai/flux/dev"]

    prepared = FAL.prepare(operation, {"prompt": "x", "fal_webhook": "https://a.example/hook"})

    assert (prepared.input, prepared.reply_url) == ({"prompt": "x"}, "https://a.example/hook")


def test_all_errors_of_an_input_are_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        FAL.prepare(FAL.operations["fal-ai/flux/dev"], {"fal_webhook": "nowhere"})

    assert {error.path for error in caught.value.errors} == {"input.prompt", "input.fal_webhook"}


def test_the_key_has_a_scheme_of_its_own() -> None:
    assert FAL.account.credential("id:secret", 0) == {"authorization": "Key id:secret"}


@pytest.mark.parametrize(
    ("name", "request_id"),
    [
        ("answer", REQUEST),
        ("answer_in_queue", REQUEST),
        ("answer_to_webhook", "024ca5b1-45d3-4afd-883e-ad3abe2a1c4d"),
    ],
)
def test_an_accepted_request_is_submitted(name: str, request_id: str) -> None:
    report = answer(payload(name))

    assert isinstance(report, Report)
    assert (report.status, report.task_id) == (Status.SUBMITTED, request_id)


def test_an_answer_without_an_id_is_inconclusive() -> None:
    assert isinstance(answer(b'{"detail": "?"}'), Inconclusive)
    assert isinstance(answer(b"<html>"), Inconclusive)


def test_a_busy_queue_is_asked_again() -> None:
    later = answer(b'{"detail": "Too many requests"}', 429, **{"retry-after": "7"})

    assert later == RetryLater(message="Too many requests", retry_after_seconds=7.0)


@pytest.mark.parametrize(
    ("status", "name", "code", "message"),
    [
        (404, "result_in_progress", ErrorCode.INVALID_INPUT, "Request is still in progress"),
        (
            422,
            "error_validation",
            ErrorCode.INVALID_INPUT,
            "image_size.width: Input should be less than or equal to 14142; Extra data",
        ),
    ],
)
def test_a_refused_submit_tells_why(status: int, name: str, code: ErrorCode, message: str) -> None:
    error = error_of(answer(payload(name), status))

    assert (error.code, error.stage, error.retryable) == (code, ErrorStage.SUBMIT, False)
    assert error.message.startswith(message)


@pytest.mark.parametrize(
    ("status", "name", "scope", "message"),
    [
        (403, "error_balance", RefusalScope.CREDITS, "User is locked."),
        (401, "error_credential", RefusalScope.CREDENTIAL, "The provider refused the credential."),
    ],
)
def test_a_submit_may_refuse_the_account(
    status: int, name: str, scope: RefusalScope, message: str
) -> None:
    refused = answer(payload(name), status)

    assert isinstance(refused, AccountRefused)
    assert refused.scope is scope
    assert refused.message.startswith(message)


def test_the_documented_result_is_read_with_its_whole_seed() -> None:
    report = callback("callback_ok")

    assert (report.status, report.task_id, report.provider_status) == (
        Status.SUCCEEDED,
        CALLED,
        "OK",
    )
    assert report.output is not None
    assert report.output.artifacts == (IMAGE,)
    assert report.output.data is None


def test_the_request_id_of_the_queue_counts_not_that_of_the_last_try() -> None:
    report = callback("callback_retried")

    assert report.task_id == CALLED
    assert report.output is not None
    assert [(one.kind, one.media_type) for one in report.output.artifacts] == [
        ("video", "video/mp4")
    ]


def test_the_documented_error_becomes_a_readable_message() -> None:
    error = error_of(callback("callback_error"))

    assert error == JobError(
        code=ErrorCode.INVALID_INPUT,
        message="prompt: field required",
        provider_code="value_error.missing",
        retryable=False,
        stage=ErrorStage.PROVIDER,
    )


def test_a_content_policy_violation_is_moderated() -> None:
    error = error_of(callback("callback_moderated"))

    assert (error.code, error.provider_code) == (ErrorCode.MODERATED, "content_policy_violation")
    assert not error.retryable


def test_a_failure_of_the_queue_may_be_retried() -> None:
    error = error_of(callback("callback_timed_out"))

    assert (error.code, error.provider_code) == (ErrorCode.PROVIDER_ERROR, "request_timeout")
    assert (error.message, error.retryable) == ("Request timed out", True)


@pytest.mark.parametrize(
    ("error", "detail", "code", "retryable"),
    [
        ("Invalid status code: 500", "Internal Server Error", ErrorCode.PROVIDER_ERROR, True),
        ("Invalid status code: 400", "Bad image", ErrorCode.INVALID_INPUT, False),
        ("unknown", None, ErrorCode.PROVIDER_ERROR, True),
        (None, None, ErrorCode.PROVIDER_ERROR, True),
        ({"message": "x"}, ["Bad image"], ErrorCode.PROVIDER_ERROR, True),
        ("x", [{"type": "no_media_generated", "msg": "y"}], ErrorCode.PROVIDER_ERROR, True),
    ],
)
def test_other_errors_are_classified_by_the_status_in_their_text(
    error: Any, detail: Any, code: ErrorCode, *, retryable: bool
) -> None:
    body = {"request_id": "r", "status": "ERROR", "error": error, "payload": {"detail": detail}}
    (report,) = FAL.read_callback(msgspec.json.encode(body), {})

    assert (error_of(report).code, error_of(report).retryable) == (code, retryable)
    assert error_of(report).message


def test_a_payload_that_could_not_be_sent_is_a_success_without_output() -> None:
    error = error_of(callback("callback_payload_error"))

    assert error.code is ErrorCode.NO_OUTPUT
    assert "not JSON serializable" in error.message


def test_each_image_has_the_verdict_about_its_content() -> None:
    report = callback("callback_nsfw")

    assert report.output is not None
    assert [one.nsfw for one in report.output.artifacts] == [False, True]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("callback_mesh", [("model", "model/gltf-binary")]),
        ("callback_sync_mode", [("image", "image/jpeg")]),
        (
            "callback_lora",
            [("file", "application/octet-stream"), ("file", "application/json")],
        ),
    ],
)
def test_files_are_found_under_their_names(name: str, kinds: list[tuple[str, str]]) -> None:
    report = callback(name)

    assert report.output is not None
    assert [(one.kind, one.media_type) for one in report.output.artifacts] == kinds


def test_a_model_that_returns_text_has_text_and_data() -> None:
    report = callback("callback_text")

    assert report.output is not None
    assert report.output.text == "A bell."
    assert report.output.data == {"chunks": [{"timestamp": [0, 1], "text": "A bell."}]}


@pytest.mark.parametrize(
    "result",
    [
        {"images": []},
        {"images": [], "seed": 1},
        {"video": None, "prompt": "x"},
        {"images": [{"url": "ftp://a/b"}, {"url": 7}, "https://a/b.png", None]},
        {},
        None,
        7,
    ],
)
def test_a_success_without_a_file_has_no_output(result: Any) -> None:
    body = {"request_id": "r", "status": "OK", "payload": result}
    (report,) = FAL.read_callback(msgspec.json.encode(body), {})

    assert error_of(report).code is ErrorCode.NO_OUTPUT


def test_a_url_under_an_unknown_name_is_data_and_no_file() -> None:
    body = {"request_id": "r", "status": "OK", "payload": {"page": {"url": "https://a/b.png"}}}
    (report,) = FAL.read_callback(msgspec.json.encode(body), {})

    assert report.output is not None
    assert report.output.artifacts == ()
    assert report.output.data == {"page": {"url": "https://a/b.png"}}


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"x": 1}', b"\xff", b"no"])
def test_what_is_no_callback_of_fal_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        FAL.read_callback(body, {})


@pytest.mark.parametrize(
    ("model", "app"),
    [
        ("fal-ai/fast-sdxl", "fal-ai/fast-sdxl"),
        ("fal-ai/flux/dev", "fal-ai/flux"),
        ("fal-ai/kling-video/v2.5-turbo/pro/text-to-video", "fal-ai/kling-video"),
        ("workflows/somebody/a_flow", "workflows/somebody/a_flow"),
        ("comfy/somebody/a_flow/x", "comfy/somebody/a_flow"),
    ],
)
def test_a_request_is_looked_up_at_its_app_first_its_state_then_its_result(
    model: str, app: str
) -> None:
    job = build_fal_job(model)
    calls = [FAL.lookup(job, step) for step in range(3)]

    assert [call.path if call else None for call in calls] == [
        f"/{app}/requests/{REQUEST}/status",
        f"/{app}/requests/{REQUEST}",
        None,
    ]


def test_a_job_without_a_request_id_cannot_be_looked_up() -> None:
    assert FAL.lookup(build_fal_job(task_id=None), 0) is None


def test_the_id_in_a_path_is_encoded() -> None:
    call = FAL.lookup(build_fal_job(task_id="../x?y"), 1)

    assert call is not None
    assert call.path == "/fal-ai/flux/requests/..%2Fx%3Fy"


@pytest.mark.parametrize(
    ("name", "status", "expected"),
    [
        ("status_in_queue", 202, Status.SUBMITTED),
        ("status_in_progress", 202, Status.RUNNING),
    ],
)
def test_the_state_of_a_request_in_progress_is_conclusive(
    name: str, status: int, expected: Status
) -> None:
    assert found(read(payload(name), 0, status)).status is expected


def test_the_result_of_a_completed_request_is_asked_for() -> None:
    assert isinstance(read(payload("status_completed"), 0), Inconclusive)

    report = found(read(payload("result"), 1))

    assert (report.status, report.task_id) == (Status.SUCCEEDED, REQUEST)
    assert report.output is not None
    assert report.output.artifacts == (IMAGE,)


def test_the_result_of_a_failed_request_is_its_error() -> None:
    error = error_of(found(read(payload("error_validation"), 1, 422)))

    assert error.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("result_in_progress", 400, Inconclusive),
        ("error_credential", 401, Inconclusive),
        ("result_in_progress", 404, TaskNotFound),
    ],
)
def test_another_answer_says_nothing_about_the_request(
    name: str, status: int, kind: type[TaskNotFound | Inconclusive]
) -> None:
    assert isinstance(read(payload(name), 1, status), kind)


def test_a_result_with_too_many_images_is_inconclusive() -> None:
    assert isinstance(read(msgspec.json.encode({"images": [{}] * 1001}), 1), Inconclusive)


def test_there_is_no_free_request_that_needs_the_key() -> None:
    assert FAL.check() is None
