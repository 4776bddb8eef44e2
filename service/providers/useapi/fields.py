"""Input fields that several endpoints of useapi.net share, and the account they refer to.

The limits are those of the vendor's Postman collection of July 16, 2026
(useapi.net/assets/postman/runwayml-v1.json) and of the pages under
useapi.net/docs/api-runwayml-v1. Where these disagree, the wider limit is used. A field that they do
not describe has no limit here: the provider is the judge.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, Literal

from service.providers.kit.input_schema import InputField, reply_url

RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
MAX_SEED: Final = 4294967294

_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
_OWNED_ID: Final = re.compile(
    r"user:\w{1,100}-runwayml:([^\s@:]{1,100}@[^\s@:]{1,200})-(?:asset|task):[^:]{1,200}"
)
"""The full id of an asset or a task, which contains the e-mail address of its account."""
_MAX_VALUES: Final = 1000
"""Values of an input that are searched for such ids."""
# Not "." and "..": HTTP clients resolve such path segments, even if they are percent-encoded.
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$).+")


def asset(
    name: str, summary: str, *, required: bool = False, example: str | None = None
) -> InputField:
    return InputField(
        name=name,
        kind="string",
        summary=summary,
        required=required,
        pattern=_SEGMENT,
        pattern_description="the id of an asset",
        example=example,
    )


def prompt(*, required: bool = False, max_length: int | None = None) -> InputField:
    return InputField(
        name="text_prompt",
        kind="string",
        summary="What the result should show, in detail.",
        required=required,
        max_length=max_length,
        example="A lighthouse in a storm, film still" if required else None,
    )


def choice(name: str, summary: str, *values: Any, required: bool = False) -> InputField:
    """Describe a field with a few allowed values, all strings or all integers."""
    kind: Literal["string", "integer"] = "string" if isinstance(values[0], str) else "integer"
    return InputField(name=name, kind=kind, summary=summary, one_of=values, required=required)


def integer(
    name: str, low: int, high: int | None, summary: str, *, required: bool = False
) -> InputField:
    return InputField(
        name=name, kind="integer", summary=summary, minimum=low, maximum=high, required=required
    )


def number(
    name: str, low: float, high: float, summary: str, *, required: bool = False
) -> InputField:
    return InputField(
        name=name, kind="number", summary=summary, minimum=low, maximum=high, required=required
    )


def flag(name: str, summary: str) -> InputField:
    return InputField(name=name, kind="boolean", summary=summary)


RATIO: Final = choice("aspect_ratio", "Width to height; 16:9 by default.", *RATIOS)
ORIENTATION: Final = choice(
    "aspect_ratio", "The orientation; landscape by default.", "landscape", "portrait"
)
SEED: Final = integer("seed", 1, MAX_SEED, "The same seed gives the same result.")
NUMBER_OF_IMAGES: Final = choice("num_images", "How many images are made.", 1, 4)
DESCRIBED_ASSET: Final = asset(
    "image_assetId",
    "The id of the image asset, as returned by POST assets and GET assets.",
    required=True,
    example="user:12345-runwayml:me@example.com-asset:…",
)

REPLY_FIELDS: Final = (
    reply_url("replyUrl", max_length=1024),
    InputField(
        name="replyRef",
        kind="string",
        summary="Your own reference, returned in every event.",
        max_length=1024,
    ),
)
EMAIL: Final = InputField(
    name="email",
    kind="string",
    summary="The Runway account to use; by default any that is available.",
    pattern=_EMAIL,
    pattern_description="an e-mail address",
)
COMMON_FIELDS: Final = (
    EMAIL,
    flag("exploreMode", "Generate in Explore Mode, without credits; needs an Unlimited plan."),
    integer("maxJobs", 1, 10, "How many tasks the account may run at once."),
    *REPLY_FIELDS,
)


def account_of(given: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Find the account that must run a task: the e-mail address, and whether any account can.

    useapi.net runs a task at the account of the assets in its input, whatever else is available.
    """
    if "email" in given:
        return given["email"].lower(), False
    has_assets = False
    for name, value in islice(_values(given), _MAX_VALUES):
        if isinstance(value, str) and (owned := _OWNED_ID.fullmatch(value)):
            return owned[1].lower(), False
        has_assets = has_assets or "asset" in name.lower() or "taskid" in name.lower()
    return None, not has_assets


def _values(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """List the values of *given* and of the lists and objects in it, with the nearest name."""
    waiting: list[tuple[str, Any]] = list(given.items())
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]
