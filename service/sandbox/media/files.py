"""Media files as values: what a file shows, and the token in its URL that says so.

The token is all that is known of a file: nothing is stored, and a file can be drawn again after a
restart.
"""

import base64
import re
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Final

import msgspec
from msgspec.structs import astuple, replace

FORMATS: Final = {
    "image": ("png", "image/png"),
    "video": ("mp4", "video/mp4"),
    "audio": ("wav", "audio/wav"),
    "model": ("glb", "model/gltf-binary"),
}
"""Extension and media type by kind of file."""
MAX_IMAGE_SIDE: Final = 1024
MAX_VIDEO_SIDE: Final = 320
MIN_SIDE: Final = 16
MAX_MILLISECONDS: Final = 60_000
MIN_MILLISECONDS: Final = 100
MAX_FPS: Final = 60
_NONE: Final = range(1)
_LIMITS: Final = {
    "image": (range(MIN_SIDE, MAX_IMAGE_SIDE + 1), _NONE, _NONE),
    "video": (
        range(MIN_SIDE, MAX_VIDEO_SIDE + 1, 2),  # even: colours have half the resolution
        range(MIN_MILLISECONDS, MAX_MILLISECONDS + 1),
        range(1, MAX_FPS + 1),
    ),
    "audio": (_NONE, range(MIN_MILLISECONDS, MAX_MILLISECONDS + 1), _NONE),
    "model": (_NONE, _NONE, _NONE),
}
"""The allowed sides, milliseconds and frames per second by kind of file."""
_IMAGE_SIDE: Final = 480
_VIDEO_SIDE: Final = 192
_DEFAULT_SHAPE: Final = (16, 9)

SEED_BYTES: Final = 6
_CHECK_BYTES: Final = 4
# The fields of MediaFile after its kind, in their order.
_FIELDS: Final = Struct(f">{SEED_BYTES}s{SEED_BYTES}sBHHHBBII")
_PATH: Final = re.compile(r"/media/([a-z]{5})/([A-Za-z0-9_-]{44})\.([a-z0-9]{3})")


class Tint(IntEnum):
    """A filter over all colours of a picture."""

    NONE = 0
    BLACK_AND_WHITE = 1
    SEPIA = 2


class MediaFile(msgspec.Struct, frozen=True):
    """One file of *kind* `image`, `video`, `audio` or `model`.

    *shapes* and *colours* are the seeds of what it shows, *index* counts files of one prompt.
    *width* and *height* are in pixels; fields that do not apply to the kind are 0. *created_at* is
    in seconds since 1970 (UTC); it and *serial* tell apart files that show the same.
    """

    kind: str
    shapes: bytes
    colours: bytes
    index: int = 0
    width: int = 0
    height: int = 0
    milliseconds: int = 0
    fps: int = 0
    tint: Tint = Tint.NONE
    created_at: int = 0
    serial: int = 0

    @property
    def path(self) -> str:
        """The path of the file's URL, without a slash at its start."""
        fields = _FIELDS.pack(*astuple(self)[1:])
        token = base64.urlsafe_b64encode(fields + _check(self.kind, fields)).decode()
        return f"media/{self.kind}/{token}.{FORMATS[self.kind][0]}"

    @property
    def frames(self) -> int:
        """How many frames a video has."""
        return max(1, round(self.milliseconds * self.fps / 1000))


def seed_of(*texts: str) -> bytes:
    """Derive a seed from *texts*; lone surrogates are allowed."""
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return blake2b(joined, digest_size=SEED_BYTES).digest()


def image(prompt: str, index: int = 0, shape: object = _DEFAULT_SHAPE) -> MediaFile:
    """Describe picture number *index* (0 to 255) of *prompt* in the aspect ratio of *shape*."""
    seed = seed_of(prompt)
    width, height = _fit(shape, _IMAGE_SIDE)
    return MediaFile(
        kind="image", shapes=seed, colours=seed, index=index, width=width, height=height
    )


def video(
    prompt: str, index: int = 0, shape: object = _DEFAULT_SHAPE, milliseconds: int = 2000
) -> MediaFile:
    """Describe a video in the aspect ratio of *shape*, with 24 frames per second."""
    seed = seed_of(prompt)
    width, height = _fit(shape, _VIDEO_SIDE)
    return MediaFile(
        kind="video",
        shapes=seed,
        colours=seed,
        index=index,
        width=width,
        height=height,
        milliseconds=limit(milliseconds, MIN_MILLISECONDS, MAX_MILLISECONDS),
        fps=24,
    )


def audio(prompt: str, index: int = 0, milliseconds: int = 2000) -> MediaFile:
    """Describe a melody."""
    seed = seed_of(prompt)
    length = limit(milliseconds, MIN_MILLISECONDS, MAX_MILLISECONDS)
    return MediaFile(kind="audio", shapes=seed, colours=seed, index=index, milliseconds=length)


def model(prompt: str, index: int = 0) -> MediaFile:
    """Describe a 3D model."""
    seed = seed_of(prompt)
    return MediaFile(kind="model", shapes=seed, colours=seed, index=index)


def read_path(path: str) -> MediaFile | None:
    """Read the file that *path* names; None unless it is exactly a path that `MediaFile` makes."""
    match = _PATH.fullmatch(path)
    if match is None or match[1] not in FORMATS or FORMATS[match[1]][0] != match[3]:
        return None
    raw = base64.urlsafe_b64decode(match[2])
    fields, check = raw[: _FIELDS.size], raw[_FIELDS.size :]
    if check != _check(match[1], fields):
        return None
    file = MediaFile(match[1], *_FIELDS.unpack(fields))
    if file.tint not in tuple(Tint):
        return None
    file = replace(file, tint=Tint(file.tint))
    return file if _is_within_limits(file) else None


def limit(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _check(kind: str, fields: bytes) -> bytes:
    """Compute the check that tells the sandbox's tokens from foreign and mistyped ones."""
    return blake2b(fields, digest_size=_CHECK_BYTES, person=f"belfry-{kind}".encode()).digest()


def _is_within_limits(file: MediaFile) -> bool:
    """Tell whether *file* is small enough to be drawn."""
    sides, lengths, rates = _LIMITS[file.kind]
    is_sized = file.width in sides and file.height in sides
    return is_sized and file.milliseconds in lengths and file.fps in rates


def _fit(shape: object, side: int) -> tuple[int, int]:
    """Scale *shape*, a width and a height, so that its longer side is *side*.

    Both are even, as videos need it. What is not a pair of positive integers is taken as 16:9.
    """
    match shape:
        case (int(width), int(height)) if width > 0 and height > 0:
            pass
        case _:
            width, height = _DEFAULT_SHAPE
    longer = max(width, height)
    return (
        max(MIN_SIDE, side * width // longer // 2 * 2),
        max(MIN_SIDE, side * height // longer // 2 * 2),
    )
