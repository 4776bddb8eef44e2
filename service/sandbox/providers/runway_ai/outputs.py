"""The files that the endpoints of runway-ai.ai make, and the metadata of a file."""

import secrets
from time import gmtime, strftime
from typing import Final

from msgspec.structs import replace

from service.domain.primitives.timestamps import SECOND
from service.sandbox.ledger import Json, now
from service.sandbox.media.files import (
    MAX_FPS,
    MAX_IMAGE_SIDE,
    MAX_MILLISECONDS,
    MAX_VIDEO_SIDE,
    MIN_MILLISECONDS,
    MIN_SIDE,
    MediaFile,
    Tint,
    image,
    limit,
    seed_of,
    video,
)

_SHAPE: Final = (4, 3)
_TINTS: Final = {
    "black-and-white": Tint.BLACK_AND_WHITE,
    "sepia": Tint.SEPIA,
    "vintage": Tint.SEPIA,
}


def new_file(endpoint: str, given: Json, media: dict[str, MediaFile]) -> MediaFile:
    """Describe the new file that *endpoint* makes of the parameters *given*.

    *media* are the files that the parameters name. What is asked for beyond the limits of the
    sandbox's files is made as close to it as they allow. Overlaid text is not drawn.
    """
    source = media.get("image_url") or media.get("video_url")
    file = _generated(given) if source is None else _derived(endpoint, given, source, media)
    return replace(file, created_at=now() // SECOND, serial=secrets.randbits(32))


def metadata(file: MediaFile, size: int) -> Json:
    """Build the documented metadata of *file*, which has *size* bytes."""
    # A file of another emulated provider has no time: it is made whenever it is read.
    created_at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(file.created_at or now() // SECOND))
    file_id = file.path.rpartition("/")[2].partition(".")[0]
    shown_size = f"{max(1, round(size / 1024))}KB"
    if file.kind == "image":
        sides = {"width": file.width, "height": file.height}
        return {"image_id": file_id, "size": shown_size, **sides, "created_at": created_at}
    duration = f"{round(file.frames / file.fps, 3):g}s"
    return {
        "video_id": file_id,
        "size": shown_size,
        "duration": duration,
        "created_at": created_at,
    }


def _generated(given: Json) -> MediaFile:
    prompt = given["prompt"]
    if "duration" not in given:
        colours = seed_of(prompt, given.get("style") or "")
        return replace(image(prompt, shape=_SHAPE), colours=colours)
    file = video(prompt, shape=_SHAPE, milliseconds=1000 * given["duration"])
    return replace(file, fps=limit(given.get("fps") or file.fps, 1, MAX_FPS))


def _derived(
    endpoint: str, given: Json, source: MediaFile, media: dict[str, MediaFile]
) -> MediaFile:
    match endpoint:
        case "edit-image":
            file = _edited_image(given, source)
        case "edit-video" if given["edit_type"] == "trim":
            end = min(1000 * (given.get("end_time") or MAX_MILLISECONDS), source.milliseconds)
            file = _timed(source, end - 1000 * (given.get("start_time") or 0))
        case "video-filter":
            file = _filtered(source, given["filter"])
        case "image-to-video":
            made = video("", shape=(source.width, source.height))
            sides = {"width": made.width, "height": made.height, "fps": made.fps}
            file = _timed(replace(source, kind="video", **sides), 1000 * given["duration"])
        case "style-transfer":
            file = replace(source, colours=media["style_reference"].colours)
        case "resize-video":
            width, height = (
                limit(given[name], MIN_SIDE, MAX_VIDEO_SIDE) // 2 * 2
                for name in ("new_width", "new_height")
            )
            file = replace(source, width=width, height=height)
        case "generate-thumbnail":
            file = replace(source, kind="image", milliseconds=0, fps=0)
        case "extract-audio":
            file = replace(source, kind="audio", width=0, height=0, fps=0)
        case "speed-adjust":
            milliseconds = source.milliseconds / given["speed_factor"]
            file = _timed(source, round(min(milliseconds, MAX_MILLISECONDS)))
        case _:
            file = source
    return file


def _edited_image(given: Json, source: MediaFile) -> MediaFile:
    match given["edit_type"]:
        case "resize":
            width, height = (
                limit(given.get(name) or side, MIN_SIDE, MAX_IMAGE_SIDE)
                for name, side in (("resize_width", source.width), ("resize_height", source.height))
            )
            return replace(source, width=width, height=height)
        case edit_type:
            return _filtered(source, given.get("filter") or edit_type)


def _filtered(source: MediaFile, name: str) -> MediaFile:
    """Apply the filter *name*; one that is not known gives other colours."""
    if name in _TINTS:
        return replace(source, tint=_TINTS[name])
    return replace(source, colours=seed_of(source.colours.hex(), name))


def _timed(source: MediaFile, milliseconds: int) -> MediaFile:
    return replace(source, milliseconds=limit(milliseconds, MIN_MILLISECONDS, MAX_MILLISECONDS))
