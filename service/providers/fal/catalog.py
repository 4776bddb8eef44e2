"""Some of fal's models, which are listed; any other is accepted by its id."""

import re
from typing import Final

from service.providers.kit.input_schema import InputField, reply_url
from service.providers.protocol import LostAnswerPolicy, Operation

IMAGE_SECONDS: Final = 3600
VIDEO_SECONDS: Final = 7200
TRAINING_SECONDS: Final = 86400
_MODEL: Final = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}(?:/[a-z0-9_][a-z0-9._-]{0,63}){1,7}")
"""An owner, an app, and the path of one of its endpoints, as `fal-ai/flux/dev`."""
_REQUESTS: Final = "requests"
"""The path segment below which fal shows and cancels the requests of an app."""
_NAMESPACES: Final = frozenset({"workflows", "comfy"})
"""What stands before the owner of an app that is no model; source: fal's own clients."""

WEBHOOK: Final = reply_url("fal_webhook", max_length=1024)
_PROMPT: Final = InputField(
    name="prompt",
    kind="string",
    summary="What to generate.",
    required=True,
    example="a bell tower at dawn",
)

ROWS: Final[tuple[tuple[str, int, tuple[InputField, ...], str], ...]] = (
    ("fal-ai/flux/dev", IMAGE_SECONDS, (_PROMPT,), "Generate images with FLUX.1 [dev]."),
    ("fal-ai/flux/schnell", IMAGE_SECONDS, (_PROMPT,), "Generate images with FLUX.1 [schnell]."),
    ("fal-ai/flux-pro/v1.1", IMAGE_SECONDS, (_PROMPT,), "Generate images with FLUX1.1 [pro]."),
    ("fal-ai/veo3", VIDEO_SECONDS, (_PROMPT,), "Generate a video with Veo 3."),
    (
        "fal-ai/kling-video/v2.5-turbo/pro/text-to-video",
        VIDEO_SECONDS,
        (_PROMPT,),
        "Generate a video with Kling 2.5 Turbo Pro.",
    ),
    ("fal-ai/whisper", IMAGE_SECONDS, (), "Transcribe speech."),
    ("fal-ai/trellis", VIDEO_SECONDS, (), "Make a 3D model from an image."),
    ("fal-ai/flux-lora-fast-training", TRAINING_SECONDS, (), "Train a LoRA on your images."),
)


def model_operation(
    name: str, summary: str, *inputs: InputField, deadline_seconds: int = VIDEO_SECONDS
) -> Operation:
    """Build the operation of one model; its whole input is sent as it is."""
    return Operation(
        name=name,
        summary=summary,
        inputs=(*inputs, WEBHOOK),
        answers_immediately=False,
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=deadline_seconds,
    )


def is_model(name: str) -> bool:
    return _MODEL.fullmatch(name) is not None and _REQUESTS not in name.split("/")


def app_of(model: str) -> str:
    """Return the part of a model's id that is in the paths of its requests: owner and app."""
    parts = model.split("/")
    return "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])
