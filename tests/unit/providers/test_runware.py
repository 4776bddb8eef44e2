import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.jobs.state_machine import apply_report
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
from service.providers.runware.catalog import LONG_SECONDS, ROWS, SHORT_SECONDS
from service.providers.runware.errors import classify
from service.providers.runware.provider import Runware
from tests.support.paths import PAYLOADS

REF = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
OTHER = "b8c4d952-7f27-4a6e-bc9a-83f01d1c6d59"
IMAGE = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
CALLBACK_URL = f"https://belfry.example/callbacks/runware/{REF}?t=1.abc"
RUNWARE = Runware()
CAPTION = RUNWARE.operations["imageCaption"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = st.sampled_from(
    [
        *("taskUUID", "taskType", "status", "data", "errors", "error", "code", "message", "text"),
        *("imageURL", "imageUUID", "videoURL", "imageBase64Data", "imageDataURI", "resultIndex"),
        *("structuredData", "result", "cost", "progress", "mediaURL", "mediaUUID"),
    ]
)
WORDS = st.sampled_from([REF, OTHER, "processing", "success", "error", "conflictTaskUUID"])
TASK_LIKE_JSON = st.recursive(
    JSON | WORDS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=25
)


def payload(name: str) -> bytes:
    return (PAYLOADS / "runware" / f"{name}.json").read_bytes()


def callbacks(name: str) -> list[Report]:
    return RUNWARE.read_callback(payload(name), {})


def callback(name: str) -> Report:
    (report,) = callbacks(name)
    return report


def items_of(*names: str) -> list[Any]:
    return [item for name in names for item in json.loads(payload(name))["data"]]


def data_of(*names: str) -> bytes:
    """Join the results of several payloads in one body."""
    return json.dumps({"data": items_of(*names)}).encode()


def output(name: str) -> Output:
    report = callback(name)
    assert report.status is Status.SUCCEEDED
    assert report.part is not None
    assert report.output is not None
    return report.output


def failure(name: str) -> JobError:
    report = callback(name)
    assert report.status is Status.FAILED
    assert report.part is not None
    assert report.error is not None
    return report.error


def build_task(ref: str = REF, operation: str = "imageCaption", **given: object) -> ProviderTask:
    given = given or {"inputImage": IMAGE, "model": "runware:150@2"}
    return ProviderTask(ref=ref, operation=operation, input=given, callback_url=CALLBACK_URL)


def answers(
    status: int,
    body: bytes,
    refs: Sequence[str] = (REF,),
    headers: Mapping[str, str] | None = None,
) -> dict[str, Answer]:
    reply = Reply(status=status, headers=headers or {}, body=body)
    return RUNWARE.read_answer(reply, [build_task(ref) for ref in refs])


def reports_of(answer: Answer) -> tuple[Report, ...]:
    assert isinstance(answer, tuple)
    return answer


def refusal(answer: Answer) -> JobError:
    assert isinstance(answer, Report)
    assert answer.status is Status.FAILED
    assert answer.part is None
    assert answer.error is not None
    return answer.error


def errors(given: dict[str, Any], operation: str = "imageCaption") -> dict[str, str]:
    found = RUNWARE.operation(operation)
    assert found is not None
    with pytest.raises(Invalid) as caught:
        RUNWARE.prepare(found, given)
    return {error.path: error.message for error in caught.value.errors}


def build_job(parts: int) -> Job:
    return Job(
        id="job_1",
        tenant="t",
        provider="runware",
        operation="imageInference",
        account="runware",
        ref=REF,
        created_at=0,
        deadline_seconds=60,
        status=Status.SUBMITTED,
        expected_parts=parts,
    )


def apply_reports_to(job: Job, *reports: Report) -> Job:
    for report in reports:
        job = apply_report(job, report, 1) or job
    return job


def apply_callbacks(job: Job, *names: str) -> Job:
    return apply_reports_to(job, *(report for name in names for report in callbacks(name)))


@pytest.mark.parametrize("name", ["imageCaption", "caption", "videoInference", "3dInference"])
def test_any_task_type_is_an_operation_by_its_name(name: str) -> None:
    operation = RUNWARE.operation(name)

    assert operation is not None
    assert operation.name == name
    assert (operation.answers_immediately, operation.on_lost_answer) == (
        False,
        LostAnswerPolicy.RESEND,
    )
    assert operation.batched


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("imageCaption", "caption"),
        ("imageUpscale", "upscale"),
        ("imageBackgroundRemoval", "removeBackground"),
        ("imageControlNetPreProcess", "controlNetPreprocess"),
    ],
)
def test_a_renamed_task_type_is_listed_in_both_spellings(old: str, new: str) -> None:
    assert {old, new} <= RUNWARE.operations.keys()


@pytest.mark.parametrize(("name", "seconds", "summary"), ROWS)
def test_a_listed_task_type_is_sent_by_its_name(name: str, seconds: int, summary: str) -> None:
    operation = RUNWARE.operations[name]

    assert (operation.deadline_seconds, operation.summary) == (seconds, summary)
    assert summary.endswith(".")
    assert json.loads(RUNWARE.submit([build_task(REF, name, seed=1)]).body or b"") == [
        {
            "seed": 1,
            "taskType": name,
            "taskUUID": REF,
            "deliveryMethod": "async",
            "webhookURL": CALLBACK_URL,
        }
    ]


@pytest.mark.parametrize("name", ["imageUpload", "mediaStorage", "modelSearch"])
def test_a_task_that_is_answered_at_once_is_sent_without_a_callback(name: str) -> None:
    operation = RUNWARE.operations[name]
    task = ProviderTask(ref=REF, operation=name, input={"search": "x"})

    call = RUNWARE.submit([task])

    assert (operation.answers_immediately, operation.on_lost_answer, operation.batched) == (
        True,
        LostAnswerPolicy.RESEND,
        True,
    )
    assert operation.deadline_seconds < SHORT_SECONDS
    assert json.loads(call.body or b"") == [{"search": "x", "taskType": name, "taskUUID": REF}]


@pytest.mark.parametrize("name", ["modelUpload", "aTypeOfTomorrow"])
def test_a_task_that_is_not_known_to_be_answered_at_once_has_a_callback(name: str) -> None:
    operation = RUNWARE.operation(name)

    assert operation is not None
    assert not operation.answers_immediately


def test_video_and_3d_models_have_a_longer_deadline_than_images() -> None:
    deadlines = {name: operation.deadline_seconds for name, operation in RUNWARE.operations.items()}

    assert SHORT_SECONDS < LONG_SECONDS
    assert deadlines["imageInference"] == deadlines["caption"] == SHORT_SECONDS
    assert deadlines["videoInference"] == deadlines["3dInference"] == LONG_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        *("authentication", "ping", "getResponse", "GETRESPONSE", "getTaskDetails"),
        *("accountManagement", "", "x", "x" * 65, "a-b", "a b", "caption\n", "ümlaut"),
    ],
)
def test_a_control_message_or_an_invalid_name_is_no_operation(name: str) -> None:
    assert RUNWARE.operation(name) is None


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        "99fc4f1b-5ec5-5d6b-ae4f-cf1fd18d8402",
        "data:image/png;base64,iVBORw0KGgo=",
        "data:image/jpg;base64,/9j/4AAQ",
        "data:image/jpeg;base64,/9j/4AAQ",
        "data:image/webp;base64,UklGRiQA",
        "iVBORw0KGgoAAAANSUhEUg==",
        "/9j/4AAQSkZJRgABAQ",
        "UklGRiQAAABXRUJQ",
        "https://example.com/cat.png?size=1",
        "http://example.com/cat",
    ],
)
def test_an_image_is_accepted_in_each_of_the_four_forms(image: str) -> None:
    given = {"inputImage": image, "model": "runware:150@2"}

    assert RUNWARE.prepare(CAPTION, given).input == given


@pytest.mark.parametrize(
    "image",
    [
        *("cat", "cat.png", "ftp://example.com/cat.png", "https://", "example.com/cat.png"),
        *("data:image/gif;base64,R0lGODlh", "data:image/png,raw", "data:image/png;base64,"),
        *("R0lGODlhAQABAAAAACw=", "iVBORw0KGgo!", f"{IMAGE}0", f"{IMAGE}\n", 5, None, " ", []),
    ],
)
def test_any_other_image_value_is_rejected(image: object) -> None:
    assert errors({"inputImage": image, "model": "runware:150@2"}).keys() == {"input.inputImage"}


@pytest.mark.parametrize(
    "model",
    ["runware:152@50", "civitai:43331@176425", "urn:air:sd1:checkpoint:civitai:4@1", "a:b@1.5"],
)
def test_a_model_is_an_air_id(model: str) -> None:
    given = {"inputImage": IMAGE, "model": model}

    assert RUNWARE.prepare(CAPTION, given).input["model"] == model


def test_all_errors_of_a_caption_are_reported_at_once() -> None:
    given = {
        "inputImage": "cat",
        "model": "llava",
        "prompt": 5,
        "includeCost": "yes",
        "taskType": "caption",
        "taskUUID": "order-1",
        "webhookURL": "nowhere",
        "deliveryMethod": "stream",
        "numberResults": 21,
    }

    assert errors(given) == {
        "input.inputImage": "must be an image's UUID, a base64 PNG, JPG or WEBP with or without "
        "data URI, or a URL",
        "input.model": "must be an AIR id, as in runware:150@2",
        "input.prompt": "must be a string",
        "input.includeCost": "must be true or false",
        "input.taskType": "must be one of imageCaption",
        "input.taskUUID": "must be a UUID",
        "input.webhookURL": "must be an http or https URL",
        "input.deliveryMethod": "must be one of sync, async",
        "input.numberResults": "must be an integer from 1 to 20",
    }


def test_a_caption_needs_an_image_and_a_model() -> None:
    assert errors({}) == {"input.inputImage": "is required", "input.model": "is required"}


def test_fields_for_this_service_are_removed_from_the_input() -> None:
    given = {
        "taskType": "imageInference",
        "taskUUID": REF.upper(),
        "webhookURL": "https://example.com/cb?token=x",
        "deliveryMethod": "sync",
        "numberResults": 4,
        "positivePrompt": "a lighthouse",
    }
    operation = RUNWARE.operation("imageInference")
    assert operation is not None

    prepared = RUNWARE.prepare(operation, given)

    assert prepared.input == {"numberResults": 4, "positivePrompt": "a lighthouse"}
    assert prepared.task_uuid == REF
    assert prepared.reply_ref == REF.upper()
    assert prepared.reply_url == "https://example.com/cb?token=x"
    assert prepared.expected_parts == 4


def test_an_input_without_fields_for_this_service_expects_one_result() -> None:
    prepared = RUNWARE.prepare(CAPTION, {"inputImage": IMAGE, "model": "runware:150@2"})

    assert (prepared.task_uuid, prepared.reply_ref, prepared.reply_url) == (None, None, None)
    assert prepared.expected_parts == 1


@pytest.mark.parametrize("more", [{}, {"status": "success"}])
def test_the_files_of_a_3d_model_are_read_from_a_list(more: dict[str, str]) -> None:
    files = [
        {"uuid": OTHER, "url": "https://im.runware.ai/m1.glb"},
        {"uuid": IMAGE, "url": "https://im.runware.ai/m1.png"},
        {"uuid": REF, "url": "javascript:alert(1)"},
    ]
    item = {"taskType": "3dInference", "taskUUID": REF, "outputs": {"files": files}, **more}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.status is Status.SUCCEEDED
    assert report.output == Output(
        artifacts=(
            Artifact(
                id=OTHER,
                kind="model",
                url="https://im.runware.ai/m1.glb",
                media_type="model/gltf-binary",
            ),
            Artifact(
                id=IMAGE,
                kind="image",
                url="https://im.runware.ai/m1.png",
                media_type="image/png",
            ),
        )
    )


def test_the_output_of_a_training_is_data() -> None:
    item = {"taskType": "training", "taskUUID": REF, "outputs": {"model": "acme:1@1"}}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.output == Output(data={"model": "acme:1@1"})


def test_tasks_are_sent_in_one_array_even_if_there_is_only_one() -> None:
    call = RUNWARE.submit([build_task(), build_task(OTHER, "caption", seed=2**64)])

    assert (call.method, call.path) == ("POST", "")
    assert json.loads(call.body or b"") == [
        {
            "inputImage": IMAGE,
            "model": "runware:150@2",
            "taskType": "imageCaption",
            "taskUUID": REF,
            "deliveryMethod": "async",
            "webhookURL": CALLBACK_URL,
        },
        {
            "seed": 2**64,
            "taskType": "caption",
            "taskUUID": OTHER,
            "deliveryMethod": "async",
            "webhookURL": CALLBACK_URL,
        },
    ]


CONTENT = {
    "unlisted_type": {"depthMap": {"nearest": 0.2, "farthest": 18.5}, "unit": "m"},
    "model_search": {"results": items_of("model_search")[0]["results"], "totalResults": 1},
    "model_upload_ready": {
        "status": "ready",
        "message": "The model is ready.",
        "air": "acme:68487@1",
    },
}


@pytest.mark.parametrize("name", CONTENT)
def test_the_content_of_an_unlisted_task_type_is_the_data_of_the_output(name: str) -> None:
    (answered,) = reports_of(answers(200, payload(name))[REF])

    assert output(name) == Output(data=CONTENT[name])
    assert answered == callback(name)


def test_the_operation_is_the_task_type_of_an_answer_without_one() -> None:
    item = {"taskUUID": REF, "depth": 3, "cost": 0.5}
    reply = Reply(status=200, headers={}, body=json.dumps({"data": [item]}).encode())

    unlisted = RUNWARE.read_answer(reply, [build_task(REF, "aTypeOfTomorrow")])
    listed = RUNWARE.read_answer(reply, [build_task(REF, "imageInference")])

    (report,) = reports_of(unlisted[REF])
    assert (report.output, report.cost_usd) == (Output(data={"depth": 3}), 0.5)
    assert listed[REF] == Report(refs=(REF,), status=Status.SUBMITTED)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"status": "processing", "depth": 3},
        {"status": "queued", "depth": 3},
        {"status": "pondering", "depth": 3},
        {"message": "accepted"},
        {"progress": 40, "cost": None, "depth": None},
    ],
)
def test_an_acknowledgement_of_an_unlisted_task_type_is_no_result(more: dict[str, Any]) -> None:
    item = {"taskType": "aTypeOfTomorrow", "taskUUID": REF, **more}
    body = json.dumps({"data": [item]}).encode()

    answer = answers(200, body)[REF]
    (report,) = RUNWARE.read_callback(body, {})

    assert isinstance(answer, Report)
    assert answer.status in (Status.SUBMITTED, Status.RUNNING)
    assert (report.part, report.output) == (None, None)


@pytest.mark.parametrize("status", ["validated", "downloaded", "optimized"])
def test_a_model_upload_runs_until_the_model_is_ready(status: str) -> None:
    name = f"model_upload_{status}"
    report = callback(name)

    answer = answers(200, payload(name))[REF]

    assert (report.status, report.provider_status, report.part) == (Status.RUNNING, status, None)
    assert answer == Report(refs=(REF,), status=Status.RUNNING, provider_status=status)


def test_a_model_upload_ends_when_the_model_is_ready() -> None:
    names = [f"model_upload_{status}" for status in ("validated", "downloaded", "optimized")]

    before = apply_callbacks(build_job(1), *names)
    after = apply_callbacks(before, "model_upload_ready", "model_upload_optimized")

    assert (before.status, after.status) == (Status.RUNNING, Status.SUCCEEDED)
    assert after.output == Output(data=CONTENT["model_upload_ready"])


def test_a_ready_model_needs_no_further_content() -> None:
    item = {"taskType": "modelUpload", "taskUUID": REF, "status": "ready"}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.output == Output(data={"status": "ready"})


def test_a_failed_model_upload_is_a_failure() -> None:
    assert failure("model_upload_failed").message == "The file is not a safetensors file."


def test_an_uploaded_image_has_no_url_so_its_uuid_is_data() -> None:
    (report,) = reports_of(answers(200, payload("upload_uuid_only"))[REF])

    assert report.output == Output(data={"imageUUID": IMAGE})


def test_acknowledged_tasks_are_submitted() -> None:
    assert answers(200, payload("acknowledgement_of_two"), (REF, OTHER)) == {
        REF: Report(refs=(REF,), status=Status.SUBMITTED),
        OTHER: Report(refs=(OTHER,), status=Status.SUBMITTED),
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("processing", Status.RUNNING),
        ("pending", Status.SUBMITTED),
        ("unknown_status", Status.SUBMITTED),
        ("success_without_result", Status.SUBMITTED),
    ],
)
def test_the_status_in_an_acknowledgement_is_used(name: str, status: Status) -> None:
    report = answers(200, payload(name))[REF]

    assert isinstance(report, Report)
    assert (report.status, report.part) == (status, None)


@pytest.mark.parametrize("status", [200, 400])
def test_one_task_of_an_array_can_be_rejected_alone(status: int) -> None:
    both = answers(status, payload("one_accepted_one_refused"), (REF, OTHER))

    error = refusal(both[REF])
    assert (error.code, error.provider_code) == (ErrorCode.INVALID_INPUT, "invalidInputImage")
    assert (error.stage, error.retryable) == (ErrorStage.SUBMIT, False)
    assert both[OTHER] == Report(refs=(OTHER,), status=Status.SUBMITTED)


def test_an_error_without_a_uuid_applies_to_every_task_without_an_item_of_its_own() -> None:
    body = {"data": [{"taskUUID": OTHER}], "errors": [{"code": "insufficientCredits"}]}

    both = answers(200, json.dumps(body).encode(), (REF, OTHER))

    assert isinstance(both[REF], AccountRefused)
    assert both[OTHER] == Report(refs=(OTHER,), status=Status.SUBMITTED)


@pytest.mark.parametrize("status", [200, 400, 409])
@pytest.mark.parametrize("name", ["error_conflict", "error_conflict_without_uuid"])
def test_a_task_whose_uuid_is_in_use_was_accepted_before(status: int, name: str) -> None:
    assert answers(status, payload(name))[REF] == Report(status=Status.SUBMITTED)


def test_a_conflict_without_a_uuid_is_inconclusive_for_several_tasks() -> None:
    both = answers(200, payload("error_conflict_without_uuid"), (REF, OTHER))

    assert isinstance(both[REF], Inconclusive)
    assert isinstance(both[OTHER], Inconclusive)


def test_a_task_that_is_not_in_the_answer_is_inconclusive() -> None:
    both = answers(200, payload("acknowledgement"), (REF, OTHER))

    assert isinstance(both[OTHER], Inconclusive)


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"{}", b'{"data": []}', b"\xff"])
def test_a_2xx_answer_without_a_task_is_inconclusive(body: bytes) -> None:
    assert isinstance(answers(200, body)[REF], Inconclusive)


def test_a_result_in_the_answer_is_read() -> None:
    assert answers(200, payload("caption_in_data"))[REF] == (callback("caption_in_data"),)


def test_all_results_in_the_answer_are_read() -> None:
    answer = answers(200, data_of("image_1_of_4", "image_2_of_4"))[REF]

    expected = [callback("image_1_of_4"), callback("image_2_of_4")]
    assert answer == tuple(replace(report, provider_status=None) for report in expected)


def test_results_in_the_answer_belong_to_their_tasks() -> None:
    other = json.loads(payload("image_2_of_4"))["data"][0] | {"taskUUID": OTHER}
    first = json.loads(payload("image_1_of_4"))["data"][0]
    body = json.dumps({"data": [first, other]}).encode()

    both = answers(200, body, (REF, OTHER))

    assert both[REF] == (callback("image_1_of_4"),)
    assert [report.refs for report in reports_of(both[OTHER])] == [(OTHER,)]


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_beside_a_result_in_the_answer_is_a_failed_part(status: int) -> None:
    good, bad = reports_of(answers(status, payload("part_failed_part_succeeded"))[REF])

    assert (good, bad) == tuple(callbacks("part_failed_part_succeeded"))
    assert apply_reports_to(build_job(2), good, bad).status is Status.SUCCEEDED


def test_an_error_without_a_uuid_beside_a_result_is_of_the_only_task() -> None:
    image = json.loads(payload("image_1_of_4"))["data"][0]
    body = {"data": [image], "errors": [{"code": "inferenceError", "message": "failed"}]}

    good, bad = reports_of(answers(200, json.dumps(body).encode())[REF])

    assert (good.status, bad.status) == (Status.SUCCEEDED, Status.FAILED)
    assert None not in (good.part, bad.part)


def test_an_error_of_one_of_several_accepted_results_is_a_failed_part() -> None:
    body = {
        "data": [{"taskType": "imageInference", "taskUUID": REF}],
        "errors": [{"taskUUID": REF, "code": "inferenceError", "message": "failed"}],
    }
    reply = Reply(status=200, headers={}, body=json.dumps(body).encode())

    several = RUNWARE.read_answer(reply, [build_task(REF, "imageInference", numberResults=2)])
    single = RUNWARE.read_answer(reply, [build_task(REF, "imageInference")])

    (failed_part,) = reports_of(several[REF])
    assert (failed_part.status, failed_part.part is None) == (Status.FAILED, False)
    assert refusal(single[REF]).provider_code == "inferenceError"


def test_a_result_beside_a_part_in_progress_is_read() -> None:
    body = {"data": [{"taskUUID": REF, "status": "processing"}, *items_of("image_1_of_4")]}

    assert answers(200, json.dumps(body).encode())[REF] == (callback("image_1_of_4"),)


@pytest.mark.parametrize("unreadable", [5, "", "javascript:alert(1)", {}])
def test_a_result_that_cannot_be_read_leaves_the_task_submitted(unreadable: object) -> None:
    """Its callback, or the lookup at the deadline, tells what it is."""
    item = {"taskType": "imageInference", "taskUUID": REF, "imageURL": unreadable}
    alone = json.dumps({"data": [item]}).encode()
    beside = json.dumps({"data": [item, *items_of("image_1_of_4")]}).encode()

    assert answers(200, alone)[REF] == Report(refs=(REF,), status=Status.SUBMITTED)
    assert answers(200, beside)[REF] == (callback("image_1_of_4"),)


@pytest.mark.parametrize(
    ("status", "name", "code", "provider_code", "retryable"),
    [
        (400, "error_moderated", ErrorCode.MODERATED, "nsfwContentDetected", False),
        (200, "error_unknown_code", ErrorCode.PROVIDER_ERROR, "oddity", False),
        (500, "error_unknown_code", ErrorCode.PROVIDER_ERROR, "500", True),
        (403, "error_text_without_task", ErrorCode.INVALID_INPUT, "403", False),
        (404, "error_plain", ErrorCode.INVALID_INPUT, "404", False),
        (200, "error_flat_without_status", ErrorCode.TIMED_OUT, "timeoutProvider", True),
    ],
)
def test_a_rejected_submit_fails_the_job_with_an_error_code(
    status: int, name: str, code: ErrorCode, provider_code: str, *, retryable: bool
) -> None:
    error = refusal(answers(status, payload(name))[REF])

    assert (error.code, error.provider_code) == (code, provider_code)
    assert (error.retryable, error.stage) == (retryable, ErrorStage.SUBMIT)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, payload("error_rate_limit")),
        (429, payload("error_rate_limit")),
        (429, payload("error_unknown_code")),
        (503, payload("error_unknown_code")),
        (504, payload("error_flat_without_status")),
        (429, b""),
        (503, b"<html>"),
    ],
)
def test_a_busy_provider_is_called_again_later(status: int, body: bytes) -> None:
    busy = answers(status, body, headers={"retry-after": "3"})[REF]

    assert isinstance(busy, RetryLater)
    assert busy.retry_after_seconds == 3.0


@pytest.mark.parametrize(
    "name",
    [
        "caption_in_data",
        "caption_flat",
        "caption_in_a_list",
        "caption_in_data_object",
        "caption_named_by_its_envelope",
        "caption_upper_case_uuid",
    ],
)
def test_a_caption_is_read_from_any_envelope(name: str) -> None:
    report = callback(name)

    assert report.refs == (REF,)
    assert report.cost_usd == 0.0
    assert (output(name).text or "").startswith("arafed troll in the jungle")
    assert report.part == callback("caption_flat").part


@pytest.mark.parametrize("name", ["age_in_data", "age_flat_with_text"])
def test_structured_data_replaces_text(name: str) -> None:
    found = output(name)

    assert found.data == {"ageGroup": "13-20", "confidence": 79.65}
    assert found.text is None


def test_four_images_of_one_task_are_four_parts() -> None:
    names = [f"image_{number}_of_4" for number in (1, 2, 3, 4)]

    parts = {callback(name).part for name in names}

    assert len(parts) == 4


def test_an_image_is_an_artifact_with_its_cost() -> None:
    report = callback("image_1_of_4")

    assert report.cost_usd == 0.0013
    assert report.provider_status == "success"
    assert report.output == Output(
        artifacts=(
            Artifact(
                id="6963a97e-f017-408b-a447-6345ec31a4f0",
                kind="image",
                url="https://im.runware.ai/image/ws/2/ii/6963a97e-0.jpg",
                media_type="image/jpeg",
                seed=18446744073709551615,
                nsfw=False,
            ),
        )
    )


def test_an_image_that_the_provider_considers_unsafe_is_marked() -> None:
    (artifact,) = output("image_nsfw").artifacts

    assert artifact.nsfw is True


@pytest.mark.parametrize(
    ("given", "seed"),
    [
        (7, 7),
        (0, 0),
        ("18446744073709551615", 18446744073709551615),
        (18446744073709551616, None),
        (-1, None),
        (7.5, None),
        (True, None),
        ("x", None),
        (None, None),
    ],
)
@pytest.mark.parametrize(("verdict", "nsfw"), [(True, True), (False, False), ("no", None)])
def test_the_seed_and_the_verdict_are_read_with_care(
    given: object, seed: int | None, verdict: object, *, nsfw: bool | None
) -> None:
    item = {"taskUUID": REF, "imageURL": "https://im.runware.ai/1.jpg", "seed": given}
    body = json.dumps({**item, "NSFWContent": verdict}).encode()

    (report,) = RUNWARE.read_callback(body, {})

    assert report.output is not None
    (artifact,) = report.output.artifacts
    assert (artifact.seed, artifact.nsfw, artifact.expires_at) == (seed, nsfw, None)


def test_the_seed_of_a_listed_file_is_that_of_the_result() -> None:
    outputs = {"files": [{"uuid": "m1", "url": "https://im.runware.ai/m1.glb"}]}
    item = {"taskType": "3dInference", "taskUUID": REF, "outputs": outputs, "seed": 7}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.output is not None
    assert [artifact.seed for artifact in report.output.artifacts] == [7]


@pytest.mark.parametrize(
    ("progress", "ratio"),
    [(0, 0.0), (100, 1.0), ("45", 0.45), (101, None), (-1, None), ("much", None), (None, None)],
)
def test_progress_beyond_0_to_100_is_ignored(progress: object, ratio: float | None) -> None:
    item = {"taskUUID": REF, "status": "processing", "progress": progress}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.progress == ratio


def test_the_status_of_one_of_several_results_is_not_that_of_the_task() -> None:
    several = callbacks("poll_so_far")
    (single,) = callbacks("image_1_of_4")

    assert [report.provider_status for report in several] == [None, "processing", None]
    assert single.provider_status == "success"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"structuredData": {"ageGroup": "13-20"}, "text": "x"},
            Output(data={"ageGroup": "13-20"}),
        ),
        ({"structuredData": [1], "text": "x"}, Output(data=[1])),
        ({"structuredData": "13-20", "text": "x"}, Output(data={"structuredData": "13-20"})),
        ({"structuredData": 0, "text": "x"}, Output(data={"structuredData": 0})),
        ({"structuredData": False, "result": {"a": 1}}, Output(data={"structuredData": False})),
        ({"structuredData": None, "text": "x"}, Output(text="x")),
        ({"structuredData": {}, "text": "x"}, Output(text="x")),
        ({"structuredData": " ", "text": "x"}, Output(text="x")),
        ({"result": {"a": 1}, "text": "x"}, Output(data={"a": 1})),
    ],
)
def test_structured_data_is_read_before_text(fields: dict[str, Any], expected: Output) -> None:
    item = {"taskType": "imageCaption", "taskUUID": REF, **fields}

    (report,) = RUNWARE.read_callback(json.dumps(item).encode(), {})

    assert report.output == expected


MODERATION_MESSAGES = [
    "NSFW content detected",
    "The prompt was rejected by our content policy.",
    "Violates the provider's content policies",
    "Your request was flagged.",
    "This image was moderated",
    "Blocked by the safety system",
    "A safety filter was triggered",
    "Sensitive content is not allowed",
    "unsafe content in the image",
    "inappropriate content",
    "It contains prohibited words: explicit content",
]


@pytest.mark.parametrize("message", MODERATION_MESSAGES)
@pytest.mark.parametrize("form", ["errors", "flat", "nested", "text"])
def test_a_moderation_without_a_code_is_recognized_by_its_message(form: str, message: str) -> None:
    forms: dict[str, dict[str, Any]] = {
        "errors": {"errors": [{"message": message, "taskUUID": REF}]},
        "flat": {"taskUUID": REF, "status": "error", "message": message},
        "nested": {"data": [{"taskUUID": REF, "status": "error", "error": {"message": message}}]},
        "text": {"taskUUID": REF, "error": message},
    }
    encoded = json.dumps(forms[form]).encode()

    (report,) = RUNWARE.read_callback(encoded, {})
    refused = [refusal(answers(status, encoded)[REF]) for status in (200, 400)]

    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (ErrorCode.MODERATED, False)
    assert report.error.message == message
    assert [error.code for error in refused] == [ErrorCode.MODERATED] * 2


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (None, "Something failed.", ErrorCode.PROVIDER_ERROR),
        (None, "The safety of your key is your business.", ErrorCode.PROVIDER_ERROR),
        ("oddity", "NSFW content detected", ErrorCode.MODERATED),
        ("rateLimitExceeded", "Too many NSFW requests", ErrorCode.RATE_LIMITED),
    ],
)
def test_a_known_code_counts_more_than_the_message(
    code: str | None, message: str, expected: ErrorCode
) -> None:
    error = {"code": code, "message": message, "taskUUID": REF}

    (report,) = RUNWARE.read_callback(json.dumps({"errors": [error]}).encode(), {})

    assert report.error is not None
    assert report.error.code is expected


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("image_with_result_index", "2"),
        ("image_1_of_4", "6963a97e-f017-408b-a447-6345ec31a4f0"),
        ("image_by_url", "https://im.runware.ai/image/ws/2/ii/6963a97e-0.jpg"),
    ],
)
def test_the_key_of_a_part_is_its_index_uuid_or_url(name: str, part: str) -> None:
    assert callback(name).part == part


@pytest.mark.parametrize(
    ("name", "kind", "url", "media_type"),
    [
        ("video", "video", "https://vm.runware.ai/video/ws/0.5/vi/b7db282d.mp4", "video/mp4"),
        ("audio", "audio", "https://am.runware.ai/audio/a1.mp3", "audio/mpeg"),
        ("model", "model", "https://im.runware.ai/m1.glb", "model/gltf-binary"),
        ("media", "video", "https://vm.runware.ai/s1.mp4", "video/mp4"),
        ("image_nsfw", "image", "https://im.runware.ai/image/ws/2/ii/6963a97e-0.jpg", "image/jpeg"),
        ("image_data_uri", "image", "data:image/webp;base64,UklGRiQAAABXRUJQ", "image/webp"),
        (
            "image_base64",
            "image",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==",
            "image/png",
        ),
    ],
)
def test_each_kind_of_file_is_an_artifact(name: str, kind: str, url: str, media_type: str) -> None:
    (artifact,) = output(name).artifacts

    assert (artifact.kind, artifact.url, artifact.media_type) == (kind, url, media_type)


def test_inline_data_of_an_unknown_format_is_still_kept() -> None:
    body = json.dumps({"taskUUID": REF, "audioBase64Data": "SUQzBA"}).encode()

    (report,) = RUNWARE.read_callback(body, {})

    assert report.output is not None
    assert report.output.artifacts == (
        Artifact(
            kind="audio",
            url="data:application/octet-stream;base64,SUQzBA",
            media_type="application/octet-stream",
        ),
    )


def test_a_cost_may_be_a_string() -> None:
    assert callback("video").cost_usd == 0.18


def test_a_text_result_is_the_text_of_the_output() -> None:
    assert output("text_result").text == "A poem."


def test_success_without_a_result_is_a_failure() -> None:
    error = failure("success_without_result")

    assert (error.code, error.retryable) == (ErrorCode.NO_OUTPUT, True)


@pytest.mark.parametrize(
    ("name", "status", "progress"),
    [
        ("processing", Status.RUNNING, None),
        ("processing_with_progress", Status.RUNNING, 0.45),
        ("pending", Status.SUBMITTED, None),
        ("acknowledgement", Status.RUNNING, None),
        ("unknown_status", None, None),
    ],
)
def test_a_task_in_progress_is_no_part(
    name: str, status: Status | None, progress: float | None
) -> None:
    report = callback(name)

    assert (report.status, report.progress, report.part) == (status, progress, None)
    assert report.refs == (REF,)


@pytest.mark.parametrize(
    ("name", "code", "provider_code", "retryable"),
    [
        ("error_in_errors", ErrorCode.INVALID_INPUT, "invalidInputImage", False),
        ("error_beside_empty_data", ErrorCode.INVALID_INPUT, "invalidInputImage", False),
        ("error_flat", ErrorCode.INVALID_INPUT, "invalidInputImage", False),
        ("error_flat_without_status", ErrorCode.TIMED_OUT, "timeoutProvider", True),
        ("error_nested", ErrorCode.PROVIDER_ERROR, "providerError", True),
        ("error_nested_list", ErrorCode.MODERATED, "invalidProviderContent", False),
        ("error_object_without_task", ErrorCode.PROVIDER_ERROR, None, False),
        ("error_text", ErrorCode.PROVIDER_ERROR, None, False),
        ("error_text_without_task", ErrorCode.PROVIDER_ERROR, None, False),
        ("error_list_without_task", ErrorCode.INVALID_INPUT, "invalidInputImage", False),
        ("errors_of_text", ErrorCode.PROVIDER_ERROR, None, False),
        ("errors_without_uuid", ErrorCode.INSUFFICIENT_CREDITS, "insufficientCredits", False),
        ("error_moderated", ErrorCode.MODERATED, "nsfwContentDetected", False),
        ("error_rate_limit", ErrorCode.RATE_LIMITED, "rateLimitExceeded", True),
        ("error_unknown_code", ErrorCode.PROVIDER_ERROR, "oddity", False),
    ],
)
def test_an_error_is_read_from_any_form(
    name: str, code: ErrorCode, provider_code: str | None, *, retryable: bool
) -> None:
    error = failure(name)

    assert (error.code, error.provider_code) == (code, provider_code)
    assert (error.retryable, error.stage) == (retryable, ErrorStage.PROVIDER)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("error_in_errors", "The image could not be read."),
        ("error_nested", "The provider failed."),
        ("error_text", "Something failed."),
        ("errors_of_text", "Something failed."),
    ],
)
def test_an_error_has_the_message_of_the_provider(name: str, message: str) -> None:
    assert failure(name).message == message


def test_a_model_id_in_a_message_is_not_masked() -> None:
    body = {"errors": [{"code": "invalidModel", "message": "No model runware:150@2 here."}]}

    (report,) = RUNWARE.read_callback(json.dumps(body).encode(), {})

    assert report.error is not None
    assert report.error.message == "No model runware:150@2 here."


def test_a_conflict_in_a_callback_changes_nothing() -> None:
    assert callback("error_conflict") == Report(refs=(REF,))


def test_a_partly_failed_task_has_a_succeeded_and_a_failed_part() -> None:
    good, bad = callbacks("part_failed_part_succeeded")

    assert (good.status, bad.status) == (Status.SUCCEEDED, Status.FAILED)
    assert good.part != bad.part


def test_a_flat_result_is_read_together_with_errors_of_other_parts() -> None:
    reports = callbacks("flat_result_beside_errors")

    assert {report.status for report in reports} == {Status.SUCCEEDED, Status.FAILED}
    assert all(report.refs == (REF,) for report in reports)


def test_the_results_so_far_include_parts_in_progress() -> None:
    reports = callbacks("poll_so_far")

    assert [(report.status, report.part) for report in reports] == [
        (Status.SUCCEEDED, "0"),
        (Status.RUNNING, None),
        (Status.FAILED, "1"),
    ]


def test_a_job_of_four_ends_with_the_fourth_image() -> None:
    three = apply_callbacks(
        build_job(4), "image_1_of_4", "image_2_of_4", "image_2_of_4", "image_3_of_4"
    )

    four = apply_callbacks(three, "image_4_of_4")

    assert (three.status, len(three.received_parts)) == (Status.SUBMITTED, 3)
    assert four.status is Status.SUCCEEDED
    assert four.output is not None
    assert len(four.output.artifacts) == 4
    assert four.cost_usd == 0.0052


def test_two_equal_errors_are_two_parts() -> None:
    job = apply_callbacks(build_job(2), "two_alike_failures")

    assert job.status is Status.FAILED


def test_repeated_errors_add_no_parts() -> None:
    job = apply_callbacks(build_job(3), "two_alike_failures", "two_alike_failures")

    assert len(job.received_parts) == 2


@pytest.mark.parametrize("name", ["error_nested", "error_beside_empty_data"])
def test_a_job_with_one_part_fails_with_it(name: str) -> None:
    assert apply_callbacks(build_job(1), name).status is Status.FAILED


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("insufficientCredits", ErrorCode.INSUFFICIENT_CREDITS, False),
        ("quotaExceeded", ErrorCode.INSUFFICIENT_CREDITS, False),
        ("rateLimitExceeded", ErrorCode.RATE_LIMITED, True),
        ("providerRateLimitExceeded", ErrorCode.RATE_LIMITED, True),
        ("contentPolicyViolation", ErrorCode.MODERATED, False),
        ("providerContentPolicyViolation", ErrorCode.MODERATED, False),
        ("sensitiveContentDetected", ErrorCode.MODERATED, False),
        ("nsfwContentDetected", ErrorCode.MODERATED, False),
        ("unsafeContentDetected", ErrorCode.MODERATED, False),
        ("promptBlocked", ErrorCode.MODERATED, False),
        ("imageBlocked", ErrorCode.MODERATED, False),
        ("moderationFailed", ErrorCode.MODERATED, False),
        ("invalidProviderContent", ErrorCode.MODERATED, False),
        ("invalidApiKey", ErrorCode.UNAUTHORIZED, False),
        ("unauthorizedAccess", ErrorCode.UNAUTHORIZED, False),
        ("inferenceTimeout", ErrorCode.TIMED_OUT, True),
        ("timeoutProvider", ErrorCode.TIMED_OUT, True),
        ("timeout", ErrorCode.TIMED_OUT, True),
        ("modelNotFound", ErrorCode.INVALID_INPUT, False),
        ("urlExpired", ErrorCode.INVALID_INPUT, False),
        ("taskCancelled", ErrorCode.PROVIDER_ERROR, False),
        ("internalServerError", ErrorCode.PROVIDER_ERROR, True),
        ("providerError", ErrorCode.PROVIDER_ERROR, True),
        ("inferenceError", ErrorCode.PROVIDER_ERROR, True),
        ("noAvailableServer", ErrorCode.PROVIDER_ERROR, True),
        ("modelNotReady", ErrorCode.PROVIDER_ERROR, True),
        ("invalidInputImage", ErrorCode.INVALID_INPUT, False),
        ("missingModel", ErrorCode.INVALID_INPUT, False),
        ("unsupportedParameter", ErrorCode.INVALID_INPUT, False),
        ("maxLengthExceeded", ErrorCode.INVALID_INPUT, False),
    ],
)
def test_each_class_of_error_codes_is_recognized(
    code: str, kind: ErrorCode, *, retryable: bool
) -> None:
    assert classify(code) == (kind, retryable)


@pytest.mark.parametrize("code", [None, "", "oddity"])
def test_an_unknown_error_code_has_no_class(code: str | None) -> None:
    assert classify(code) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"[]", b"{}", b"0", b'"text"', b"true", b"<html>", b"\xff\xfe"),
        *(b'{"data": []}', b'{"data": [], "errors": []}', b'{"data": null}', b"[[], null, 5]"),
        *(b'{"data": [{"foo": 1}]}', b'{"foo": 1}', b'{"error": null}', b'{"taskUUID": null}'),
        *(b"[" * 5000, b'{"data":' * 100 + b"1" + b"}" * 100, b'{"taskUUID": "t"'),
    ],
)
def test_a_body_without_a_task_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        RUNWARE.read_callback(body, {})


@settings(deadline=None)
@given(TASK_LIKE_JSON)
def test_any_json_is_read_or_unreadable(value: object) -> None:
    body = msgspec.json.encode(value)

    try:
        reports = RUNWARE.read_callback(body, {})
    except UnreadableJson:
        return

    assert reports
    assert all(isinstance(report, Report) for report in reports)
    assert all(
        (report.status in (Status.SUCCEEDED, Status.FAILED)) == (report.part is not None)
        for report in reports
    )


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        reports = RUNWARE.read_callback(body, {})
    except UnreadableJson:
        return

    assert reports


@settings(deadline=None)
@given(st.integers(100, 999), TASK_LIKE_JSON.map(msgspec.json.encode) | st.binary())
def test_every_task_gets_an_answer(status: int, body: bytes) -> None:
    both = answers(status, body, (REF, OTHER))

    assert both.keys() == {REF, OTHER}
    for answer in both.values():
        assert isinstance(answer, Report | tuple | RetryLater | AccountRefused | Inconclusive)
        assert answer != (), "an answer has at least one report"
