"""Ideogram: the form of a request, and what its answers, callbacks and lookups mean."""

import email.parser
import email.policy
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.ideogram.provider import Ideogram
from service.providers.protocol import (
    Answer,
    Call,
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

IDEOGRAM: Provider = Ideogram()
GENERATE = IDEOGRAM.operations["v4.generate"]
P_IMAGE = IDEOGRAM.operations["p-image.generate"]
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
CALLBACK_URL = f"https://belfry.example/callbacks/ideogram/{REF}?t=1.abc"
GENERATION = "xtdZiqPwRxqY1Y7NExFmzB"
URL = f"https://ideogram.ai/api/images/ephemeral/{GENERATION}.png"
UNSAFE = JobError(
    code=ErrorCode.MODERATED, message="The image did not pass the provider's safety check."
)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"ideogram/{name}.json").read_bytes()


def submit(operation: str = "v4.generate", **fields: Any) -> Call:
    return IDEOGRAM.submit(
        [ProviderTask(ref=REF, operation=operation, input=fields, callback_url=CALLBACK_URL)]
    )


def form_of(call: Call) -> dict[str, str]:
    """Parse the form as any receiver of multipart/form-data does."""
    head = f"content-type: {call.headers['content-type']}\r\n\r\n".encode()
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(head + (call.body or b""))
    assert not message.defects
    fields = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[str(part.get_param("name", header="content-disposition"))] = content.decode()
    return fields


def callback(name: str) -> Report:
    (report,) = IDEOGRAM.read_callback(payload(name), {})
    return report


def answer(body: bytes, status: int = 200) -> Answer:
    task = ProviderTask(ref=REF, operation="v4.generate", input={}, callback_url=CALLBACK_URL)
    return IDEOGRAM.read_answer(Reply(status=status, headers={}, body=body), [task])[REF]


def lookup(body: bytes, status: int = 200) -> LookupResult:
    job = build_job(provider="ideogram", ref=REF, provider_task_id=GENERATION)
    return IDEOGRAM.read_lookup(Reply(status=status, headers={}, body=body), job, 0)


def found(result: LookupResult) -> Report:
    assert not isinstance(result, TaskNotFound | Inconclusive)
    (report,) = result
    return report


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("v4.generate", "/v1/ideogram-v4/async/generate"),
        ("v4.generate-transparent", "/v1/ideogram-v4/async/generate-transparent"),
        ("p-image.generate", "/v1/async/text-to-image/p-image-ideogram"),
    ],
)
def test_a_request_is_a_form_and_the_callback_url_is_in_the_query(
    operation: str, path: str
) -> None:
    call = submit(operation, text_prompt="a cat", enable_copyright_detection=True)

    assert (call.method, urlsplit(call.path).path) == ("POST", path)
    assert parse_qs(urlsplit(call.path).query) == {"webhook_url": [CALLBACK_URL]}
    assert form_of(call) == {"text_prompt": "a cat", "enable_copyright_detection": "true"}
    assert IDEOGRAM.operations[operation].on_lost_answer is LostAnswerPolicy.AWAIT


def test_a_structured_prompt_is_sent_as_json() -> None:
    fields = form_of(submit(json_prompt={"high_level_description": "ä"}, seed=None))

    assert fields == {"json_prompt": '{"high_level_description":"ä"}'}


def test_no_value_can_add_a_field_to_the_form() -> None:
    prompt = 'x\r\n--boundary\r\nContent-Disposition: form-data; name="seed"\r\n\r\n1'
    name = 'a"; filename="b\r\nX-Header: 1'

    fields = form_of(submit(text_prompt=prompt, **{name: "y"}))

    assert fields["text_prompt"] == prompt
    assert len(fields) == 2


def test_the_key_is_sent_in_its_own_header() -> None:
    assert IDEOGRAM.account.credential("secret", 0) == {"api-key": "secret"}


@pytest.mark.parametrize("given", [{}, {"text_prompt": "x", "json_prompt": {}}])
def test_exactly_one_kind_of_prompt_is_required(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        IDEOGRAM.prepare(GENERATE, given)

    (error,) = caught.value.errors
    assert (error.path, "exactly one" in error.message) == ("input.text_prompt", True)


def test_all_errors_of_an_input_are_reported_at_once() -> None:
    wrong = {"resolution": "large", "rendering_speed": "SLOW", "webhook_url": "nowhere"}
    with pytest.raises(Invalid) as caught:
        IDEOGRAM.prepare(GENERATE, wrong)
    with pytest.raises(Invalid) as p_image:
        IDEOGRAM.prepare(P_IMAGE, {"aspect_ratio": "wide"})

    assert [error.path for error in caught.value.errors] == [
        "input.resolution",
        "input.rendering_speed",
        "input.webhook_url",
        "input.text_prompt",
    ]
    assert {error.path for error in p_image.value.errors} == {
        "input.prompt",
        "input.aspect_ratio",
    }


def test_the_reply_url_of_the_input_is_not_sent() -> None:
    prepared = IDEOGRAM.prepare(GENERATE, {"text_prompt": "x", "webhook_url": "https://a.b/c"})

    assert (prepared.input, prepared.reply_url) == ({"text_prompt": "x"}, "https://a.b/c")


def test_an_accepted_request_is_submitted() -> None:
    report = answer(payload("answer"))

    assert isinstance(report, Report)
    assert (report.status, report.task_id) == (Status.SUBMITTED, GENERATION)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ErrorCode.INVALID_INPUT),
        (422, ErrorCode.MODERATED),
    ],
)
def test_a_refused_submit_tells_why(status: int, code: ErrorCode) -> None:
    report = answer(payload("error_unsafe"), status)

    assert isinstance(report, Report)
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (code, False)


@pytest.mark.parametrize(
    ("status", "scope"), [(401, RefusalScope.CREDENTIAL), (402, RefusalScope.CREDITS)]
)
def test_a_submit_may_refuse_the_account(status: int, scope: RefusalScope) -> None:
    refused = answer(payload("error_unsafe"), status)

    assert isinstance(refused, AccountRefused)
    assert refused.scope is scope


def test_too_many_requests_are_sent_again_later() -> None:
    assert isinstance(answer(b"", 429), RetryLater)


@pytest.mark.parametrize("name", ["callback", "callback_with_request_id"])
def test_the_documented_callback_is_a_success(name: str) -> None:
    report = callback(name)

    assert (report.status, report.task_id) == (Status.SUCCEEDED, GENERATION)
    assert report.output == Output(
        artifacts=(
            Artifact(
                kind="image",
                url=URL,
                media_type="image/png",
                width=2048,
                height=2048,
                seed=12345,
                nsfw=False,
            ),
        )
    )


def test_a_generation_without_a_safe_image_is_moderated() -> None:
    report = callback("callback_unsafe")

    assert (report.status, report.error) == (Status.FAILED, UNSAFE)


def test_an_unsafe_image_beside_others_is_an_error_of_the_output() -> None:
    report = callback("callback_partly_unsafe")

    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    assert len(report.output.artifacts) == 1
    assert report.output.errors == (UNSAFE,)


def test_the_end_of_a_url_is_read_from_it() -> None:
    report = callback("callback_partly_unsafe")

    assert report.output is not None
    assert report.output.artifacts[0].expires_at == "2025-04-05T15:43:24.000Z"


@pytest.mark.parametrize("name", ["callback_without_url", "callback_without_images"])
def test_a_generation_without_an_image_has_no_output(name: str) -> None:
    report = callback(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert report.error.code is ErrorCode.NO_OUTPUT


def test_a_callback_may_report_a_failure() -> None:
    report = callback("callback_failed")

    assert report.status is Status.FAILED
    assert report.error is not None
    assert report.error.code is ErrorCode.PROVIDER_ERROR


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"created": 1}', b"\xff"])
def test_what_is_no_callback_of_ideogram_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        IDEOGRAM.read_callback(body, {})


def test_a_generation_is_looked_up_by_its_id() -> None:
    job = build_job(provider="ideogram", ref=REF, provider_task_id="a/b=")
    call = IDEOGRAM.lookup(job, 0)

    assert call is not None
    assert (call.method, call.path) == ("GET", "/v1/generations/a%2Fb%3D")
    assert IDEOGRAM.lookup(job, 1) is None
    assert IDEOGRAM.lookup(build_job(provider="ideogram"), 0) is None


def test_a_completed_lookup_has_images_and_cost() -> None:
    report = found(lookup(payload("lookup_completed")))

    assert (report.status, report.cost_usd) == (Status.SUCCEEDED, 0.06)
    assert report.output is not None
    assert (report.output.artifacts[0].width, report.output.artifacts[0].height) == (1280, 800)


def test_a_pending_and_a_failed_lookup_are_conclusive() -> None:
    failed = found(lookup(payload("lookup_failed")))

    assert found(lookup(payload("lookup_pending"))).status is Status.SUBMITTED
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert (failed.error.message, failed.error.retryable) == ("The generation timed out.", True)


def test_a_lookup_may_find_nothing() -> None:
    assert isinstance(lookup(b"", 404), TaskNotFound)
    assert isinstance(lookup(payload("answer")), Inconclusive)
    assert isinstance(lookup(b"", 400), Inconclusive)


def test_the_key_is_checked_by_a_list_that_costs_nothing() -> None:
    call = IDEOGRAM.check()

    assert call is not None
    assert (call.method, call.path) == ("GET", "/models")
    assert IDEOGRAM.read_check(Reply(status=200, headers={}, body=b"{}")) is None
    error = IDEOGRAM.read_check(Reply(status=401, headers={}, body=b""))
    assert error is not None
    assert error.code is ErrorCode.UNAUTHORIZED
