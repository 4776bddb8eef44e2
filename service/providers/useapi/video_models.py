"""The fields of `videos.create`, and what each of its models accepts.

The table is that of useapi.net/docs/api-runwayml-v1/post-runwayml-videos-create and of the vendor's
Postman collection of July 16, 2026. The vendor adds models often: one that is not in the table is
sent as it is.
"""

from types import MappingProxyType
from typing import Any, Final

import msgspec

from service.domain.primitives.errors import FieldError
from service.providers.kit.input_schema import InputField
from service.providers.useapi.fields import RATIOS, SEED, asset, choice, flag, integer, prompt

_SHOTS: Final = range(1, 7)
_MAX_SHOTS_SECONDS: Final = 15

FIELDS: Final = (
    InputField(
        name="model",
        kind="string",
        summary="The video model.",
        required=True,
        example="gen4.5",
    ),
    prompt(max_length=5000),
    integer("duration", 1, None, "Length of the video in seconds; the values depend on the model."),
    choice("aspect_ratio", "Width to height; 16:9 by default.", *RATIOS, "2:3", "3:2"),
    InputField(name="resolution", kind="string", summary="The resolution, as `720p`."),
    flag("audio", "Whether the video has sound."),
    SEED,
    *(asset(f"imageAssetId{slot}", "The id of a reference image.") for slot in range(1, 12)),
    asset("startFrameAssetId", "The id of the first frame."),
    asset("endFrameAssetId", "The id of the last frame."),
    *(
        asset(name, "The id of a reference video.")
        for name in ("videoAssetId", "videoAssetId2", "videoAssetId3")
    ),
    *(asset(f"audioAssetId{slot}", "The id of a reference sound.") for slot in range(1, 4)),
    choice("characterOrientation", "Of Kling 3.0 Motion Control.", "image", "video"),
    *(
        integer(f"multishot_duration_{shot}", 3, 12, "Length of a shot in seconds.")
        for shot in _SHOTS
    ),
)


class VideoModel(msgspec.Struct, frozen=True, kw_only=True):
    """What one model accepts; an empty tuple or None: no limit is documented."""

    durations: tuple[int, ...] = ()
    ratios: tuple[str, ...] = RATIOS
    resolutions: tuple[str, ...] = ()
    max_prompt: int | None = None
    required: tuple[str, ...] = ()


_FIRST_THREE: Final = ("16:9", "9:16", "1:1")
_HD: Final = ("720p", "1080p")
_SEEDANCE: Final = VideoModel(
    durations=tuple(range(4, 16)), resolutions=("480p", *_HD), max_prompt=3500
)
_KLING_O3: Final = VideoModel(durations=(5, 10, 15), ratios=_FIRST_THREE, max_prompt=2500)
_KLING_3: Final = VideoModel(durations=(5, 10, 15), ratios=_FIRST_THREE)
_GEN_4: Final = VideoModel(
    durations=(5, 10), max_prompt=1000, required=("text_prompt", "imageAssetId1")
)
MODELS: Final = MappingProxyType(
    {
        "seedance-2": _SEEDANCE,
        "seedance-2-fast": _SEEDANCE,
        "grok-imagine-1.5": VideoModel(
            durations=tuple(range(3, 16)),
            ratios=("16:9", "9:16", "1:1", "4:3", "3:4", "2:3", "3:2"),
            resolutions=("480p", "720p"),
            max_prompt=2500,
            required=("imageAssetId1",),
        ),
        "happyhorse-1.0": VideoModel(
            durations=tuple(range(3, 16)),
            ratios=("16:9", "9:16", "1:1", "4:3", "3:4"),
            resolutions=_HD,
            max_prompt=2500,
        ),
        "kling-o3-4k": _KLING_O3,
        "kling-o3-pro": _KLING_O3,
        "kling-o3-standard": _KLING_O3,
        "kling-3.0-pro": _KLING_3,
        "kling-3.0-standard": _KLING_3,
        "kling-3.0-motion-control": VideoModel(
            resolutions=_HD, max_prompt=2500, required=("videoAssetId",)
        ),
        "kling-2.6-pro": VideoModel(
            durations=(5, 10), ratios=("16:9", "9:16"), required=("text_prompt",)
        ),
        "kling-2.6-i2v": VideoModel(durations=(5, 10), required=("text_prompt", "imageAssetId1")),
        "wan-2.6-flash": VideoModel(
            durations=(5, 10, 15), resolutions=_HD, required=("text_prompt", "imageAssetId1")
        ),
        "wan-2.2-animate": VideoModel(required=("imageAssetId1", "videoAssetId")),
        "veo-3.1": VideoModel(durations=(4, 6, 8), resolutions=_HD),
        "sora-2": VideoModel(durations=(4, 8, 12)),
        "sora-2-pro": VideoModel(durations=(4, 8, 12), resolutions=_HD),
        "gen4.5": VideoModel(durations=tuple(range(2, 11))),
        "gen4": _GEN_4,
        "gen4-turbo": _GEN_4,
    }
)


def model_errors(given: dict[str, Any]) -> list[FieldError]:
    """Return what the model of *given* does not accept.

    A value of the wrong type is the business of `FIELDS` and gets no second error here.
    """
    name = given.get("model")
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        return []
    messages = {
        field: f"is required by {name}" for field in model.required if given.get(field) is None
    }
    text = given.get("text_prompt")
    if model.max_prompt and isinstance(text, str) and len(text) > model.max_prompt:
        messages["text_prompt"] = f"may have at most {model.max_prompt} characters with {name}"
    for field, allowed in _choices(model, given):
        if allowed and given.get(field) not in (None, *allowed):
            messages[field] = f"must be one of {', '.join(map(str, allowed))} with {name}"
    if given.get("endFrameAssetId") and not given.get("startFrameAssetId"):
        messages["startFrameAssetId"] = "is required with endFrameAssetId"
    lengths = [given.get(f"multishot_duration_{shot}") for shot in _SHOTS]
    if sum(length for length in lengths if isinstance(length, int)) > _MAX_SHOTS_SECONDS:
        messages["multishot_duration_1"] = (
            f"and the other shots may have at most {_MAX_SHOTS_SECONDS} seconds together"
        )
    return [FieldError(f"input.{field}", message) for field, message in messages.items()]


def _choices(
    model: VideoModel, given: dict[str, Any]
) -> list[tuple[str, tuple[int, ...] | tuple[str, ...]]]:
    """List the fields with allowed values; shots and an edited video have their own duration."""
    has_own_duration = "multishot_prompt_1" in given or "videoAssetId" in given
    return [
        ("duration", () if has_own_duration else model.durations),
        ("aspect_ratio", model.ratios),
        ("resolution", model.resolutions),
    ]
