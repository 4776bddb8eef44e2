"""Luma: requests, generations in every state, errors."""

import json
from typing import Any

import pytest

from service.domain.callbacks import Verdict, assess
from service.domain.jobs.job import ReconcileReason, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.luma.catalog import ENDPOINTS, MODES, RATIOS
from service.providers.luma.provider import Luma
from service.providers.protocol import (
    Call,
    LostAnswerPolicy,
    ProviderTask,
    Reply,
    RetryLater,
)
from service.providers.refusals import AccountRefused, RefusalScope
from tests.support.factories import T0, build_job
from tests.support.paths import PAYLOADS

LUMA = Luma()
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
ID = "123e4567-e89b-12d3-a456-426614174000"
CALLBACK_URL = f"https://belfry.example/callbacks/luma/{REF}?t=1.abc"
FILES = "https://storage.cdn-luma.com/dream_machine/bell"
VIDEO = {"prompt": "a bell", "model": "ray-2"}
IMAGE = {"prompt": "a bell", "model": "photon-1"}
MEDIA = {"url": "https://example.com/video.mp4"}


def payload(name: str) -> bytes:
    return (PAYLOADS / "luma" / f"{name}.json").read_bytes()


def read(name: str) -> Report:
    (report,) = LUMA.read_callback(payload(name), {})
    return report


def submit(operation: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Prepare and submit *given*; return the path and the body of the request."""
    prepared = LUMA.prepare(LUMA.operations[operation], given)
    task = ProviderTask(
        ref=REF, operation=operation, input=prepared.input, callback_url=CALLBACK_URL
    )
    call = LUMA.submit([task])
    assert call.method == "POST"
    assert call.body is not None
    return call.path, json.loads(call.body)


def answer(status: int, body: bytes) -> Any:
    task = ProviderTask(
        ref=REF, operation="generations.video", input=VIDEO, callback_url=CALLBACK_URL
    )
    return LUMA.read_answer(Reply(status=status, headers={}, body=body), [task])[REF]


@pytest.mark.parametrize(
    ("operation", "given", "path", "generation_type"),
    [
        ("generations.video", VIDEO, "/generations/video", "video"),
        ("generations.image", IMAGE, "/generations/image", "image"),
        (
            "generations.video.modify",
            {"media": MEDIA, "model": "ray-2", "mode": "flex_1"},
            "/generations/video/modify",
            "modify_video",
        ),
        (
            "generations.video.reframe",
            {"media": MEDIA, "model": "ray-2", "aspect_ratio": "9:16", "x_start": 1},
            "/generations/video/reframe",
            "reframe_video",
        ),
        (
            "generations.image.reframe",
            {"media": MEDIA, "model": "photon-1", "aspect_ratio": "9:16", "format": "png"},
            "/generations/image/reframe",
            "reframe_image",
        ),
        (
            "generations.upscale",
            {"id": ID, "resolution": "4k"},
            f"/generations/{ID}/upscale",
            "upscale_video",
        ),
        (
            "generations.audio",
            {"id": ID, "prompt": "a bell"},
            f"/generations/{ID}/audio",
            "add_audio",
        ),
    ],
)
def test_each_operation_is_sent_to_its_path_with_our_url(
    operation: str, given: dict[str, Any], path: str, generation_type: str
) -> None:
    sent_to, body = submit(operation, given)

    rest = {name: value for name, value in given.items() if name != "id"}
    ours = {"generation_type": generation_type, "callback_url": CALLBACK_URL}
    assert sent_to == path
    assert body == rest | ours


def test_every_operation_is_tested_and_awaits_a_lost_answer() -> None:
    assert len(ENDPOINTS) == 7
    assert {one.on_lost_answer for one in LUMA.operations.values()} == {LostAnswerPolicy.AWAIT}
    assert LUMA.lookup(build_job(ref=REF), 0) is None


def test_the_clients_callback_url_gets_the_events_of_the_job() -> None:
    given = {**VIDEO, "callback_url": "https://example.com/hook"}

    prepared = LUMA.prepare(LUMA.operations["generations.video"], given)

    assert prepared.reply_url == "https://example.com/hook"
    assert prepared.input == VIDEO


@pytest.mark.parametrize(
    ("operation", "given", "path"),
    [
        ("generations.video", {"model": "ray-2"}, "input.prompt"),
        ("generations.video", {**VIDEO, "prompt": "ab"}, "input.prompt"),
        ("generations.video", {**VIDEO, "prompt": "a" * 5001}, "input.prompt"),
        ("generations.video", {"prompt": "a bell"}, "input.model"),
        ("generations.video", {**VIDEO, "aspect_ratio": "2:1"}, "input.aspect_ratio"),
        ("generations.video", {**VIDEO, "loop": "yes"}, "input.loop"),
        ("generations.video", {**VIDEO, "keyframes": []}, "input.keyframes"),
        ("generations.video", {**VIDEO, "callback_url": "nowhere"}, "input.callback_url"),
        ("generations.image", {**IMAGE, "format": "gif"}, "input.format"),
        ("generations.video.modify", {"media": MEDIA, "model": "ray-2"}, "input.mode"),
        (
            "generations.video.reframe",
            {"media": MEDIA, "model": "ray-2"},
            "input.aspect_ratio",
        ),
        ("generations.upscale", {}, "input.id"),
        ("generations.upscale", {"id": "../credits"}, "input.id"),
    ],
)
def test_an_invalid_input_is_refused_with_its_field(
    operation: str, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        LUMA.prepare(LUMA.operations[operation], given)

    assert [error.path for error in caught.value.errors] == [path]


def test_inputs_at_the_limits_and_unknown_models_are_sent() -> None:
    for prompt in ("abc", "a\nb", "a" * 5000):
        submit("generations.video", {"prompt": prompt, "model": "ray-9", "duration": "20s"})
    submit("generations.video", {"model": "ray-2", "keyframes": {"frame0": {}}})

    assert len(RATIOS) == 7
    assert len(MODES) == 9


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("queued", Status.SUBMITTED),
        ("dreaming", Status.RUNNING),
        ("completed_sample", Status.SUCCEEDED),
        ("failed_prompt", Status.FAILED),
        ("unknown_state", None),
    ],
)
def test_a_generation_is_read_in_each_state(name: str, status: Status | None) -> None:
    report = read(name)

    assert report.status is status
    assert report.provider_status == json.loads(payload(name))["state"]
    assert report.task_id == ID
    assert (report.output is not None) is (status is Status.SUCCEEDED)


@pytest.mark.parametrize(
    ("name", "artifact"),
    [
        (
            "completed_sample",
            Artifact(kind="video", url="https://example.com/video.mp4", media_type="video/mp4"),
        ),
        (
            "completed_video",
            Artifact(
                kind="video",
                url=f"{FILES}/video.mp4",
                media_type="video/mp4",
                preview_urls=(f"{FILES}/thumb.jpg",),
            ),
        ),
        (
            "completed_video_with_progress_video",
            Artifact(
                kind="video",
                url=f"{FILES}/video.mp4",
                media_type="video/mp4",
                preview_urls=(f"{FILES}/thumb.jpg", f"{FILES}/progress.mp4"),
            ),
        ),
        (
            "completed_image",
            Artifact(kind="image", url=f"{FILES}/bell.png", media_type="image/png"),
        ),
    ],
)
def test_a_completed_generation_has_one_artifact(name: str, artifact: Artifact) -> None:
    assert read(name).output == Output(artifacts=(artifact,))


@pytest.mark.parametrize(
    "name",
    ["completed_without_assets", "completed_with_empty_assets", "completed_with_a_thumbnail_only"],
)
def test_a_completed_generation_without_its_file_is_looked_up_once(name: str) -> None:
    job = build_job(
        ref=REF, provider="luma", operation="generations.video", status=Status.SUBMITTED
    )

    assessment = assess(job, REF, [read(name)], T0, lambda _: True)

    assert assessment.verdict is Verdict.ACCEPTED
    assert assessment.steps == ()
    assert assessment.reconcile_reason is ReconcileReason.NO_OUTPUT


@pytest.mark.parametrize(
    ("name", "code", "retryable"),
    [
        ("failed_prompt_moderated", ErrorCode.MODERATED, False),
        ("failed_frame_moderated", ErrorCode.MODERATED, False),
        ("failed_blacklisted", ErrorCode.MODERATED, False),
        ("failed_frames", ErrorCode.INVALID_INPUT, False),
        ("failed_prompt", ErrorCode.PROVIDER_ERROR, True),
    ],
)
def test_a_failure_is_classified_by_its_reason(
    name: str, code: ErrorCode, *, retryable: bool
) -> None:
    reason = json.loads(payload(name))["failure_reason"]

    assert read(name).error == JobError(code=code, message=reason, retryable=retryable)


def test_a_failure_without_a_reason_may_be_tried_again() -> None:
    error = read("failed_null").error

    assert error is not None
    assert error.retryable
    assert error.message == "The provider gave no reason."


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"hello": 1}', b"<html>"])
def test_what_is_no_generation_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        LUMA.read_callback(body, {})


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        (400, "error_400", ErrorCode.INVALID_INPUT),
        (400, "error_moderated", ErrorCode.MODERATED),
    ],
)
def test_a_refused_submit_is_an_error_of_the_job(status: int, name: str, code: ErrorCode) -> None:
    refused = answer(status, payload(name))

    assert refused.error.code is code
    assert not refused.error.retryable


def test_a_401_refuses_the_credential() -> None:
    refused = answer(401, payload("error_401"))

    assert isinstance(refused, AccountRefused)
    assert refused.scope is RefusalScope.CREDENTIAL


def test_a_submit_is_accepted_with_an_id_and_sent_again_when_luma_is_busy() -> None:
    accepted = answer(201, payload("queued"))

    assert (accepted.task_id, accepted.status) == (ID, Status.SUBMITTED)
    assert answer(429, payload("error_429")) == RetryLater(message="Too many requests")


def test_a_lookup_asks_for_the_generation() -> None:
    job = build_job(ref=REF, provider="luma", provider_task_id=ID)
    reply = Reply(status=200, headers={}, body=payload("completed_video"))

    found = LUMA.read_lookup(reply, job, 0)

    assert LUMA.lookup(job, 0) == Call(method="GET", path=f"/generations/{ID}")
    assert isinstance(found, list)
    assert [(one.refs, one.status) for one in found] == [((REF,), Status.SUCCEEDED)]


def test_the_check_asks_for_the_credits() -> None:
    refused = LUMA.read_check(Reply(status=401, headers={}, body=payload("error_401")))

    assert LUMA.check() == Call(method="GET", path="/credits")
    assert LUMA.read_check(Reply(status=200, headers={}, body=payload("credits"))) is None
    assert refused is not None
    assert refused.code is ErrorCode.UNAUTHORIZED


def test_luma_is_answered_with_exactly_200() -> None:
    assert LUMA.callbacks is not None
    assert LUMA.callbacks.success_status == 200
