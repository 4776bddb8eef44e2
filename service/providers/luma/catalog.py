"""The operations of Luma's Dream Machine API: path and input fields of each.

Sources: github.com/lumalabs/lumaai-api (OpenAPI 1.1.0), docs.lumalabs.ai/docs/errors (the length of
prompts). Names of models, durations and resolutions are not validated: the vendor accepts others.
"""

import re
from types import MappingProxyType
from typing import Any, Final

import msgspec

from service.domain.primitives.errors import FieldError
from service.providers.kit.input_schema import InputField, reply_url
from service.providers.protocol import LostAnswerPolicy, Operation

RATIOS: Final = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
MODES: Final = tuple(f"{kind}_{n}" for kind in ("adhere", "flex", "reimagine") for n in (1, 2, 3))
_AT_LEAST_3: Final = re.compile(r"[\s\S]{3,}")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,100}")

_CALLBACK: Final = reply_url("callback_url", max_length=1024)
_PROMPT: Final = InputField(
    name="prompt",
    kind="string",
    summary="What the result should show.",
    max_length=5000,
    pattern=_AT_LEAST_3,
    pattern_description="a text of at least 3 characters",
    example="A lighthouse in a storm",
)
_GENERATION: Final = InputField(
    name="id",
    kind="string",
    summary="The id of a generated video: `provider_task_id` of its job.",
    required=True,
    pattern=_ID,
    pattern_description="the id of a generation",
    example="123e4567-e89b-12d3-a456-426614174000",
)
_MEDIA: Final = InputField(
    name="media",
    kind="object",
    summary="The file to change, as {url}.",
    required=True,
    example={"url": "https://example.com/video.mp4"},
)
_FIRST_FRAME: Final = InputField(
    name="first_frame", kind="object", summary="An image to start with, as {url}."
)
_FORMAT: Final = InputField(
    name="format", kind="string", summary="The file format; jpg by default.", one_of=("jpg", "png")
)
_RESOLUTION: Final = InputField(
    name="resolution", kind="string", summary="The resolution.", example="720p"
)
_CROP: Final = tuple(
    InputField(name=name, kind="integer", summary=summary)
    for name, summary in (
        ("grid_position_x", "The horizontal position of the source in the new frame."),
        ("grid_position_y", "The vertical position of the source in the new frame."),
        ("resized_width", "The width of the resized source."),
        ("resized_height", "The height of the resized source."),
        ("x_start", "The left edge of the crop."),
        ("x_end", "The right edge of the crop."),
        ("y_start", "The upper edge of the crop."),
        ("y_end", "The lower edge of the crop."),
    )
)


def _model(example: str) -> InputField:
    return InputField(
        name="model", kind="string", summary="The model.", required=True, example=example
    )


def _ratio(*, required: bool = False) -> InputField:
    return InputField(
        name="aspect_ratio",
        kind="string",
        summary="Width to height; 16:9 by default." if not required else "Width to height.",
        one_of=RATIOS,
        required=required,
    )


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; `{id}` in *path* is replaced by the input field of that name.

    *generation_type* is a constant field of the request.
    """

    path: str
    generation_type: str
    operation: Operation


def _endpoint(
    name: str, path: str, generation_type: str, summary: str, *inputs: InputField
) -> Endpoint:
    operation = Operation(
        name=name,
        summary=summary,
        inputs=(*inputs, _CALLBACK),
        answers_immediately=False,
        # There is no idempotency key: a second request would be a second generation.
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=3600,
    )
    return Endpoint(path=path, generation_type=generation_type, operation=operation)


# Older pages of the vendor have videos at POST /generations; its OpenAPI document and its SDK for
# Python (1.19) have them at /generations/video.
_ROWS: Final = (
    _endpoint(
        "generations.video",
        "/generations/video",
        "video",
        "Generate a video from a prompt, or from images and videos as key frames.",
        _PROMPT,
        _model("ray-2"),
        _ratio(),
        InputField(name="loop", kind="boolean", summary="Whether the end leads to the start."),
        InputField(
            name="keyframes",
            kind="object",
            summary="`frame0` and `frame1`: {type: image, url} or {type: generation, id}.",
        ),
        _RESOLUTION,
        InputField(name="duration", kind="string", summary="The duration.", example="5s"),
        InputField(name="concepts", kind="array", summary="Camera concepts, each as {key}."),
    ),
    _endpoint(
        "generations.image",
        "/generations/image",
        "image",
        "Generate an image.",
        _PROMPT,
        _model("photon-1"),
        _ratio(),
        _FORMAT,
        InputField(name="image_ref", kind="array", summary="Images to follow: {url, weight}."),
        InputField(name="style_ref", kind="array", summary="Styles to follow: {url, weight}."),
        InputField(name="character_ref", kind="object", summary="A person: {identity0: {images}}."),
        InputField(
            name="modify_image_ref", kind="object", summary="An image to change: {url, weight}."
        ),
    ),
    _endpoint(
        "generations.video.modify",
        "/generations/video/modify",
        "modify_video",
        "Change the content of a video.",
        _MEDIA,
        _model("ray-2"),
        InputField(name="mode", kind="string", summary="How much.", required=True, one_of=MODES),
        _PROMPT,
        _FIRST_FRAME,
    ),
    _endpoint(
        "generations.video.reframe",
        "/generations/video/reframe",
        "reframe_video",
        "Extend a video to another aspect ratio.",
        _MEDIA,
        _model("ray-2"),
        _ratio(required=True),
        _PROMPT,
        _FIRST_FRAME,
        *_CROP,
    ),
    _endpoint(
        "generations.image.reframe",
        "/generations/image/reframe",
        "reframe_image",
        "Extend an image to another aspect ratio.",
        _MEDIA,
        _model("photon-1"),
        _ratio(required=True),
        _PROMPT,
        _FORMAT,
        *_CROP,
    ),
    _endpoint(
        "generations.upscale",
        "/generations/{id}/upscale",
        "upscale_video",
        "Increase the resolution of a generated video.",
        _GENERATION,
        _RESOLUTION,
    ),
    _endpoint(
        "generations.audio",
        "/generations/{id}/audio",
        "add_audio",
        "Add sound to a generated video.",
        _GENERATION,
        _PROMPT,
        InputField(name="negative_prompt", kind="string", summary="What not to hear."),
    ),
)
ENDPOINTS: Final = MappingProxyType({endpoint.operation.name: endpoint for endpoint in _ROWS})
OPERATIONS: Final = MappingProxyType({name: row.operation for name, row in ENDPOINTS.items()})


def combination_errors(operation: str, given: dict[str, Any]) -> list[FieldError]:
    """Require a prompt for a video without key frames (docs.lumalabs.ai/docs/errors)."""
    if operation == "generations.video" and not {"prompt", "keyframes"} & given.keys():
        return [FieldError("input.prompt", "is required without keyframes")]
    return []
