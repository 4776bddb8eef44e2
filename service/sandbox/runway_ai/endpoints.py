"""The fifteen endpoints of runway-ai.ai: what they take, and what they answer."""

from typing import Any, Final
from uuid import uuid4

import msgspec

from service.sandbox.ledger import Json

_STYLES: Final = ("photorealistic", "sketch", "abstract")
_IMAGE_EDITS: Final = ("color-adjust", "add-filter", "resize")
_VIDEO_EDITS: Final = ("trim", "add-filter", "adjust-speed")
_CREATED: Final = "2024-09-12T10:00:00Z"


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of *kind* `text`, `int` or `float`; one of *options*, if there are any."""

    name: str
    kind: str = "text"
    options: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """*makes* is the key of the result; reading and deleting make nothing and cost nothing."""

    name: str
    method: str = "POST"
    needs: tuple[Parameter, ...]
    takes: tuple[Parameter, ...] = ()
    makes: str | None = None

    @property
    def paid(self) -> bool:
        return self.makes is not None


def _text(name: str, *options: str) -> Parameter:
    return Parameter(name, "text", options)


def _int(name: str) -> Parameter:
    return Parameter(name, "int")


_IMAGE: Final = _text("image_url")
_VIDEO: Final = _text("video_url")
_PROMPT: Final = _text("prompt")

ENDPOINTS: Final = (
    Endpoint(
        name="generate-image",
        needs=(_PROMPT,),
        takes=(_text("style", *_STYLES),),
        makes="image_url",
    ),
    Endpoint(
        name="edit-image",
        needs=(_IMAGE, _text("edit_type", *_IMAGE_EDITS)),
        takes=(_text("filter"), _int("resize_width"), _int("resize_height")),
        makes="edited_image_url",
    ),
    Endpoint(
        name="generate-video",
        needs=(_PROMPT, _int("duration")),
        takes=(_int("fps"),),
        makes="video_url",
    ),
    Endpoint(
        name="edit-video",
        needs=(_VIDEO, _text("edit_type", *_VIDEO_EDITS)),
        takes=(_int("start_time"), _int("end_time")),
        makes="edited_video_url",
    ),
    Endpoint(name="video-filter", needs=(_VIDEO, _text("filter")), makes="filtered_video_url"),
    Endpoint(name="image-metadata", method="GET", needs=(_IMAGE,)),
    Endpoint(name="video-metadata", method="GET", needs=(_VIDEO,)),
    Endpoint(name="image-to-video", needs=(_IMAGE, _int("duration")), makes="video_url"),
    Endpoint(
        name="add-text-to-image",
        needs=(_IMAGE, _text("text"), _text("position")),
        takes=(_int("font_size"),),
        makes="text_image_url",
    ),
    Endpoint(
        name="style-transfer", needs=(_IMAGE, _text("style_reference")), makes="styled_image_url"
    ),
    Endpoint(
        name="resize-video",
        needs=(_VIDEO, _int("new_width"), _int("new_height")),
        makes="resized_video_url",
    ),
    Endpoint(
        name="generate-thumbnail",
        needs=(_VIDEO,),
        takes=(_int("time_position"),),
        makes="thumbnail_url",
    ),
    Endpoint(name="extract-audio", needs=(_VIDEO,), makes="audio_url"),
    Endpoint(
        name="speed-adjust",
        needs=(_VIDEO, Parameter("speed_factor", "float")),
        makes="adjusted_speed_video_url",
    ),
    Endpoint(name="delete-media", method="DELETE", needs=(_text("media_url"), _text("auth_token"))),
)


def fault(endpoint: Endpoint, given: Json) -> str | None:
    """Name the first thing wrong with the parameters *given*, or None."""
    for parameter in endpoint.needs:
        if given.get(parameter.name) in (None, ""):
            return f"Missing required parameter: {parameter.name}"
    for parameter in (*endpoint.needs, *endpoint.takes):
        value = given.get(parameter.name)
        if value is not None and not _fits(parameter, value):
            return f"Invalid parameter: {parameter.name} must be {_words(parameter)}"
    return None


def result(endpoint: Endpoint) -> Json:
    """Answer as documented, with an output that nobody else was given."""
    ident = str(uuid4())
    if endpoint.makes is not None:
        return {endpoint.makes: f"https://api.runway-ai.ai/{_file(endpoint.makes, ident)}"}
    if endpoint.name == "image-metadata":
        sizes = {"size": "2MB", "width": 1024, "height": 768}
        return {"image_id": ident, **sizes, "created_at": _CREATED}
    if endpoint.name == "video-metadata":
        return {"video_id": ident, "size": "50MB", "duration": "30s", "created_at": _CREATED}
    return {"message": "Media successfully deleted"}


def _file(key: str, ident: str) -> str:
    if "video" in key:
        return f"videos/{ident}.mp4"
    return f"audios/{ident}.mp3" if "audio" in key else f"images/{ident}.jpg"


def _fits(parameter: Parameter, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if parameter.kind == "int":
        return isinstance(value, int) and value >= 0
    if parameter.kind == "float":
        return isinstance(value, int | float) and value > 0
    return isinstance(value, str) and (not parameter.options or value in parameter.options)


def _words(parameter: Parameter) -> str:
    if parameter.options:
        return f"one of {', '.join(parameter.options)}"
    return {"int": "a whole number", "float": "a positive number"}.get(parameter.kind, "text")
