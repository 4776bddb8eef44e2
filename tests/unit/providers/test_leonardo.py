"""Leonardo.Ai: its requests, and what its answers, callbacks and lookups mean."""

import json

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.leonardo.provider import Leonardo
from service.providers.protocol import ProviderTask, Reply
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

LEONARDO = Leonardo()
GENERATION = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
UPSCALED = "b1e5a3a0-51a7-4a0e-a8d8-3a9b1f3e7a52"


def payload(name: str) -> bytes:
    return (PAYLOADS / "leonardo" / f"{name}.json").read_bytes()


def callback(name: str) -> Report:
    (report,) = LEONARDO.read_callback(payload(name), {})
    return report


def test_the_documented_callback_has_the_image() -> None:
    report = callback("callback_complete")

    assert (report.task_id, report.status, report.refs) == (GENERATION, Status.SUCCEEDED, ())
    assert report.provider_info == {"apiDollarCost": "9", "tokenCost": 0}
    assert report.cost_usd is None
    assert report.output is not None
    (image,) = report.output.artifacts
    assert (image.kind, image.media_type, image.width, image.height) == (
        *("image", "image/jpeg"),
        *(512, 512),
    )
    assert (image.seed, image.nsfw) == (905778432, False)


@pytest.mark.parametrize(
    ("name", "code", "retryable"),
    [
        ("callback_failed", ErrorCode.PROVIDER_ERROR, True),
        ("callback_flagged", ErrorCode.MODERATED, False),
        ("callback_without_images", ErrorCode.NO_OUTPUT, True),
    ],
)
def test_each_failure_has_its_code(name: str, code: ErrorCode, *, retryable: bool) -> None:
    report = callback(name)

    assert report.status is Status.FAILED
    assert report.error is not None
    assert (report.error.code, report.error.retryable) == (code, retryable)


def test_the_callback_of_an_upscaled_image_has_its_url() -> None:
    report = callback("callback_upscaled")

    assert (report.task_id, report.status) == (UPSCALED, Status.SUCCEEDED)
    assert report.output is not None
    assert [file.id for file in report.output.artifacts] == [UPSCALED]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"data": {"object": []}}', b"x"])
def test_a_body_without_a_generation_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        LEONARDO.read_callback(body, {})


@pytest.mark.parametrize(
    ("operation", "given", "path"),
    [
        ("generations.create", {"prompt": "a cat", "num_images": 2}, "/generations"),
        ("variations.upscale", {"id": "77f9"}, "/variations/upscale"),
    ],
)
def test_each_operation_has_its_path(operation: str, given: dict[str, object], path: str) -> None:
    call = LEONARDO.submit([ProviderTask(ref="r", operation=operation, input=given)])

    assert (call.method, call.path, json.loads(call.body or b"")) == ("POST", path, given)


def test_all_errors_of_an_input_are_reported() -> None:
    with pytest.raises(Invalid) as caught:
        LEONARDO.prepare(
            LEONARDO.operations["generations.create"], {"num_images": 9, "width": 8, "modelId": "x"}
        )

    assert {error.path for error in caught.value.errors} == {
        *("input.prompt", "input.num_images", "input.width", "input.modelId"),
    }


def test_the_answer_to_a_submit_names_the_generation() -> None:
    task = ProviderTask(ref="r", operation="generations.create", input={"prompt": "a cat"})
    reply = Reply(status=200, headers={}, body=payload("answer"))

    assert LEONARDO.read_answer(reply, [task])["r"] == Report(
        task_id=GENERATION, status=Status.SUBMITTED, provider_info={"apiCreditCost": 7}
    )


@pytest.mark.parametrize(
    ("name", "operation", "path", "status"),
    [
        (
            "read_complete",
            "generations.create",
            f"/generations/{GENERATION}",
            Status.SUCCEEDED,
        ),
        ("read_pending", "generations.create", f"/generations/{GENERATION}", Status.SUBMITTED),
        ("read_upscaled", "variations.upscale", f"/variations/{UPSCALED}", Status.SUCCEEDED),
    ],
)
def test_a_lookup_reads_the_task(name: str, operation: str, path: str, status: Status) -> None:
    task_id = path.rpartition("/")[2]
    job = build_job(provider="leonardo", operation=operation, provider_task_id=task_id)

    call = LEONARDO.lookup(job, 0)
    found = LEONARDO.read_lookup(Reply(status=200, headers={}, body=payload(name)), job, 0)

    assert call is not None
    assert call.path == path
    assert isinstance(found, list)
    assert (found[0].refs, found[0].task_id, found[0].status) == ((job.ref,), task_id, status)


def test_there_is_no_lookup_without_a_task_id() -> None:
    assert LEONARDO.lookup(build_job(provider="leonardo"), 0) is None
