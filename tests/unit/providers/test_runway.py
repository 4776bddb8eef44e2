"""Runway's own API: its requests, and what its answers and tasks mean."""

import json

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.errors import Invalid
from service.providers.protocol import (
    Inconclusive,
    LostAnswerPolicy,
    ProviderTask,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.providers.runway.provider import Runway, credential
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

RUNWAY = Runway()
TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
GIVEN = {"model": "gen4.5", "promptText": "a lighthouse", "ratio": "1280:720", "duration": 5}
PROVIDER_TASK = ProviderTask(ref="r", operation="text_to_video", input=GIVEN)


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status=status, headers=headers, body=body)


def read(name: str) -> Report:
    body = (PAYLOADS / "runway" / f"task_{name}.json").read_bytes()
    job = build_job(provider="runway", provider_task_id=TASK)
    found = RUNWAY.read_lookup(reply(200, body), job, 0)
    assert not isinstance(found, Inconclusive | TaskNotFound)
    (report,) = found
    return report


@pytest.mark.parametrize(
    ("name", "status", "progress"),
    [
        ("pending", Status.SUBMITTED, None),
        ("throttled", Status.SUBMITTED, None),
        ("running", Status.RUNNING, 0.42),
        ("cancelled", Status.CANCELED, None),
        ("succeeded", Status.SUCCEEDED, None),
        ("unknown_status", None, None),
    ],
)
def test_each_documented_status_is_read(
    name: str, status: Status | None, progress: float | None
) -> None:
    report = read(name)

    assert (report.task_id, report.status, report.progress) == (TASK, status, progress)


def test_every_url_of_a_success_is_an_artifact() -> None:
    output = read("succeeded").output

    assert output is not None
    assert [(file.kind, file.media_type) for file in output.artifacts] == [
        ("video", "video/mp4"),
        ("image", "image/png"),
    ]


@pytest.mark.parametrize(
    ("name", "code", "retryable"),
    [
        ("failed", ErrorCode.PROVIDER_ERROR, True),
        ("failed_without_code", ErrorCode.PROVIDER_ERROR, True),
        ("moderated", ErrorCode.MODERATED, False),
        ("bad_asset", ErrorCode.INVALID_INPUT, False),
        ("without_output", ErrorCode.NO_OUTPUT, True),
    ],
)
def test_each_failure_has_its_code(name: str, code: ErrorCode, *, retryable: bool) -> None:
    report = read(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (code, retryable)


def test_a_task_is_submitted_without_a_callback_url() -> None:
    call = RUNWAY.submit([PROVIDER_TASK])

    assert (call.method, call.path) == ("POST", "/text_to_video")
    assert json.loads(call.body or b"") == GIVEN


def test_each_request_names_the_version_of_the_api() -> None:
    assert credential("t", 0) == {"authorization": "Bearer t", "x-runway-version": "2024-11-06"}


@pytest.mark.parametrize(
    ("prompt", "model", "valid"),
    [
        ("x" * 1000, "gen4.5", True),
        ("x" * 1001, "gen4.5", False),
        ("🔔" * 500, "gen4.5", True),
        ("🔔" * 501, "gen4.5", False),  # two UTF-16 code units each
        ("x" * 3500, "seedance2", True),
        ("x" * 3501, "seedance2", False),
        ("x" * 9000, "a model of tomorrow", True),
    ],
)
def test_a_prompt_is_limited_as_its_model_documents(
    prompt: str, model: str, *, valid: bool
) -> None:
    operation = RUNWAY.operations["text_to_video"]
    given = {**GIVEN, "model": model, "promptText": prompt}
    try:
        RUNWAY.prepare(operation, given)
        errors = []
    except Invalid as exc:
        errors = [error.path for error in exc.errors]

    assert errors == ([] if valid else ["input.promptText"])


def test_the_answer_to_a_submit_is_the_id_of_the_task() -> None:
    answers = RUNWAY.read_answer(reply(200, b'{"id": "%s"}' % TASK.encode()), [PROVIDER_TASK])

    assert answers == {"r": Report(task_id=TASK, status=Status.SUBMITTED)}


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (reply(200, b"{}"), Inconclusive),
        (reply(200, b"<html>"), Inconclusive),
        (reply(504, b"{}"), Inconclusive),
        (reply(429, b"{}", **{"retry-after": "20"}), RetryLater),
        (reply(503, b""), RetryLater),
    ],
)
def test_an_answer_without_a_task_does_not_fail_the_job(answered: Reply, kind: type) -> None:
    assert isinstance(RUNWAY.read_answer(answered, [PROVIDER_TASK])["r"], kind)


def test_a_rejected_input_fails_the_job_with_the_reason() -> None:
    body = b'{"error": "Validation of body failed", "issues": []}'
    report = RUNWAY.read_answer(reply(400, body), [PROVIDER_TASK])["r"]

    assert isinstance(report, Report)
    assert report.error is not None
    assert report.error.code is ErrorCode.INVALID_INPUT
    assert "Validation of body failed" in report.error.message


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (reply(404, b'{"error": "not found"}'), TaskNotFound),
        (reply(500, b"{}"), Inconclusive),
        (reply(200, b"{}"), Inconclusive),
        (reply(200, b'{"status": "SUCCEEDED", "output": [%s0]}' % (b"0," * 1001)), Inconclusive),
    ],
)
def test_a_read_without_the_task_says_so(answered: Reply, kind: type) -> None:
    job = build_job(provider="runway", provider_task_id=TASK)

    assert isinstance(RUNWAY.read_lookup(answered, job, 0), kind)


def test_a_task_is_read_by_its_id_and_not_without_one() -> None:
    call = RUNWAY.lookup(build_job(provider_task_id=TASK), 0)

    assert call is not None
    assert call.path == f"/tasks/{TASK}"
    assert RUNWAY.lookup(build_job(provider_task_id=TASK), 1) is None
    assert RUNWAY.lookup(build_job(), 0) is None


def test_a_lost_answer_fails_the_job_because_the_task_cannot_be_found() -> None:
    policies = {operation.on_lost_answer for operation in RUNWAY.operations.values()}

    assert policies == {LostAnswerPolicy.FAIL}


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (401, False)])
def test_the_credential_is_checked_with_a_free_request(status: int, *, accepted: bool) -> None:
    call = RUNWAY.check()

    assert call is not None
    assert call.path == "/organization"
    assert (RUNWAY.read_check(reply(status, b"{}")) is None) is accepted
