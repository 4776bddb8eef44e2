"""The table of useapi.net's endpoints: a row for each, with its inputs."""

import re
from types import MappingProxyType
from typing import Final

import msgspec

from service.providers.input_schema import WEB_URL, InputField
from service.providers.protocol import LostAnswerPolicy, Operation
from service.providers.useapi.runway_endpoints import IMAGE_SECONDS, ROWS

STYLES: Final = (
    *("vivid", "vivid-warm", "vivid-cool", "high-contrast", "high-contrast-warm"),
    *("high-contrast-cool", "bw", "bw-contrast", "muted-pastel", "dreamscape", "nordic-minimal"),
    *("light-anime", "dark-anime", "painted-anime", "3d-cartoon", "sketch", "low-angle"),
    *("in-motion", "terracotta"),
)
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")

_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
# URL clients resolve a segment of dots, encoded or not, as a step through the path.
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$).+")

REPLY: Final = (
    InputField(
        name="replyUrl",
        kind="string",
        summary="Where this job's events are sent.",
        max_length=1024,
        pattern=WEB_URL,
        form="an http or https URL",
    ),
    InputField(
        name="replyRef",
        kind="string",
        summary="Your own reference, given back in every event.",
        max_length=1024,
    ),
)
COMMON: Final = (
    InputField(
        name="email",
        kind="string",
        summary="The Runway account to use; any available one if not given.",
        pattern=_EMAIL,
        form="an e-mail address",
    ),
    InputField(
        name="exploreMode",
        kind="boolean",
        summary="Relaxed generation without credits, on an Unlimited plan.",
    ),
    InputField(
        name="maxJobs",
        kind="integer",
        summary="How many tasks the account may run at once.",
        minimum=1,
        maximum=10,
    ),
    *REPLY,
)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table; `{name}` in *path* is filled with the input of that name."""

    method: str
    path: str
    operation: Operation


def _task(
    path: str, summary: str, *inputs: InputField, deadline_seconds: int = IMAGE_SECONDS
) -> Endpoint:
    """Make the row of an endpoint that takes replyUrl: the task's end comes as a callback.

    A repeated POST would be a second paid task, so in doubt its callback is awaited.
    """
    operation = Operation(
        name=path.replace("/", "."),
        summary=summary,
        inputs=(*inputs, *COMMON),
        answers_immediately=False,
        on_lost_answer=LostAnswerPolicy.AWAIT,
        deadline_seconds=deadline_seconds,
    )
    return Endpoint(method="POST", path=path, operation=operation)


FRAMES: Final = _task(
    "frames/create",
    "Generate four images from a text prompt with Runway Frames.",
    InputField(
        name="text_prompt",
        kind="string",
        summary="What the images are to show, in detail.",
        required=True,
        max_length=1000,
        example="A lighthouse in a storm, film still",
    ),
    InputField(name="style", kind="string", summary="The look of the images.", one_of=STYLES),
    InputField(
        name="aspect_ratio",
        kind="string",
        summary="Width to height; 16:9 if not given.",
        one_of=RATIOS,
    ),
    InputField(
        name="diversity",
        kind="integer",
        summary="Aesthetic range: how much the images of a set differ; 2 if not given.",
        minimum=0,
        maximum=5,
    ),
    InputField(
        name="seed",
        kind="integer",
        summary="Repeats a result.",
        minimum=1,
        maximum=4294967294,
    ),
)
DESCRIBE: Final = Endpoint(
    method="GET",
    path="frames/describe/{image_assetId}",
    operation=Operation(
        name="frames.describe",
        summary="Describe an image asset in words that can start a prompt.",
        inputs=(
            InputField(
                name="image_assetId",
                kind="string",
                summary="The image asset, as POST assets and GET assets name it.",
                required=True,
                pattern=_SEGMENT,
                form="the id of an image asset",
                example="user:12345-runwayml:me@example.com-asset:…",
            ),
            *REPLY,
        ),
        answers_immediately=True,
        on_lost_answer=LostAnswerPolicy.RESEND,
        answer_timeout_seconds=120.0,
    ),
)
OTHERS: Final = tuple(
    _task(path, summary, deadline_seconds=seconds) for path, seconds, summary in ROWS
)
ENDPOINTS: Final = MappingProxyType(
    {row.operation.name: row for row in (FRAMES, DESCRIBE, *OTHERS)}
)
