"""What Runware takes: the parameters of each task type; every fault is an item of `errors`."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from service.sandbox.ledger import Json
from service.sandbox.sender import is_callable_url

READS: Final = frozenset({"getResponse", "getTaskDetails"})
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
}
_AIR: Final = re.compile(r"[\w.-]+:[\w.-]+@[\w.-]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IMAGE: Final = re.compile(
    r"https?://\S+|data:[\w.+/-]+;base64,[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9+/]+={0,2}"
)
_MAX_RESULTS: Final = 20


def errors(task: Json) -> list[Json]:
    """Name everything wrong with *task*, in the shape of Runware's errors."""
    return [item(task, code, message, parameter) for code, parameter, message in _faults(task)]


def item(task: Json, code: str, message: str, parameter: str | None = None) -> Json:
    said = {
        "code": code,
        "message": message,
        "parameter": parameter,
        "taskType": task.get("taskType"),
        "taskUUID": task.get("taskUUID"),
        "documentation": "https://runware.ai/docs/platform/errors",
    }
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _faults(task: Json) -> Iterator[tuple[str, str, str]]:
    kind = task.get("taskType")
    if not isinstance(kind, str) or not kind:
        yield "missingTaskType", "taskType", "The taskType parameter is required."
        return
    if not is_uuid(task.get("taskUUID")):
        yield "invalidTaskUUID", "taskUUID", "taskUUID must be a valid UUID v4 string."
    for name in _REQUIRED.get(kind, ()):
        if task.get(name) in (None, ""):
            yield _code("missing", name), name, f"Missing required parameter {name} for {kind}."
    for name, fits, words in _RULES:
        if task.get(name) not in (None, "") and not fits(task[name]):
            yield _code("invalid", name), name, f"Invalid value for {name}: it {words}."


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _code(fault: str, name: str) -> str:
    return fault + name[0].upper() + name[1:]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_image(value: Any) -> bool:
    return is_uuid(value) or (isinstance(value, str) and _IMAGE.fullmatch(value) is not None)


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and _AIR.fullmatch(value) is not None


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("webhookURL", is_callable_url, "must be an http or https URL"),
    ("deliveryMethod", lambda value: value in ("sync", "async"), "must be sync or async"),
    ("includeCost", lambda value: isinstance(value, bool), "must be a boolean"),
    (
        "numberResults",
        lambda value: type(value) is int and 1 <= value <= _MAX_RESULTS,
        f"must be an integer between 1 and {_MAX_RESULTS}",
    ),
    ("model", _is_model, "must be an AIR identifier, like runware:150@2"),
    ("inputImage", _is_image, "must be a UUID, a data URI, base64 or a URL"),
    ("positivePrompt", _is_text, "must be text"),
    ("prompt", _is_text, "must be text"),
)
