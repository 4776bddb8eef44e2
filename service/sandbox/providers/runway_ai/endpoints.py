"""The fifteen endpoints of runway-ai.ai and their parameters."""

from typing import Any, Final

import msgspec

from service.sandbox.ledger import Json

_STYLES: Final = ("photorealistic", "sketch", "abstract")
_IMAGE_EDITS: Final = ("color-adjust", "add-filter", "resize")
_VIDEO_EDITS: Final = ("trim", "add-filter", "adjust-speed")
_MEDIA_KINDS: Final = ("image", "video", "media")


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of *kind* `text`, `int` or `float`; *options* are its values if limited.

    The kinds `image`, `video` and `media` (any kind) are URLs of files that exist.
    """

    name: str
    kind: str = "text"
    options: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; *result_key* is the key of the new file's URL in the response.

    Endpoints that only read or delete have no *result_key* and cost nothing.
    """

    name: str
    method: str = "POST"
    required: tuple[Parameter, ...]
    optional: tuple[Parameter, ...] = ()
    result_key: str | None = None

    @property
    def paid(self) -> bool:
        return self.result_key is not None

    @property
    def media(self) -> dict[str, str]:
        """The kind of file by name of the parameter that is the URL of one."""
        return {
            parameter.name: parameter.kind
            for parameter in self.required
            if parameter.kind in _MEDIA_KINDS
        }


def _text(name: str, *options: str) -> Parameter:
    return Parameter(name, "text", options)


def _int(name: str) -> Parameter:
    return Parameter(name, "int")


_IMAGE: Final = Parameter("image_url", "image")
_VIDEO: Final = Parameter("video_url", "video")
_PROMPT: Final = _text("prompt")

ENDPOINTS: Final = (
    Endpoint(
        name="generate-image",
        required=(_PROMPT,),
        optional=(_text("style", *_STYLES),),
        result_key="image_url",
    ),
    Endpoint(
        name="edit-image",
        required=(_IMAGE, _text("edit_type", *_IMAGE_EDITS)),
        optional=(_text("filter"), _int("resize_width"), _int("resize_height")),
        result_key="edited_image_url",
    ),
    Endpoint(
        name="generate-video",
        required=(_PROMPT, _int("duration")),
        optional=(_int("fps"),),
        result_key="video_url",
    ),
    Endpoint(
        name="edit-video",
        required=(_VIDEO, _text("edit_type", *_VIDEO_EDITS)),
        optional=(_int("start_time"), _int("end_time")),
        result_key="edited_video_url",
    ),
    Endpoint(
        name="video-filter", required=(_VIDEO, _text("filter")), result_key="filtered_video_url"
    ),
    Endpoint(name="image-metadata", method="GET", required=(_IMAGE,)),
    Endpoint(name="video-metadata", method="GET", required=(_VIDEO,)),
    Endpoint(name="image-to-video", required=(_IMAGE, _int("duration")), result_key="video_url"),
    Endpoint(
        name="add-text-to-image",
        required=(_IMAGE, _text("text"), _text("position")),
        optional=(_int("font_size"),),
        result_key="text_image_url",
    ),
    Endpoint(
        name="style-transfer",
        required=(_IMAGE, Parameter("style_reference", "image")),
        result_key="styled_image_url",
    ),
    Endpoint(
        name="resize-video",
        required=(_VIDEO, _int("new_width"), _int("new_height")),
        result_key="resized_video_url",
    ),
    Endpoint(
        name="generate-thumbnail",
        required=(_VIDEO,),
        optional=(_int("time_position"),),
        result_key="thumbnail_url",
    ),
    Endpoint(name="extract-audio", required=(_VIDEO,), result_key="audio_url"),
    Endpoint(
        name="speed-adjust",
        required=(_VIDEO, Parameter("speed_factor", "float")),
        result_key="adjusted_speed_video_url",
    ),
    Endpoint(
        name="delete-media",
        method="DELETE",
        required=(Parameter("media_url", "media"), _text("auth_token")),
    ),
)


def input_error(endpoint: Endpoint, given: Json) -> str | None:
    """Return the first error in the parameters *given*, or None."""
    for parameter in endpoint.required:
        if given.get(parameter.name) in (None, ""):
            return f"Missing required parameter: {parameter.name}"
    for parameter in (*endpoint.required, *endpoint.optional):
        value = given.get(parameter.name)
        if value is not None and not _is_valid(parameter, value):
            return f"Invalid parameter: {parameter.name} must be {_describe(parameter)}"
    return None


def _is_valid(parameter: Parameter, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if parameter.kind == "int":
        return isinstance(value, int) and value >= 0
    if parameter.kind == "float":
        return isinstance(value, int | float) and value > 0
    return isinstance(value, str) and (not parameter.options or value in parameter.options)


def _describe(parameter: Parameter) -> str:
    if parameter.options:
        return f"one of {', '.join(parameter.options)}"
    return {"int": "a whole number", "float": "a positive number"}.get(parameter.kind, "text")
