"""Leonardo.Ai: one URL for the callbacks of the whole account, with a secret in a header.

Sources: the vendor's guide to the webhook callback feature, and its API reference.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.providers.kit.coercion import (
    as_bounded_list,
    as_dict,
    count,
    identifier,
    media_type,
    text,
    web_url,
)
from service.providers.kit.http_status import message_of
from service.providers.kit.input_schema import UUID, InputField
from service.providers.kit.request_builder import segment, send
from service.providers.kit.signatures import SharedSecret
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Call,
    Callbacks,
    LostAnswerPolicy,
    Operation,
    ProviderTask,
)

_STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "COMPLETE": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
}
_JOB_KEYS: Final = ("sdGenerationJob", "sdUpscaleJob")
"""In the response to a submit."""
_LOOKUP_KEYS: Final = ("generations_by_pk", "generated_image_variation_generic")
_IMAGE_KEYS: Final = ("images", "generated_images")
_INFO_KEYS: Final = ("apiDollarCost", "tokenCost", "apiCreditCost")
"""What a task cost, in units that the vendor does not explain."""
_UPSCALE: Final = "variations.upscale"


def _operation(name: str, summary: str, *inputs: InputField) -> Operation:
    return Operation(
        name=name,
        summary=summary,
        inputs=inputs,
        answers_immediately=False,
        # A callback names the vendor's id only, which the lost answer would have told.
        on_lost_answer=LostAnswerPolicy.FAIL,
    )


_OPERATIONS: Final = (
    _operation(
        "generations.create",
        "Generate images from a prompt.",
        InputField(
            name="prompt", kind="string", summary="What the images should show.", required=True
        ),
        InputField(name="modelId", kind="string", summary="The id of the model.", pattern=UUID),
        InputField(
            name="num_images", kind="integer", summary="How many images.", minimum=1, maximum=8
        ),
        InputField(name="width", kind="integer", summary="In pixels.", minimum=32, maximum=1536),
        InputField(name="height", kind="integer", summary="In pixels.", minimum=32, maximum=1536),
    ),
    _operation(
        _UPSCALE,
        "Enlarge a generated image.",
        InputField(name="id", kind="string", summary="The id of the image.", required=True),
    ),
)


class Leonardo(TaskProvider):
    """Leonardo.Ai (docs.leonardo.ai)."""

    name = "leonardo"
    title = "Leonardo.Ai"
    account = AccountSettings(
        "LEONARDO_API_KEY",
        prefix="LEONARDO",
        base_url="https://cloud.leonardo.ai/api/rest/v1",
        max_jobs=5,
        has_webhook_secret=True,
    )
    callbacks: Callbacks | None = Callbacks(
        signature=SharedSecret(header="authorization", prefix="Bearer "), account_wide=True
    )
    operations: Mapping[str, Operation] = MappingProxyType({one.name: one for one in _OPERATIONS})
    check_path = "/me"

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        path = "/variations/upscale" if task.operation == _UPSCALE else "/generations"
        return send("POST", path, task.input)

    def task_path(self, job: Job) -> str | None:
        if job.provider_task_id is None:
            return None
        kind = "variations" if job.operation == _UPSCALE else "generations"
        return f"/{kind}/{segment(job.provider_task_id)}"

    def read_task(self, body: dict[str, Any]) -> Report:
        task = _task_in(body)
        provider_status = text(task.get("status"))
        status = _STATUSES.get((provider_status or "").upper())
        output = _output(task) if status is Status.SUCCEEDED else None
        error = _error(task) if status is Status.FAILED else None
        if status is Status.SUCCEEDED and output is None:
            status, error = Status.FAILED, _NO_OUTPUT
        return Report(
            task_id=identifier(task.get("id")) or identifier(task.get("generationId")),
            status=status,
            provider_status=provider_status,
            output=output,
            error=error,
            provider_info={key: task[key] for key in _INFO_KEYS if task.get(key) is not None}
            or None,
        )


_NO_OUTPUT: Final = JobError(
    code=ErrorCode.NO_OUTPUT,
    message="The task is complete, but it has no image with a URL.",
    retryable=True,
)


def _task_in(body: dict[str, Any]) -> dict[str, Any]:
    """Take the task out of its envelope: of a callback, a response or a lookup."""
    if found := as_dict(as_dict(body.get("data")).get("object")):
        return found
    for key in _JOB_KEYS:
        if found := as_dict(body.get(key)):
            return found
    for key in _LOOKUP_KEYS:
        items = as_bounded_list(body.get(key))
        if items:
            return as_dict(items[0])
    return {}


def _output(task: dict[str, Any]) -> Output | None:
    images = [as_dict(image) for key in _IMAGE_KEYS for image in as_bounded_list(task.get(key))]
    artifacts = [_artifact(image, task) for image in [*images, task]]
    found = tuple(artifact for artifact in artifacts if artifact is not None)
    return Output(artifacts=found) if found else None


def _artifact(image: dict[str, Any], task: dict[str, Any]) -> Artifact | None:
    """Read an image, or the video that was made of it; None if it has no URL."""
    video = web_url(image.get("motionMP4URL"))
    url = video or web_url(image.get("url"))
    if url is None:
        return None
    nsfw = image.get("nsfw")
    return Artifact(
        id=identifier(image.get("id")),
        kind="video" if video else "image",
        url=url,
        media_type=media_type(url),
        width=count(task.get("imageWidth")),
        height=count(task.get("imageHeight")),
        seed=count(task.get("seed")),
        nsfw=nsfw if isinstance(nsfw, bool) else None,
    )


def _error(task: dict[str, Any]) -> JobError:
    """The vendor documents no reason of a failure, but marks what its moderation rejected."""
    moderated = task.get("nsfw") is True or task.get("flagged") is True
    return JobError(
        code=ErrorCode.MODERATED if moderated else ErrorCode.PROVIDER_ERROR,
        message=message_of(task.get("error")) or "The provider gave no reason.",
        retryable=not moderated,
    )
