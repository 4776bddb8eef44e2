"""Input fields of Runware's task types: those of captions, and those that all types share."""

import re
from typing import Final

from service.providers.kit.input_schema import UUID, WEB_URL, InputField, reply_url
from service.providers.protocol import LostAnswerPolicy, Operation
from service.providers.runware.catalog import SHORT_SECONDS

MAX_RESULTS: Final = 20

_BASE64: Final = "[A-Za-z0-9+/]+={0,2}"
_IMAGE: Final = re.compile(
    "|".join(
        (
            UUID.pattern,
            f"data:image/(?:png|jpe?g|webp);base64,{_BASE64}",
            # The first bytes of PNG, JPEG and WEBP, the supported formats, in base64.
            "(?:iVBORw0KGgo|/9j/|UklGR)[A-Za-z0-9+/]*={0,2}",
            WEB_URL.pattern,
        )
    )
)
_AIR: Final = re.compile("[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)+@[A-Za-z0-9_.-]+")

COMMON_FIELDS: Final = (
    InputField(
        name="taskUUID",
        kind="string",
        summary="Your own reference, unique among your jobs; the provider gets another one.",
        pattern=UUID,
        pattern_description="a UUID",
    ),
    reply_url("webhookURL"),
    InputField(
        name="deliveryMethod",
        kind="string",
        summary="Accepted for compatibility and ignored: the task type decides how results arrive.",
        one_of=("sync", "async"),
    ),
    InputField(
        name="includeCost",
        kind="boolean",
        summary="Report the cost in USD with each result.",
    ),
    InputField(
        name="numberResults",
        kind="integer",
        summary="How many results to make; the job ends with the last one.",
        minimum=1,
        maximum=MAX_RESULTS,
    ),
)
CAPTION_FIELDS: Final = (
    InputField(
        name="inputImage",
        kind="string",
        summary="The image: a UUID, a data URI, base64 or a URL of a PNG, JPG or WEBP.",
        required=True,
        pattern=_IMAGE,
        pattern_description=(
            "an image's UUID, a base64 PNG, JPG or WEBP with or without data URI, or a URL"
        ),
        example="5788104a-1ca7-4b7e-8a16-b27b57e86f87",
    ),
    InputField(
        name="model",
        kind="string",
        summary="The AIR id of a captioning model.",
        required=True,
        pattern=_AIR,
        pattern_description="an AIR id, as in runware:150@2",
        example="runware:150@2",
    ),
    InputField(
        name="prompt",
        kind="string",
        summary="What to look for in the image, or a question about it.",
    ),
)


def task_operation(
    task_type: str,
    summary: str,
    *inputs: InputField,
    deadline_seconds: int = SHORT_SECONDS,
    answers_immediately: bool = False,
) -> Operation:
    """Build the operation of a task type.

    Runware rejects a taskUUID that it has seen before, so it is safe to send a task again.
    """
    return Operation(
        name=task_type,
        summary=summary,
        inputs=(
            *inputs,
            InputField(
                name="taskType",
                kind="string",
                summary="The same as the operation.",
                one_of=(task_type,),
            ),
            *COMMON_FIELDS,
        ),
        answers_immediately=answers_immediately,
        on_lost_answer=LostAnswerPolicy.RESEND,
        batched=True,
        deadline_seconds=deadline_seconds,
    )
