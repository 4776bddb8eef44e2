"""The table of useapi.net's endpoints: method, path and input fields of each."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import msgspec

from service.domain.primitives.errors import FieldError
from service.providers.kit.input_schema import WEB_URL, InputField
from service.providers.protocol import LostAnswerPolicy, Operation
from service.providers.useapi import video_models
from service.providers.useapi.fields import (
    COMMON_FIELDS,
    DESCRIBED_ASSET,
    EMAIL,
    NUMBER_OF_IMAGES,
    RATIO,
    REPLY_FIELDS,
    SEED,
    asset,
    choice,
    integer,
    number,
    prompt,
)
from service.providers.useapi.runway_endpoints import IMAGE_SECONDS, ROWS, VIDEO_SECONDS

STYLES: Final = (
    "vivid",
    "vivid-warm",
    "vivid-cool",
    "high-contrast",
    "high-contrast-warm",
    "high-contrast-cool",
    "bw",
    "bw-contrast",
    "muted-pastel",
    "dreamscape",
    "nordic-minimal",
    "light-anime",
    "dark-anime",
    "painted-anime",
    "3d-cartoon",
    "sketch",
    "low-angle",
    "in-motion",
    "terracotta",
)
LANGUAGES: Final = ("en", "en_au", "en_uk", "en_us", "es", "fr", "de", "it", "pt", "nl")


def _no_errors(_: dict[str, Any]) -> list[FieldError]:
    return []


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; `{name}` in *path* is replaced by the input field of that name.

    *check* returns the errors of an input that depend on several fields. *moderated_status* is the
    HTTP status by which the endpoint refuses the content.
    """

    method: str
    path: str
    operation: Operation
    check: Callable[[dict[str, Any]], list[FieldError]] = _no_errors
    moderated_status: int = 422


def _task_endpoint(
    path: str,
    summary: str,
    *inputs: InputField,
    deadline_seconds: int = IMAGE_SECONDS,
    check: Callable[[dict[str, Any]], list[FieldError]] = _no_errors,
) -> Endpoint:
    """Build an endpoint that takes `replyUrl` and reports the end of its task by callback.

    Another POST would create, and bill, a second task. So a submit whose answer was lost is not
    sent again; its callback is awaited.
    """
    operation = Operation(
        name=path.replace("/", "."),
        summary=summary,
        inputs=(*inputs, *COMMON_FIELDS),
        answers_immediately=False,
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=deadline_seconds,
    )
    return Endpoint(method="POST", path=path, operation=operation, check=check)


def _instant_endpoint(
    name: str, path: str, summary: str, *inputs: InputField, moderated_status: int = 422
) -> Endpoint:
    """Build an endpoint that answers with its result and costs no credits.

    It may be called again. Source: useapi.net/docs/start-here/setup-runwayml lists those that free
    accounts call without a limit.
    """
    operation = Operation(
        name=name,
        summary=summary,
        inputs=(*inputs, *REPLY_FIELDS),
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.RESEND,
        answer_timeout_seconds=120.0,
    )
    return Endpoint(method="GET", path=path, operation=operation, moderated_status=moderated_status)


FRAMES: Final = _task_endpoint(
    "frames/create",
    "Generate images from a text prompt with Runway Frames.",
    prompt(required=True, max_length=1000),
    choice("style", "The look of the images.", *STYLES),
    RATIO,
    number(
        "diversity", 0, 5, "Aesthetic range: how much the images of a set differ; 2 by default."
    ),
    SEED,
    NUMBER_OF_IMAGES,
    *(asset(f"imageAssetId{slot}", "The id of a reference image.") for slot in range(1, 4)),
)
VIDEOS: Final = _task_endpoint(
    "videos/create",
    "Generate a video with one of Runway's video models.",
    *video_models.FIELDS,
    deadline_seconds=VIDEO_SECONDS,
    check=video_models.model_errors,
)
_INSTANT_ENDPOINTS: Final = (
    _instant_endpoint(
        "frames.describe",
        "frames/describe/{image_assetId}",
        "Describe an image asset in words that can be used as a prompt.",
        DESCRIBED_ASSET,
    ),
    _instant_endpoint("features", "features/", "Show the credits of a Runway account.", EMAIL),
    _instant_endpoint(
        "lipsync.voices", "lipsync/voices/", "List the voices for `lipsync.create`.", EMAIL
    ),
    _instant_endpoint(
        "transcribe",
        "transcribe/",
        "Transcribe the speech of a sound or a video.",
        asset("assetId", "The id of the sound or video asset.", required=True),
        choice("language", "The language of the speech.", *LANGUAGES, required=True),
    ),
    _instant_endpoint(
        "image_upscaler",
        "image_upscaler/",
        "Scale an image to a width and a height.",
        InputField(
            name="image_url",
            kind="string",
            summary="The `url` of an image asset or of a generated image.",
            required=True,
            pattern=WEB_URL,
            pattern_description="an http or https URL",
        ),
        *(
            integer(name, 1, None, f"The {name} in pixels.", required=True)
            for name in ("width", "height")
        ),
        EMAIL,
    ),
    _instant_endpoint(
        "text_to_image_preview",
        "text_to_image_preview/",
        "Generate an image with Stable Diffusion (Runway retired it in September 2025).",
        prompt(required=True),
        number("prompt_weight", 1, 30, "The weight of the prompt."),
        RATIO,
        SEED,
        EMAIL,
        # useapi.net/docs/api-runwayml-v1/get-runwayml-text_to_image_preview
        moderated_status=403,
    ),
)
_OTHER_ENDPOINTS: Final = tuple(
    _task_endpoint(path, summary, *inputs, deadline_seconds=seconds)
    for path, seconds, summary, inputs in ROWS
)
ENDPOINTS: Final = MappingProxyType(
    {
        endpoint.operation.name: endpoint
        for endpoint in (FRAMES, VIDEOS, *_OTHER_ENDPOINTS, *_INSTANT_ENDPOINTS)
    }
)
