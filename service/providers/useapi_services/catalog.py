"""The table of useapi.net's services with `replyUrl`, and of their calls.

Source: the vendor's collections of requests, one per service (api-evangelist/useapi on GitHub has
them as OpenAPI documents); for Midjourney its pages.
"""

from types import MappingProxyType
from typing import Any, Final

import msgspec

from service.providers.kit.input_schema import InputField
from service.providers.protocol import LostAnswerPolicy, Operation
from service.providers.useapi.fields import REPLY_FIELDS

_DEADLINE_SECONDS: Final = 7200
JOB_KEYS: Final = ("jobid", "jobId", "job_id")


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service: its *path* below the API's root, and its *calls*, all of them POST.

    *id_keys* are the fields of a body that may hold the id of the task. *read_path* shows a task;
    `{id}` in it is that id, and `{folder}` the first segment of the call. *fixed* are fields that
    every call sends, so that it answers at once and calls back later.
    """

    name: str
    title: str
    path: str
    calls: tuple[str, ...]
    id_keys: tuple[str, ...] = JOB_KEYS
    read_path: str = "jobs/{id}"
    fixed: dict[str, Any] = {}


SERVICES: Final = (
    Service(
        name="kling",
        title="Kling",
        path="/v1/kling",
        calls=(
            *("videos/text2video", "videos/image2video-frames", "videos/image2video-elements"),
            *("videos/image2video-effects", "videos/extend", "videos/lipsync", "avatars/video"),
            *("images/kolors", "images/kolors-elements", "images/upscale"),
            "images/virtual-try-on",
        ),
        id_keys=("taskId", "task_id"),
        read_path="tasks/{id}",
    ),
    Service(
        name="minimax",
        title="MiniMax",
        path="/v1/minimax",
        calls=("videos/create", "videos/agent-create", "images/create", "agent"),
        id_keys=("videoId", "imageId", *JOB_KEYS),
        read_path="{folder}/{id}",
    ),
    Service(
        name="pixverse",
        title="PixVerse",
        path="/v2/pixverse",
        calls=(
            *("videos/create", "videos/create-frames", "videos/create-fusion"),
            *("videos/create-transition", "videos/extend", "videos/lipsync", "videos/modify"),
            *("videos/motion-control", "videos/restyle", "videos/upscale"),
            *("images/create", "music/create", "speech/create"),
        ),
        id_keys=("video_id", "image_id", "audio_id", "taskId"),
        read_path="{folder}/{id}",
    ),
    Service(
        name="google-flow",
        title="Google Flow",
        path="/v1/google-flow",
        calls=("videos", "videos/extend", "videos/upscale", "images"),
        fixed={"async": True},
    ),
    Service(
        name="dreamina",
        title="Dreamina",
        path="/v1/dreamina",
        calls=("videos", "videos/interpolate", "videos/upscale", "images"),
        read_path="{folder}/{id}",
    ),
    Service(
        name="mureka",
        title="Mureka",
        path="/v1/mureka",
        calls=(
            *("music/create", "music/create-advanced", "music/create-instrumental"),
            *("music/extend", "music/regenerate", "speech"),
        ),
    ),
    Service(
        name="tempolor",
        title="TemPolor",
        path="/v1/tempolor",
        calls=("music/song", "music/instrumental"),
        read_path="music/{id}",
    ),
    Service(
        name="faceswap",
        title="InsightFaceSwap",
        path="/v1/faceswap",
        calls=(
            *("swap", "swapid", "inswapper", "picsi", "changebg", "headshot"),
            *("saveid", "setid", "listid"),
        ),
        read_path="jobs/?jobid={id}",
    ),
    Service(
        name="midjourney",
        title="Midjourney",
        path="/v3/midjourney",
        calls=(
            *("jobs/imagine", "jobs/blend", "jobs/button", "jobs/describe"),
            *("jobs/variability", "jobs/remix"),
        ),
        fixed={"stream": False},
    ),
)
_FIELDS: Final = (
    *REPLY_FIELDS,
    InputField(
        name="maxJobs",
        kind="integer",
        summary="How many tasks the account may run at once.",
        minimum=1,
        maximum=50,
    ),
)


class Row(msgspec.Struct, frozen=True):
    """One call of one service."""

    service: Service
    call: str

    @property
    def folder(self) -> str:
        return self.call.partition("/")[0]


ROWS: Final = MappingProxyType(
    {
        f"{service.name}.{call.replace('/', '.')}": Row(service, call)
        for service in SERVICES
        for call in service.calls
    }
)
OPERATIONS: Final = MappingProxyType(
    {
        name: Operation(
            name=name,
            summary=f"Call {row.call} of {row.service.title}.",
            inputs=_FIELDS,
            answers_immediately=False,
            on_lost_answer=LostAnswerPolicy.AWAIT,  # another POST would be billed again
            deadline_seconds=_DEADLINE_SECONDS,
        )
        for name, row in ROWS.items()
    }
)
