"""Replicate: requests, predictions in every state, outputs of every type, errors."""

import base64
import json
from typing import Any

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.kit.coercion import MAX_ITEMS
from service.providers.protocol import (
    Answer,
    Call,
    Inconclusive,
    LostAnswerPolicy,
    ProviderTask,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.providers.refusals import AccountRefused, RefusalScope
from service.providers.replicate.provider import Replicate
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

REPLICATE = Replicate()
CREATE = REPLICATE.operations["predictions.create"]
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
ID = "ufawqhfynnddngldkgtslldrkq"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
CALLBACK_URL = f"https://belfry.example/callbacks/replicate/{REF}?t=1.abc"
FILES = "https://replicate.delivery/pbxt/bell"
EXPIRY = "2026-01-31T13:00:05.304Z"
INPUT = {"version": VERSION, "input": {"prompt": "a bell"}}


def payload(name: str) -> bytes:
    return (PAYLOADS / "replicate" / f"{name}.json").read_bytes()


def read(name: str) -> Report:
    (report,) = REPLICATE.read_callback(payload(name), {})
    return report


def output_of(name: str) -> Output:
    report = read(name)
    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    return report.output


def submit(given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Prepare and submit *given*; return the path and the body of the request."""
    prepared = REPLICATE.prepare(CREATE, given)
    task = ProviderTask(
        ref=REF, operation=CREATE.name, input=prepared.input, callback_url=CALLBACK_URL
    )
    call = REPLICATE.submit([task])
    assert call.method == "POST"
    assert call.body is not None
    return call.path, json.loads(call.body)


def answer(status: int, body: bytes, **headers: str) -> Answer:
    task = ProviderTask(ref=REF, operation=CREATE.name, input=INPUT, callback_url=CALLBACK_URL)
    reply = Reply(status=status, headers=headers, body=body)
    return REPLICATE.read_answer(reply, [task])[REF]


def errors_of(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        REPLICATE.prepare(CREATE, given)
    return {error.path: error.message for error in caught.value.errors}


def test_a_version_is_sent_with_our_url_and_the_events_of_start_and_end() -> None:
    assert submit(INPUT) == (
        "/predictions",
        {
            "version": VERSION,
            "input": {"prompt": "a bell"},
            "webhook": CALLBACK_URL,
            "webhook_events_filter": ["start", "completed"],
        },
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (
            {"model": "black-forest-labs/flux-1.1-pro"},
            "/models/black-forest-labs/flux-1.1-pro/predictions",
        ),
        ({"deployment": "acme/bells"}, "/deployments/acme/bells/predictions"),
    ],
)
def test_a_model_or_a_deployment_is_named_in_the_path(target: dict[str, str], path: str) -> None:
    sent_to, body = submit({**target, "input": {}})

    assert sent_to == path
    assert body.keys() == {"input", "webhook", "webhook_events_filter"}


def test_the_events_of_the_client_are_sent_with_the_end_that_the_service_needs() -> None:
    _, body = submit({**INPUT, "webhook_events_filter": ["logs"]})

    assert body["webhook_events_filter"] == ["logs", "completed"]


def test_the_clients_webhook_gets_the_events_of_the_job() -> None:
    prepared = REPLICATE.prepare(CREATE, {**INPUT, "webhook": "https://example.com/hook"})

    assert prepared.reply_url == "https://example.com/hook"
    assert prepared.input == INPUT


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"input": {}}, "input.version", "exactly one"),
        ({**INPUT, "model": "a/b"}, "input.model", "exactly one"),
        ({**INPUT, "deployment": "a/b"}, "input.deployment", "exactly one"),
        ({"version": VERSION}, "input.input", "required"),
        ({**INPUT, "input": "a bell"}, "input.input", "an object"),
        ({"model": "flux", "input": {}}, "input.model", "owner/name"),
        ({"model": "../..", "input": {}}, "input.model", "owner/name"),
        ({"deployment": "a/..", "input": {}}, "input.deployment", "owner/name"),
        ({**INPUT, "webhook": "nowhere"}, "input.webhook", "URL"),
        ({**INPUT, "webhook_events_filter": "logs"}, "input.webhook_events_filter", "an array"),
        ({**INPUT, "webhook_events_filter": ["end"]}, "input.webhook_events_filter", "completed"),
        ({**INPUT, "webhook_events_filter": [{}]}, "input.webhook_events_filter", "completed"),
    ],
)
def test_an_invalid_input_is_refused_with_the_field_and_what_it_must_be(
    given: dict[str, Any], path: str, message: str
) -> None:
    errors = errors_of(given)

    assert list(errors) == [path]
    assert message in errors[path]


def test_all_errors_of_an_input_are_reported_at_once() -> None:
    assert errors_of({"webhook": "nowhere"}).keys() == {
        *("input.version", "input.input", "input.webhook")
    }


def test_a_lost_answer_is_awaited_because_a_second_request_is_a_second_prediction() -> None:
    assert CREATE.on_lost_answer is LostAnswerPolicy.AWAIT
    assert REPLICATE.lookup(build_job(ref=REF), 0) is None


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("starting", Status.SUBMITTED),
        ("answer_nine_digits", Status.SUBMITTED),
        ("processing", Status.RUNNING),
        ("succeeded_text", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("canceled", Status.CANCELED),
        ("aborted", Status.CANCELED),
        ("unknown_status", None),
    ],
)
def test_a_prediction_is_read_in_each_state(name: str, status: Status | None) -> None:
    report, body = read(name), json.loads(payload(name))

    assert report.status is status
    assert report.provider_status == body["status"]
    assert report.task_id == body["id"]
    assert report.refs == ()


def test_the_progress_is_that_of_the_last_progress_bar_in_the_logs() -> None:
    report = read("processing_with_progress")

    assert (report.status, report.progress) == (Status.RUNNING, 0.62)
    assert report.output is None


def test_the_durations_are_kept_as_facts_of_the_provider() -> None:
    assert read("succeeded_files").provider_info == {"predict_time": 3.804328, "total_time": 4.31}
    assert read("starting").provider_info is None


def test_urls_are_artifacts_of_the_kind_of_their_media_type_and_expire_after_an_hour() -> None:
    assert output_of("succeeded_files").artifacts == (
        Artifact(kind="image", url=f"{FILES}/out-0.png", media_type="image/png", expires_at=EXPIRY),
        Artifact(
            kind="image", url=f"{FILES}/out-1.webp", media_type="image/webp", expires_at=EXPIRY
        ),
    )


@pytest.mark.parametrize(
    ("name", "kind", "url"),
    [
        ("succeeded_one_file", "video", f"{FILES}/output.mp4"),
        ("succeeded_file_without_extension", "file", "https://replicate.delivery/xezq/abc"),
        ("succeeded_data_url", "image", "data:image/png;base64,iVBORw0KGgo="),
        ("succeeded_with_a_gap", "image", f"{FILES}/out-1.png"),
    ],
)
def test_a_single_url_is_an_artifact(name: str, kind: str, url: str) -> None:
    output = output_of(name)

    assert [(one.kind, one.url) for one in output.artifacts] == [(kind, url)]
    assert (output.text, output.data) == (None, None)


def test_a_data_url_does_not_expire() -> None:
    (artifact,) = output_of("succeeded_data_url").artifacts

    assert artifact.expires_at is None
    assert artifact.media_type == "image/png"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("succeeded_text", "hello Alice"),
        ("succeeded_tokens", "A bell rings.\n"),
        ("succeeded_text_that_begins_with_a_url", "https://example.com has a bell"),
        ("succeeded_number", "0.93"),
    ],
)
def test_strings_that_are_no_urls_are_one_text(name: str, text: str) -> None:
    assert output_of(name) == Output(text=text)


@pytest.mark.parametrize(
    ("name", "urls"),
    [
        ("succeeded_object", [f"{FILES}/bell.png", f"{FILES}/bell.mp3"]),
        ("succeeded_list_of_objects", [f"{FILES}/mask.png"]),
        ("succeeded_file_and_text", [f"{FILES}/bell.png"]),
    ],
)
def test_other_outputs_are_data_and_the_urls_in_them_are_artifacts(
    name: str, urls: list[str]
) -> None:
    output = output_of(name)

    assert output.data == json.loads(payload(name))["output"]
    assert [artifact.url for artifact in output.artifacts] == urls
    assert output.text is None


@pytest.mark.parametrize(
    ("completed_at", "expires_at"),
    [
        ("2026-01-31T12:00:05Z", "2026-01-31T13:00:05.000Z"),
        ("2026-01-31T12:00:05.123456789+01:00", "2026-01-31T12:00:05.123Z"),
        ("2026-01-31T12:00:05", None),
        ("9999-12-31T23:59:59Z", None),
        ("soon", None),
        (1769860805, None),
        (None, None),
    ],
)
def test_the_expiry_is_an_hour_after_the_end_if_that_is_known(
    completed_at: Any, expires_at: str | None
) -> None:
    body = {
        **json.loads(payload("succeeded_one_file")),
        "completed_at": completed_at,
    }

    (report,) = REPLICATE.read_callback(json.dumps(body).encode(), {})

    assert report.output is not None
    assert report.output.artifacts[0].expires_at == expires_at


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("succeeded_without_output", "no output"),
        ("succeeded_empty_list", "no output"),
        ("succeeded_data_removed", "deleted"),
    ],
)
def test_a_success_without_output_is_a_failure_that_a_lookup_may_contradict(
    name: str, message: str
) -> None:
    report = read(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert report.error.code is ErrorCode.NO_OUTPUT
    assert message in report.error.message


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (
            "failed",
            JobError(
                code=ErrorCode.PROVIDER_ERROR,
                message="Prediction interrupted; please retry (code: PA)",
                retryable=True,
            ),
        ),
        (
            "failed_with_code",
            JobError(
                code=ErrorCode.PROVIDER_ERROR,
                message="The model ran out of memory (E1001)",
                provider_code="E1001",
                retryable=True,
            ),
        ),
        (
            "failed_nsfw",
            JobError(
                code=ErrorCode.MODERATED,
                message="NSFW content detected. Try running it again, or try a different prompt.",
            ),
        ),
        (
            "failed_sensitive",
            JobError(
                code=ErrorCode.MODERATED,
                message="The input or output was flagged as sensitive. "
                "Please try again with different inputs. (E005)",
                provider_code="E005",
            ),
        ),
        (
            "failed_null",
            JobError(
                code=ErrorCode.PROVIDER_ERROR,
                message="The provider gave no reason.",
                retryable=True,
            ),
        ),
        (
            "failed_object",
            JobError(code=ErrorCode.PROVIDER_ERROR, message="The bell broke.", retryable=True),
        ),
    ],
)
def test_a_failure_is_classified_by_its_text(name: str, error: JobError) -> None:
    assert read(name).error == error


def test_more_urls_than_a_job_may_have_are_unreadable() -> None:
    body = {"id": ID, "status": "succeeded", "output": ["https://a/b.png"] * (MAX_ITEMS + 1)}

    with pytest.raises(UnreadableJson):
        REPLICATE.read_callback(json.dumps(body).encode(), {})


def test_a_text_of_more_tokens_than_a_job_may_have_files_is_read() -> None:
    body = {"id": ID, "status": "succeeded", "output": ["ding "] * (MAX_ITEMS * 5)}

    (report,) = REPLICATE.read_callback(json.dumps(body).encode(), {})

    assert report.output == Output(text="ding " * (MAX_ITEMS * 5))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"hello": 1}', b"<html>"])
def test_what_is_no_prediction_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        REPLICATE.read_callback(body, {})


@pytest.mark.parametrize("name", ["starting", "answer_nine_digits"])
@pytest.mark.parametrize("status", [200, 201, 202])
def test_the_answer_to_a_submit_has_the_id_of_the_prediction(name: str, status: int) -> None:
    accepted = answer(status, payload(name))

    assert isinstance(accepted, Report)
    assert accepted.status is Status.SUBMITTED
    assert accepted.task_id == json.loads(payload(name))["id"]


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        (404, "error_404", ErrorCode.INVALID_INPUT),
        (422, "error_422", ErrorCode.INVALID_INPUT),
        (400, "failed_sensitive", ErrorCode.MODERATED),
    ],
)
def test_a_refused_submit_is_an_error_of_the_job(status: int, name: str, code: ErrorCode) -> None:
    refused = answer(status, payload(name))

    assert isinstance(refused, Report)
    assert refused.error is not None
    assert (refused.error.code, refused.error.retryable) == (code, False)


@pytest.mark.parametrize(
    ("status", "scope"), [(401, RefusalScope.CREDENTIAL), (402, RefusalScope.CREDITS)]
)
def test_a_submit_may_refuse_the_account(status: int, scope: RefusalScope) -> None:
    refused = answer(status, payload(f"error_{status}"))

    assert isinstance(refused, AccountRefused)
    assert refused.scope is scope


def test_a_throttled_submit_is_sent_again() -> None:
    later = answer(429, payload("error_429"), **{"retry-after": "3"})

    assert later == RetryLater(
        message="Request was throttled. Expected available in 1 second.", retry_after_seconds=3.0
    )


@pytest.mark.parametrize(("status", "body"), [(504, b""), (201, b"<html>"), (201, b"{}")])
def test_an_answer_that_may_hide_a_prediction_is_inconclusive(status: int, body: bytes) -> None:
    assert isinstance(answer(status, body), Inconclusive)


def test_a_lookup_asks_for_the_prediction_and_reads_it_as_a_webhook() -> None:
    job = build_job(ref=REF, provider="replicate", provider_task_id=ID)
    reply = Reply(status=200, headers={}, body=payload("succeeded_files"))

    found = REPLICATE.read_lookup(reply, job, 0)

    assert REPLICATE.lookup(job, 0) == Call(method="GET", path=f"/predictions/{ID}")
    assert REPLICATE.lookup(job, 1) is None
    assert isinstance(found, list)
    assert [(one.refs, one.status) for one in found] == [((REF,), Status.SUCCEEDED)]


def test_a_lookup_of_a_deleted_prediction_finds_nothing() -> None:
    job = build_job(ref=REF, provider="replicate", provider_task_id=ID)
    gone = Reply(status=404, headers={}, body=payload("error_404"))
    broken = Reply(status=502, headers={}, body=b"<html>")

    assert isinstance(REPLICATE.read_lookup(gone, job, 0), TaskNotFound)
    assert isinstance(REPLICATE.read_lookup(broken, job, 0), Inconclusive)


def test_the_check_asks_for_the_account() -> None:
    refused = REPLICATE.read_check(Reply(status=401, headers={}, body=payload("error_401")))

    assert REPLICATE.check() == Call(method="GET", path="/account")
    assert REPLICATE.read_check(Reply(status=200, headers={}, body=b"{}")) is None
    assert refused is not None
    assert refused.code is ErrorCode.UNAUTHORIZED


def test_the_secret_of_the_webhooks_is_read() -> None:
    assert REPLICATE.callbacks is not None
    signature = REPLICATE.callbacks.signature
    assert signature is not None

    keys = signature.read_keys(Reply(status=200, headers={}, body=payload("secret")))

    secret = json.loads(payload("secret"))["key"].removeprefix("whsec_")
    assert list(keys) == [base64.b64decode(secret)]
