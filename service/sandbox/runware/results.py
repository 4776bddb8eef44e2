"""What Runware says of a task: its items, the course of it, and the envelope of a callback."""

import zlib
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from service.sandbox.directives import Directives
from service.sandbox.ledger import Json
from service.sandbox.runware.checks import item
from service.sandbox.scenario import END, PROGRESS, RESULT, Callback, Scenario, Step

AGE_MODELS: Final = frozenset({"runware:153@1", "runware:154@1", "runware:152@50"})
_VIDEO_TYPES: Final = frozenset({"videoInference"})
_SLOW_TYPES: Final = _VIDEO_TYPES | {"3dInference", "training"}
_MEDIA: Final = {
    **dict.fromkeys(("imageCaption", "caption", "promptEnhance", "textInference"), "text"),
    **dict.fromkeys(_VIDEO_TYPES, "video"),
    "audioInference": "audio",
    "3dInference": "model",
    "training": "training",
    **dict.fromkeys(("imageControlNetPreProcess", "controlNetPreprocess"), "guideImage"),
    "imageMasking": "maskImage",
}
"""What a task type makes, by the name that its result bears; any other makes images."""
_FILES: Final = {
    "video": ("vm", "video/ws/2/vi", "mp4"),
    "audio": ("am", "audio/ws/2/ai", "mp3"),
    "model": ("im", "model/ws/2/mi", "glb"),
}
_IMAGE_FILE: Final = ("im", "image/ws/2/ii", "jpg")
_QUEUED_SECONDS: Final = 0.3
_WORK_SECONDS: Final = 1.7
_COSTS: Final = {"video": 0.25, "model": 0.1, "training": 2.0, "audio": 0.01, "text": 0.0006}
_IMAGE_COST: Final = 0.0013
_STATUS_CODES: Final = {
    400: ("invalidRequest", "The request is not valid."),
    401: ("invalidApiKey", "Invalid API key. Get one at https://my.runware.ai/signup"),
    402: ("insufficientCredits", "Insufficient credits to perform this task."),
    403: ("unauthorizedAccess", "This account may not perform this task."),
    404: ("modelNotFound", "The requested resource was not found."),
    422: ("contentPolicyViolation", "The prompt violates the content policy."),
    429: ("rateLimitExceeded", "Too many requests. Please slow down."),
    500: ("internalServerError", "An internal error occurred."),
    503: ("noAvailableServer", "No server is available at the moment."),
    504: ("timeoutProvider", "The provider did not answer in time."),
}
_CAPTION: Final = "a bronze bell in a stone tower, morning light, ropes and oak beams, photograph"


def refusal(status: int, tasks: list[Json]) -> Json:
    """Refuse a whole request: one error for each of its *tasks*, one without a task for 401."""
    code, message = _STATUS_CODES.get(status, ("providerError", "The provider is unavailable."))
    if status == HTTPStatus.UNAUTHORIZED:
        about = {"taskType": "authentication"}
        return {"errors": [item(about, code, message, "apiKey")]}
    return {"errors": [item(task, code, message) for task in tasks]}


def is_sync(task: Json) -> bool:
    """Say whether the answer itself carries the results: never so once there is a webhook."""
    default = "async" if task["taskType"] in _SLOW_TYPES else "sync"
    return task.get("webhookURL") is None and task.get("deliveryMethod", default) == "sync"


def ack(task: Json) -> Json:
    return {"taskType": task["taskType"], "taskUUID": task["taskUUID"]}


def processing(task: Json) -> Json:
    return {**ack(task), "status": "processing"}


def script(task: Json, magic: Directives) -> Scenario:
    """Tell the course of *task*: working, and one result after another until the last."""
    found = results(task, magic)
    steps = [Step(_QUEUED_SECONDS, (processing(task),)), *_progress(task, magic)]
    for n, result in enumerate(found, start=1):
        waiting = (processing(task),) if n < len(found) else ()
        told = Callback(envelope(result, magic), END if n == len(found) else RESULT)
        steps.append(Step(_WORK_SECONDS / len(found), (*found[:n], *waiting), (told,)))
    return tuple(steps)


def results(task: Json, magic: Directives) -> tuple[Json, ...]:
    """Make all results; errors are items with `status: error`, the rest say nothing of it."""
    if magic.moderated or magic.fail:
        return (_failed(task, magic),)
    found = [_made(task, magic, n) for n in range(task.get("numberResults") or 1)]
    if magic.part_fail and len(found) > 1:
        found[1] = _failed(task, magic)
    return tuple(found)


def forgery(task: Json, magic: Directives) -> Json:
    """Claim a success that never was, with an output from elsewhere."""
    false = {**ack(task), "imageUUID": str(uuid4()), "text": "forged"}
    return envelope({**false, "imageURL": "https://forged.example.net/image.jpg"}, magic)


def envelope(result: Json, magic: Directives) -> Json:
    """Wrap *result* for a callback. What Runware really sends is disputed: both are seen."""
    if result.get("status") != "error":
        return dict(result) if magic.flat else {"data": [result]}
    if not magic.flat:
        return {"errors": [plain_error(result)]}
    about = {key: result[key] for key in ("taskUUID", "status")}
    error = {key: result[key] for key in ("code", "message")}
    # A part that failed is told as the SDK reads it, nested; a whole failure is not.
    return {**about, "error": error} if magic.part_fail else {**about, **error}


def plain_error(result: Json) -> Json:
    """Show a failed result as an item of `errors`, which carries neither type nor status."""
    return {key: value for key, value in result.items() if key not in ("status", "taskType")}


def _progress(task: Json, magic: Directives) -> list[Step]:
    if task["taskType"] not in _VIDEO_TYPES:
        return []
    items = [{**processing(task), "progress": ratio} for ratio in (25, 50, 75)]
    return [Step(0.3, (it,), (Callback(envelope(it, magic), PROGRESS),)) for it in items]


def _failed(task: Json, magic: Directives) -> Json:
    if magic.moderated:
        code, message = "contentPolicyViolation", "The content violates the content policy."
    else:
        code, message = "inferenceError", "The model failed to produce a result."
    return {**item(task, code, message), "status": "error"}


def _made(task: Json, magic: Directives, index: int) -> Json:
    cost = {"cost": _COSTS.get(_medium(task), _IMAGE_COST)} if task.get("includeCost") else {}
    return ack(task) | ({} if magic.empty else _output(task, index)) | cost


def _medium(task: Json) -> str:
    return _MEDIA.get(task["taskType"], "image")


def _output(task: Json, index: int) -> Json:
    medium = _medium(task)
    if medium == "text":
        if task.get("model") in AGE_MODELS:
            return {"structuredData": {"ageGroup": "13-20", "confidence": 79.65}}
        return {"text": _CAPTION}
    if medium == "training":
        return {"outputs": {"model": f"sandbox:1@{index + 1}"}}
    if medium == "model":
        made = _media(medium)
        return {"outputs": {"files": [{"uuid": made["modelUUID"], "url": made["modelURL"]}]}}
    return _media(medium) | (
        {"seed": _seed(task) + index, "NSFWContent": False} if medium == "image" else {}
    )


def _media(medium: str) -> Json:
    ident = str(uuid4())
    host, folder, ending = _FILES.get(medium, _IMAGE_FILE)
    url = f"https://{host}.runware.ai/{folder}/{ident}.{ending}"
    return {f"{medium}UUID": ident, f"{medium}URL": url}


def _seed(task: Json) -> int:
    """Take the seed that was given, or one that the same task always gets."""
    given = task.get("seed")
    return given if isinstance(given, int) else zlib.crc32(task["taskUUID"].encode())
