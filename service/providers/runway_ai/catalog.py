"""The table of runway-ai.ai's fifteen endpoints, in the order of its API overview."""

from types import MappingProxyType
from typing import Final

import msgspec

from service.providers.input_schema import WEB_URL, InputField
from service.providers.protocol import LostAnswerPolicy, Operation

METADATA: Final = ("image_id", "video_id", "size", "width", "height", "duration", "created_at")
_SECONDS: Final = {"image": 180.0, "video": 900.0, "audio": 300.0}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row; *result* is the key of the answer that matters, *kind* what is found there."""

    method: str
    result: str
    kind: str
    operation: Operation


def _maker(name: str, summary: str, result: str, kind: str, *inputs: InputField) -> Endpoint:
    """Make the row of paid work: nothing refuses a second one, so it is never sent twice."""
    operation = Operation(
        name=name,
        summary=summary,
        inputs=inputs,
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.FAIL,
        answer_timeout_seconds=_SECONDS[kind],
    )
    return Endpoint(method="POST", result=result, kind=kind, operation=operation)


def _asker(method: str, name: str, summary: str, kind: str, *inputs: InputField) -> Endpoint:
    """Make the row of a request that may be repeated: GET and DELETE (RFC 9110, 9.2.2)."""
    operation = Operation(
        name=name,
        summary=summary,
        inputs=inputs,
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.RESEND,
    )
    return Endpoint(method=method, result=kind, kind=kind, operation=operation)


def _url(name: str, summary: str) -> InputField:
    return InputField(
        name=name,
        kind="string",
        summary=summary,
        required=True,
        pattern=WEB_URL,
        form="an http or https URL",
    )


def _words(name: str, summary: str, *one_of: str, required: bool = True) -> InputField:
    return InputField(name=name, kind="string", summary=summary, required=required, one_of=one_of)


def _size(name: str, summary: str, *, required: bool = False) -> InputField:
    return InputField(name=name, kind="integer", summary=summary, required=required, minimum=1)


def _second(name: str, summary: str) -> InputField:
    return InputField(name=name, kind="integer", summary=summary, minimum=0)


_IMAGE: Final = _url("image_url", "The image to work on.")
_VIDEO: Final = _url("video_url", "The video to work on.")
_PROMPT: Final = _words("prompt", "What is to be seen.")
_DURATION: Final = _size("duration", "Length of the video in seconds.", required=True)

_ROWS: Final = (
    _maker(
        "generate-image",
        "Generate an image from a text prompt.",
        "image_url",
        "image",
        _PROMPT,
        _words(
            "style", "The artistic style.", "photorealistic", "sketch", "abstract", required=False
        ),
    ),
    _maker(
        "edit-image",
        "Adjust colours, add a filter or resize an image.",
        "edited_image_url",
        "image",
        _IMAGE,
        _words("edit_type", "The kind of edit.", "color-adjust", "add-filter", "resize"),
        _words("filter", "The filter, as sepia or black-and-white.", required=False),
        _size("resize_width", "New width."),
        _size("resize_height", "New height."),
    ),
    _maker(
        "generate-video",
        "Generate a video from a text prompt.",
        "video_url",
        "video",
        _PROMPT,
        _DURATION,
        _size("fps", "Frames per second; 24 if not given."),
    ),
    _maker(
        "edit-video",
        "Trim a video, add a filter or adjust its speed.",
        "edited_video_url",
        "video",
        _VIDEO,
        _words("edit_type", "The kind of edit.", "trim", "add-filter", "adjust-speed"),
        _second("start_time", "Where trimming starts, in seconds."),
        _second("end_time", "Where trimming ends, in seconds."),
    ),
    _maker(
        "video-filter",
        "Apply a filter to a video.",
        "filtered_video_url",
        "video",
        _VIDEO,
        _words("filter", "The filter, as vintage, cinematic or black-and-white."),
    ),
    _asker("GET", "image-metadata", "Get an image's size and dimensions.", "metadata", _IMAGE),
    _asker("GET", "video-metadata", "Get a video's size and duration.", "metadata", _VIDEO),
    _maker(
        "image-to-video",
        "Make a video of an image.",
        "video_url",
        "video",
        _IMAGE,
        _DURATION,
    ),
    _maker(
        "add-text-to-image",
        "Lay text over an image.",
        "text_image_url",
        "image",
        _IMAGE,
        _words("text", "The text."),
        _words("position", "Where the text stands, as top-left or bottom-right."),
        _size("font_size", "Size of the font."),
    ),
    _maker(
        "style-transfer",
        "Give an image the style of another.",
        "styled_image_url",
        "image",
        _IMAGE,
        _url("style_reference", "The image whose style is taken."),
    ),
    _maker(
        "resize-video",
        "Resize a video.",
        "resized_video_url",
        "video",
        _VIDEO,
        _size("new_width", "New width.", required=True),
        _size("new_height", "New height.", required=True),
    ),
    _maker(
        "generate-thumbnail",
        "Take a still from a video.",
        "thumbnail_url",
        "image",
        _VIDEO,
        _second("time_position", "Where in the video, in seconds."),
    ),
    _maker("extract-audio", "Take the sound from a video.", "audio_url", "audio", _VIDEO),
    _maker(
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
            above=0,
        ),
    ),
    _asker(
        "DELETE",
        "delete-media",
        "Delete an image or a video.",
        "message",
        _url("media_url", "What to delete."),
        InputField(
            name="auth_token",
            kind="string",
            summary="The token that permits the deletion.",
            required=True,
            secret=True,
        ),
    ),
)
ENDPOINTS: Final = MappingProxyType({row.operation.name: row for row in _ROWS})
