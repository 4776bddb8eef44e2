"""Reads the generation object of Luma, which answers, callbacks and lookups share.

Sources: github.com/lumalabs/lumaai-api (OpenAPI 1.1.0), docs.lumalabs.ai/docs/errors.
"""

from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.providers.kit.coercion import as_dict, identifier, media_type, text, web_url
from service.providers.kit.http_status import message_of

STATES: Final = {
    "queued": Status.SUBMITTED,
    "dreaming": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
}
_ERROR_CODES: Final = (
    ("moderat", ErrorCode.MODERATED),
    ("blacklisted", ErrorCode.MODERATED),
    ("failed to read user input", ErrorCode.INVALID_INPUT),
)
"""The error code by words of the message; the vendor has no codes of its own."""


def read_generation(body: dict[str, Any]) -> Report:
    """Read a generation; the report's status is None if the generation's state is not known."""
    state = text(body.get("state"))
    status = STATES.get((state or "").strip().lower())
    report = Report(task_id=identifier(body.get("id")), status=status, provider_status=state)
    if status is Status.FAILED:
        return replace(report, error=_error(body.get("failure_reason")))
    if status is not Status.SUCCEEDED:
        return report
    if artifact := _artifact(body):
        return replace(report, output=Output(artifacts=(artifact,)))
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message="The generation is completed, but it has no file.",
        retryable=True,
    )
    return replace(report, status=Status.FAILED, error=error)


def code_of(message: str | None) -> ErrorCode | None:
    """Classify an error by its message; None if the message says nothing about its kind."""
    lowered = (message or "").lower()
    return next((code for words, code in _ERROR_CODES if words in lowered), None)


def _error(reason: Any) -> JobError:
    message = message_of(reason)
    code = code_of(message)
    return JobError(
        code=code or ErrorCode.PROVIDER_ERROR,
        message=message or "The provider gave no reason.",
        retryable=code is None,
    )


def _artifact(body: dict[str, Any]) -> Artifact | None:
    """Read the video, else the image. The image beside a video is a preview of it."""
    assets = as_dict(body.get("assets"))
    video, image = web_url(assets.get("video")), web_url(assets.get("image"))
    if video:
        previews = (image, web_url(assets.get("progress_video")))
        return Artifact(
            kind="video",
            url=video,
            media_type=media_type(video),
            preview_urls=tuple(url for url in previews if url),
        )
    if image is None or body.get("generation_type") == "video":
        return None
    return Artifact(kind="image", url=image, media_type=media_type(image))
