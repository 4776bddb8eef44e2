"""Input checks of Runware's task types; each error becomes an item of `errors`."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from service.sandbox.ledger import Json
from service.sandbox.providers.runware.instant import INSTANT_TYPES, StoredMedia
from service.sandbox.sender import is_http_url

READS: Final = frozenset({"getResponse", "getTaskDetails"})
CONNECTION_TYPES: Final = frozenset({"authentication", "ping"})
"""Tasks without a taskUUID."""
_OTHER_TYPES: Final = (
    *("imageControlNetPreProcess", "controlNetPreprocess", "imageMasking", "photoMaker"),
    *("vectorize", "3dInference", "training", "modelUpload"),
)
_REQUIRED: Final = {
    "imageCaption": ("inputImage", "model"),
    "caption": ("inputImage", "model"),
    "imageInference": ("positivePrompt", "model"),
    "videoInference": ("positivePrompt", "model"),
    "audioInference": ("positivePrompt", "model"),
    "textInference": ("model",),
    "imageUpscale": ("inputImage",),
    "upscale": ("inputImage",),
    "imageBackgroundRemoval": ("inputImage",),
    "removeBackground": ("inputImage",),
    "promptEnhance": ("prompt",),
    "imageUpload": ("image",),
    "mediaStorage": ("operation", "media"),
}
TASK_TYPES: Final = frozenset(
    (*READS, *CONNECTION_TYPES, *INSTANT_TYPES, *_REQUIRED, *_OTHER_TYPES)
)
_MEDIA_UUIDS: Final = ("inputImage", "mediaUUID")
"""Parameters whose UUID must be that of a stored or generated file."""
_AIR: Final = re.compile(r"[\w.-]+:[\w.-]+@[\w.-]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IMAGE: Final = re.compile(
    r"https?://\S+|data:[\w.+/-]+;base64,[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9+/]+={0,2}"
)
_MAX_RESULTS: Final = 20


def input_errors(task: Json, stored: StoredMedia) -> list[Json]:
    """Return all errors in the parameters of *task*, as Runware's error items."""
    errors = [*_find_errors(task), *_find_missing_media(task, stored)]
    return [error_item(task, code, message, name) for code, name, message in errors]


def error_item(task: Json, code: str, message: str, parameter: str | None = None) -> Json:
    """Build an error item; it leaves out what *task* does not have.

    Shape: https://runware.ai/docs/platform/errors
    """
    item = {
        "code": code,
        "message": message,
        "parameter": parameter,
        "taskType": task.get("taskType"),
        "taskUUID": task.get("taskUUID"),
        "documentation": "https://runware.ai/docs/platform/errors",
    }
    return {key: value for key, value in item.items() if isinstance(value, str)}


def _find_errors(task: Json) -> Iterator[tuple[str, str, str]]:
    """Yield the code, the parameter and the message of each error."""
    task_type = task.get("taskType")
    if not isinstance(task_type, str) or not task_type:
        yield "missingTaskType", "taskType", "The taskType parameter is required."
        return
    if task_type not in TASK_TYPES:
        # The vendor documents no code for this.
        yield "unsupportedTaskType", "taskType", f"The taskType {task_type} is not supported."
        return
    if task_type not in CONNECTION_TYPES and not is_uuid(task.get("taskUUID")):
        yield "invalidTaskUUID", "taskUUID", "taskUUID must be a valid UUID v4 string."
    for name in _required(task):
        if task.get(name) in (None, ""):
            message = f"Missing required parameter {name} for {task_type}."
            yield _code("missing", name), name, message
    for name, is_valid, rule in _RULES:
        if task.get(name) not in (None, "") and not is_valid(task[name]):
            yield _code("invalid", name), name, f"Invalid value for {name}: it {rule}."


def _find_missing_media(task: Json, stored: StoredMedia) -> Iterator[tuple[str, str, str]]:
    for name in _MEDIA_UUIDS:
        uuid = task.get(name)
        if isinstance(uuid, str) and is_uuid(uuid) and uuid not in stored:
            yield _code("invalid", name), name, f"Invalid value for {name}: no file has this UUID."


def _required(task: Json) -> tuple[str, ...]:
    is_deletion = task["taskType"] == "mediaStorage" and task.get("operation") == "delete"
    return ("mediaUUID",) if is_deletion else _REQUIRED.get(task["taskType"], ())


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _code(prefix: str, name: str) -> str:
    """Build a code such as `missingInputImage`."""
    return prefix + name[0].upper() + name[1:]


def _is_image(value: Any) -> bool:
    return is_uuid(value) or (isinstance(value, str) and _IMAGE.fullmatch(value) is not None)


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and _AIR.fullmatch(value) is not None


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("webhookURL", is_http_url, "must be an http or https URL"),
    ("deliveryMethod", lambda value: value in ("sync", "async"), "must be sync or async"),
    ("includeCost", lambda value: isinstance(value, bool), "must be a boolean"),
    (
        "numberResults",
        lambda value: type(value) is int and 1 <= value <= _MAX_RESULTS,
        f"must be an integer between 1 and {_MAX_RESULTS}",
    ),
    ("model", _is_model, "must be an AIR identifier, like runware:150@2"),
    ("inputImage", _is_image, "must be a UUID, a data URI, base64 or a URL"),
    ("image", _is_image, "must be a UUID, a data URI, base64 or a URL"),
    ("mediaUUID", is_uuid, "must be a UUID"),
    ("positivePrompt", lambda value: isinstance(value, str), "must be text"),
    ("prompt", lambda value: isinstance(value, str), "must be text"),
)
