"""The table of useapi.net's endpoints: method, path and input fields of each."""

import re
from types import MappingProxyType
from typing import Final

import msgspec

from service.providers.kit.input_schema import WEB_URL, InputField
from service.providers.protocol import LostAnswerPolicy, Operation
from service.providers.useapi.runway_endpoints import IMAGE_SECONDS, ROWS

STYLES: Final = (
    "vivid",
    "vivid-warm",
    "vivid-cool",
    "high-contrast",
    "high-contrast-warm",
    "high-contrast-cool",
    "bw",
    "bw-contrast",
    "muted-pastel",
    "dreamscape",
    "nordic-minimal",
    "light-anime",
    "dark-anime",
    "painted-anime",
    "3d-cartoon",
    "sketch",
    "low-angle",
    "in-motion",
    "terracotta",
)
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")

_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
# Not "." and "..": HTTP clients resolve such path segments, even if they are percent-encoded.
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$).+")

REPLY_FIELDS: Final = (
    InputField(
        name="replyUrl",
        kind="string",
        summary="Where this job's events are sent.",
        max_length=1024,
        pattern=WEB_URL,
        pattern_description="an http or https URL",
    ),
    InputField(
        name="replyRef",
        kind="string",
        summary="Your own reference, returned in every event.",
        max_length=1024,
    ),
)
COMMON_FIELDS: Final = (
    InputField(
        name="email",
        kind="string",
        summary="The Runway account to use; by default any that is available.",
        pattern=_EMAIL,
        pattern_description="an e-mail address",
    ),
    InputField(
        name="exploreMode",
        kind="boolean",
        summary="Generate in Explore Mode, without credits; needs an Unlimited plan.",
    ),
    InputField(
        name="maxJobs",
        kind="integer",
        summary="How many tasks the account may run at once.",
        minimum=1,
        maximum=10,
    ),
    *REPLY_FIELDS,
)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; `{name}` in *path* is replaced by the input field of that name."""

    method: str
    path: str
    operation: Operation


def _task_endpoint(
    path: str, summary: str, *inputs: InputField, deadline_seconds: int = IMAGE_SECONDS
) -> Endpoint:
    """Build an endpoint that takes `replyUrl` and reports the end of its task by callback.

    Another POST would create, and bill, a second task. So a submit whose answer was lost is not
    sent again; its callback is awaited.
    """
    operation = Operation(
        name=path.replace("/", "."),
        summary=summary,
        inputs=(*inputs, *COMMON_FIELDS),
        answers_immediately=False,
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=deadline_seconds,
    )
    return Endpoint(method="POST", path=path, operation=operation)


FRAMES: Final = _task_endpoint(
    "frames/create",
    "Generate four images from a text prompt with Runway Frames.",
    InputField(
        name="text_prompt",
        kind="string",
        summary="What the images should show, in detail.",
        required=True,
        max_length=1000,
        example="A lighthouse in a storm, film still",
    ),
    InputField(name="style", kind="string", summary="The look of the images.", one_of=STYLES),
    InputField(
        name="aspect_ratio",
        kind="string",
        summary="Width to height; 16:9 by default.",
        one_of=RATIOS,
    ),
    InputField(
        name="diversity",
        kind="integer",
        summary="Aesthetic range: how much the images of a set differ; 2 by default.",
        minimum=0,
        maximum=5,
    ),
    InputField(
        name="seed",
        kind="integer",
        summary="The same seed gives the same result.",
        minimum=1,
        maximum=4294967294,
    ),
)
DESCRIBE: Final = Endpoint(
    method="GET",
    path="frames/describe/{image_assetId}",
    operation=Operation(
        name="frames.describe",
        summary="Describe an image asset in words that can be used as a prompt.",
        inputs=(
            InputField(
                name="image_assetId",
                kind="string",
                summary="The id of the image asset, as returned by POST assets and GET assets.",
                required=True,
                pattern=_SEGMENT,
                pattern_description="the id of an image asset",
                example="user:12345-runwayml:me@example.com-asset:…",
            ),
            *REPLY_FIELDS,
        ),
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.RESEND,
        answer_timeout_seconds=120.0,
    ),
)
_OTHER_ENDPOINTS: Final = tuple(
    _task_endpoint(path, summary, deadline_seconds=seconds) for path, seconds, summary in ROWS
)
ENDPOINTS: Final = MappingProxyType(
    {endpoint.operation.name: endpoint for endpoint in (FRAMES, DESCRIBE, *_OTHER_ENDPOINTS)}
)
