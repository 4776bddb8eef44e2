"""Ideogram's asynchronous endpoints and their input fields."""

import re
from typing import Final

from service.providers.kit.input_schema import InputField, reply_url
from service.providers.protocol import LostAnswerPolicy, Operation

_DEADLINE_SECONDS: Final = 3600
_SIZE: Final = re.compile("[0-9]{3,5}x[0-9]{3,5}")
_RATIO: Final = re.compile("[0-9]{1,2}x[0-9]{1,2}")

WEBHOOK: Final = reply_url("webhook_url", max_length=1024)
_COPYRIGHT: Final = InputField(
    name="enable_copyright_detection",
    kind="boolean",
    summary="Check the images for likenesses and logos.",
)
_V4_FIELDS: Final = (
    InputField(
        name="text_prompt",
        kind="string",
        summary="What to generate, in words; the vendor rewrites it. Not with `json_prompt`.",
        example="a bell tower at dawn",
    ),
    InputField(
        name="json_prompt",
        kind="object",
        summary="What to generate, by element; it is used as it is. Not with `text_prompt`.",
    ),
    InputField(
        name="resolution",
        kind="string",
        summary="Width and height in pixels.",
        pattern=_SIZE,
        pattern_description="a width and a height such as 2048x2048",
    ),
    InputField(
        name="rendering_speed",
        kind="string",
        summary="Speed against quality.",
        one_of=("FLASH", "TURBO", "DEFAULT", "QUALITY"),
    ),
    _COPYRIGHT,
)
_P_IMAGE_FIELDS: Final = (
    InputField(name="prompt", kind="string", summary="What to generate.", required=True),
    InputField(
        name="aspect_ratio",
        kind="string",
        summary="Width to height.",
        pattern=_RATIO,
        pattern_description="a ratio such as 16x9",
    ),
    InputField(name="seed", kind="integer", summary="Reproduces an image.", minimum=0),
    _COPYRIGHT,
)

V4_PROMPTS: Final = ("text_prompt", "json_prompt")
"""Ideogram 4.0 takes exactly one of these."""
ROWS: Final[tuple[tuple[str, str, tuple[InputField, ...], str], ...]] = (
    (
        "v4.generate",
        "/v1/ideogram-v4/async/generate",
        _V4_FIELDS,
        "Generate images with Ideogram 4.0.",
    ),
    (
        "v4.generate-transparent",
        "/v1/ideogram-v4/async/generate-transparent",
        _V4_FIELDS,
        "Generate images without a background with Ideogram 4.0.",
    ),
    (
        "p-image.generate",
        "/v1/async/text-to-image/p-image-ideogram",
        _P_IMAGE_FIELDS,
        "Generate an image with P-Image Ideogram.",
    ),
)
PATHS: Final = {name: path for name, path, _, _ in ROWS}


def endpoint_operation(name: str, inputs: tuple[InputField, ...], summary: str) -> Operation:
    return Operation(
        name=name,
        summary=summary,
        inputs=(*inputs, WEBHOOK),
        answers_immediately=False,
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=_DEADLINE_SECONDS,
    )
