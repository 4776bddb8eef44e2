"""Input checks of useapi.net, as documented; the response names the first error only.

`frames/create` is checked completely, other endpoints only in the parameters that all share.
"""

from collections.abc import Callable
from typing import Any, Final

from service.sandbox.ledger import Json
from service.sandbox.providers.useapi.endpoints import FRAMES
from service.sandbox.sender import is_http_url

STYLES: Final = frozenset(
    {"vivid", "vivid-warm", "vivid-cool", "high-contrast", "high-contrast-warm"}
    | {"high-contrast-cool", "bw", "bw-contrast", "muted-pastel", "dreamscape", "nordic-minimal"}
    | {"light-anime", "dark-anime", "painted-anime", "3d-cartoon", "sketch", "low-angle"}
    | {"in-motion", "terracotta"}
)
SIZES: Final = {
    "16:9": (1920, 1088),
    "9:16": (1088, 1920),
    "1:1": (1440, 1440),
    "4:3": (1680, 1264),
    "3:4": (1264, 1680),
    "21:9": (2112, 912),
}
NUMBERS_OF_IMAGES: Final = frozenset({1, 4})
_TEXT_LENGTH: Final = 1000
_REPLY_LENGTH: Final = 1024

Check = Callable[[Any], bool]
Rules = tuple[tuple[str, Check, str], ...]


def is_asset_field(name: str) -> bool:
    """Tell whether a parameter holds the id of an asset, as `imageAssetId1`, `video_assetId`."""
    return "assetid" in name.lower()


def input_error(endpoint: str, body: Json) -> str | None:
    """Return the first error in *body*, or None; unknown parameters are accepted."""
    if endpoint == FRAMES and not body.get("text_prompt"):
        return "Parameter text_prompt is required"
    rules = (*_FRAMES_RULES, *_COMMON_RULES) if endpoint == FRAMES else _COMMON_RULES
    for name, is_valid, message in rules:
        if body.get(name) is not None and not is_valid(body[name]):
            return f"{name} {message}"
    return None


def _is_text(length: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= length


def _is_integer(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _is_number(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _is_one_of(values: frozenset[Any]) -> Check:
    return lambda value: isinstance(value, str | int) and value in values


_FRAMES_RULES: Final[Rules] = (
    ("text_prompt", _is_text(_TEXT_LENGTH), f"must be text of up to {_TEXT_LENGTH} characters"),
    ("style", _is_one_of(STYLES), "is not a supported style"),
    ("aspect_ratio", _is_one_of(frozenset(SIZES)), f"must be one of {', '.join(SIZES)}"),
    ("diversity", _is_number(0, 5), "must be within 0…5"),
    ("seed", _is_integer(1, 4294967294), "must be within 1…4294967294"),
    ("num_images", _is_one_of(NUMBERS_OF_IMAGES), "must be 1 or 4"),
)
_COMMON_RULES: Final[Rules] = (
    ("exploreMode", lambda value: isinstance(value, bool), "must be true or false"),
    ("replyUrl", _is_text(_REPLY_LENGTH), "is too long"),
    ("replyUrl", is_http_url, "is not a valid URL"),
    ("replyRef", _is_text(_REPLY_LENGTH), "is too long"),
    ("maxJobs", _is_integer(1, 10), "must be within 1…10"),
    ("email", _is_text(_REPLY_LENGTH), "must be text"),
)
