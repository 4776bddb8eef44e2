"""The table of runway-ai.ai's fifteen endpoints, in the order of its API overview."""

from types import MappingProxyType
from typing import Final

import msgspec

from service.providers.kit.input_schema import WEB_URL, InputField
from service.providers.protocol import LostAnswerPolicy, Operation

METADATA_KEYS: Final = ("image_id", "video_id", "size", "width", "height", "duration", "created_at")
_ANSWER_TIMEOUT_SECONDS: Final = {"image": 180.0, "video": 900.0, "audio": 300.0}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; *result_key* is the field of the response with the result, of kind *kind*."""

    method: str
    result_key: str
    kind: str
    operation: Operation


def _paid_endpoint(
    name: str, summary: str, result_key: str, kind: str, *inputs: InputField
) -> Endpoint:
    """Build an endpoint that is billed.

    It is not called again if its answer was lost: the provider does not reject a duplicate, so the
    work would be done and billed twice.
    """
    operation = Operation(
        name=name,
        summary=summary,
        inputs=inputs,
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.FAIL,
        answer_timeout_seconds=_ANSWER_TIMEOUT_SECONDS[kind],
    )
    return Endpoint(method="POST", result_key=result_key, kind=kind, operation=operation)


def _idempotent_endpoint(
    method: str, name: str, summary: str, kind: str, *inputs: InputField
) -> Endpoint:
    """Build an endpoint that may be called again: GET and DELETE (RFC 9110, 9.2.2)."""
    operation = Operation(
        name=name,
        summary=summary,
        inputs=inputs,
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.RESEND,
    )
    return Endpoint(method=method, result_key=kind, kind=kind, operation=operation)


def _url(name: str, summary: str) -> InputField:
    return InputField(
        name=name,
        kind="string",
        summary=summary,
        required=True,
        pattern=WEB_URL,
        pattern_description="an http or https URL",
    )


def _string(name: str, summary: str, *one_of: str, required: bool = True) -> InputField:
    return InputField(name=name, kind="string", summary=summary, required=required, one_of=one_of)


def _positive_integer(name: str, summary: str, *, required: bool = False) -> InputField:
    return InputField(name=name, kind="integer", summary=summary, required=required, minimum=1)


def _offset_seconds(name: str, summary: str) -> InputField:
    return InputField(name=name, kind="integer", summary=summary, minimum=0)


_IMAGE: Final = _url("image_url", "The image to work on.")
_VIDEO: Final = _url("video_url", "The video to work on.")
_PROMPT: Final = _string("prompt", "What the result should show.")
_DURATION: Final = _positive_integer("duration", "Length of the video in seconds.", required=True)

_ENDPOINTS: Final = (
    _paid_endpoint(
        "generate-image",
        "Generate an image from a text prompt.",
        "image_url",
        "image",
        _PROMPT,
        _string(
            "style", "The artistic style.", "photorealistic", "sketch", "abstract", required=False
        ),
    ),
    _paid_endpoint(
        "edit-image",
        "Adjust colours, add a filter or resize an image.",
        "edited_image_url",
        "image",
        _IMAGE,
        _string("edit_type", "The kind of edit.", "color-adjust", "add-filter", "resize"),
        _string("filter", "The filter, for example sepia or black-and-white.", required=False),
        _positive_integer("resize_width", "New width."),
        _positive_integer("resize_height", "New height."),
    ),
    _paid_endpoint(
        "generate-video",
        "Generate a video from a text prompt.",
        "video_url",
        "video",
        _PROMPT,
        _DURATION,
        _positive_integer("fps", "Frames per second; 24 by default."),
    ),
    _paid_endpoint(
        "edit-video",
        "Trim a video, add a filter or adjust its speed.",
        "edited_video_url",
        "video",
        _VIDEO,
        _string("edit_type", "The kind of edit.", "trim", "add-filter", "adjust-speed"),
        _offset_seconds("start_time", "Where trimming starts, in seconds."),
        _offset_seconds("end_time", "Where trimming ends, in seconds."),
    ),
    _paid_endpoint(
        "video-filter",
        "Apply a filter to a video.",
        "filtered_video_url",
        "video",
        _VIDEO,
        _string("filter", "The filter, for example vintage, cinematic or black-and-white."),
    ),
    _idempotent_endpoint(
        "GET", "image-metadata", "Get an image's size and dimensions.", "metadata", _IMAGE
    ),
    _idempotent_endpoint(
        "GET", "video-metadata", "Get a video's size and duration.", "metadata", _VIDEO
    ),
    _paid_endpoint(
        "image-to-video",
        "Make a video from an image.",
        "video_url",
        "video",
        _IMAGE,
        _DURATION,
    ),
    _paid_endpoint(
        "add-text-to-image",
        "Add text to an image.",
        "text_image_url",
        "image",
        _IMAGE,
        _string("text", "The text."),
        _string("position", "The position of the text, for example top-left or bottom-right."),
        _positive_integer("font_size", "Size of the font."),
    ),
    _paid_endpoint(
        "style-transfer",
        "Apply the style of one image to another.",
        "styled_image_url",
        "image",
        _IMAGE,
        _url("style_reference", "The image whose style is applied."),
    ),
    _paid_endpoint(
        "resize-video",
        "Resize a video.",
        "resized_video_url",
        "video",
        _VIDEO,
        _positive_integer("new_width", "New width.", required=True),
        _positive_integer("new_height", "New height.", required=True),
    ),
    _paid_endpoint(
        "generate-thumbnail",
        "Extract a still image from a video.",
        "thumbnail_url",
        "image",
        _VIDEO,
        _offset_seconds("time_position", "The position in the video, in seconds."),
    ),
    _paid_endpoint("extract-audio", "Extract the audio of a video.", "audio_url", "audio", _VIDEO),
    _paid_endpoint(
        "speed-adjust",
        "Change the speed of a video.",
        "adjusted_speed_video_url",
        "video",
        _VIDEO,
        InputField(
            name="speed_factor",
            kind="number",
            summary="0.5 for half speed, 2 for double speed.",
            required=True,
            exclusive_minimum=0,
        ),
    ),
    _idempotent_endpoint(
        "DELETE",
        "delete-media",
        "Delete an image or a video.",
        "message",
        _url("media_url", "The file to delete."),
        InputField(
            name="auth_token",
            kind="string",
            summary="The token that authorizes the deletion.",
            required=True,
            secret=True,
        ),
    ),
)
ENDPOINTS: Final = MappingProxyType({endpoint.operation.name: endpoint for endpoint in _ENDPOINTS})
