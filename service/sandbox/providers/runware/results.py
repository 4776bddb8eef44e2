"""Runware's response bodies: result items, the scenario of a task and callback envelopes."""

import zlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from service.sandbox.directives import Directives
from service.sandbox.ledger import Json
from service.sandbox.media import files
from service.sandbox.providers.runware.checks import error_item
from service.sandbox.scenario import END, PROGRESS, RESULT, Callback, Scenario, Step

AGE_MODELS: Final = frozenset({"runware:153@1", "runware:154@1", "runware:152@50"})
_VIDEO_TYPES: Final = frozenset({"videoInference"})
_SLOW_TYPES: Final = _VIDEO_TYPES | {"3dInference", "training", "modelUpload"}
_MEDIUMS: Final = {
    **dict.fromkeys(("imageCaption", "caption", "promptEnhance", "textInference"), "text"),
    **dict.fromkeys(_VIDEO_TYPES, "video"),
    "audioInference": "audio",
    "3dInference": "model",
    "training": "training",
    **dict.fromkeys(("imageControlNetPreProcess", "controlNetPreprocess"), "guideImage"),
    "imageMasking": "maskImage",
}
"""The kind of output by task type, as in the key of its URL (`videoURL`); others: images."""
_QUEUED_SECONDS: Final = 0.3
_PROGRESS_SECONDS: Final = 0.3
_WORK_SECONDS: Final = 1.7
# US dollars per result.
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


def error_body(status: int, tasks: list[Json]) -> Json:
    """Build the error body for a whole request: one error per task, or a single one for 401."""
    code, message = _STATUS_CODES.get(status, ("providerError", "The provider is unavailable."))
    if status == HTTPStatus.UNAUTHORIZED:
        authentication = {"taskType": "authentication"}
        return {"errors": [error_item(authentication, code, message, "apiKey")]}
    return {"errors": [error_item(task, code, message) for task in tasks]}


def is_sync(task: Json) -> bool:
    """Tell whether the response contains the results: never if *task* has a webhook."""
    default = "async" if task["taskType"] in _SLOW_TYPES else "sync"
    return task.get("webhookURL") is None and task.get("deliveryMethod", default) == "sync"


def ack(task: Json) -> Json:
    """Build the acknowledgement of an accepted task."""
    return {"taskType": task["taskType"], "taskUUID": task["taskUUID"]}


def processing(task: Json) -> Json:
    return {**ack(task), "status": "processing"}


def split(items: Iterable[Json]) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
    """Split *items* into the `data` and the `errors` of a response, which have no status."""
    final: tuple[list[Json], list[Json]] = ([], [])
    for item in items:
        fields = {key: value for key, value in item.items() if key != "status"}
        final[item.get("status") == "error"].append(fields)
    return tuple(final[0]), tuple(final[1])


def scenario(task: Json, directives: Directives, base_url: str) -> Scenario:
    """Build the scenario of *task*: queued, its progress, then one step per result.

    *base_url* begins the URLs of its outputs.
    """
    items = results(task, directives, base_url)
    steps = [Step(_QUEUED_SECONDS, (processing(task),)), *_progress_steps(task, directives)]
    for count, item in enumerate(items, start=1):
        is_last = count == len(items)
        state = items if is_last else (*items[:count], processing(task))
        callback = Callback(envelope(item, directives), END if is_last else RESULT)
        steps.append(Step(_WORK_SECONDS / len(items), state, (callback,)))
    return tuple(steps)


def results(task: Json, directives: Directives, base_url: str) -> tuple[Json, ...]:
    """Build all result items; a failed one has `status: error`, a successful one no status."""
    if directives.moderated or directives.fail:
        return (_failed_item(task, directives),)
    if task["taskType"] == "modelUpload":
        return (_uploaded_model(task, "ready"),)
    count = task.get("numberResults") or 1
    items = [_successful_item(task, directives, index, base_url) for index in range(count)]
    if directives.part_fail and count > 1:
        items[1] = _failed_item(task, directives)
    return tuple(items)


def forged_callback(task: Json, directives: Directives) -> Json:
    """Build a callback that reports a false success with an output on another host."""
    item = {
        **ack(task),
        "imageUUID": str(uuid4()),
        "text": "forged",
        "imageURL": "https://forged.example.net/image.jpg",
    }
    return envelope(item, directives)


def envelope(item: Json, directives: Directives) -> Json:
    """Build the callback body for *item*: bare with `[flat]`, else in `data` or `errors`.

    The sources disagree about the form that Runware sends, so the sandbox sends either.
    """
    if item.get("status") != "error":
        return dict(item) if directives.flat else {"data": [item]}
    if not directives.flat:
        error = {key: value for key, value in item.items() if key not in ("status", "taskType")}
        return {"errors": [error]}
    head = {key: item[key] for key in ("taskUUID", "status")}
    error = {key: item[key] for key in ("code", "message")}
    # One failed result of several has its error nested, as Runware's SDK reads it; a task that
    # failed as a whole has it at the top level.
    return {**head, "error": error} if directives.part_fail else {**head, **error}


def _progress_steps(task: Json, directives: Directives) -> list[Step]:
    if task["taskType"] in _VIDEO_TYPES:
        items = [{**processing(task), "progress": percent} for percent in (25, 50, 75)]
    elif task["taskType"] == "modelUpload":
        items = [_uploaded_model(task, step) for step in ("validated", "downloaded", "optimized")]
    else:
        return []
    return [
        Step(_PROGRESS_SECONDS, (item,), (Callback(envelope(item, directives), PROGRESS),))
        for item in items
    ]


def _uploaded_model(task: Json, status: str) -> Json:
    """Build one status report of a model upload; the last one is `ready`."""
    item = {**ack(task), "status": status, "message": f"The model is {status}."}
    return item | {"air": task.get("air", "sandbox:1@1")}


def _failed_item(task: Json, directives: Directives) -> Json:
    if directives.moderated:
        code, message = "contentPolicyViolation", "The content violates the content policy."
    else:
        code, message = "inferenceError", "The model failed to produce a result."
    return {**error_item(task, code, message), "status": "error"}


def _successful_item(task: Json, directives: Directives, index: int, base_url: str) -> Json:
    medium = _MEDIUMS.get(task["taskType"], "image")
    output = {} if directives.empty else _output(task, medium, index, base_url)
    cost = {"cost": _COSTS.get(medium, _IMAGE_COST)} if task.get("includeCost") else {}
    return ack(task) | output | cost


def _output(task: Json, medium: str, index: int, base_url: str) -> Json:
    if medium == "text":
        if task.get("model") in AGE_MODELS:
            return {"structuredData": {"ageGroup": "13-20", "confidence": 79.65}}
        return {"text": _CAPTION}
    if medium == "training":
        return {"outputs": {"model": f"sandbox:1@{index + 1}"}}
    file_id, url = str(uuid4()), base_url + _file(task, medium, index).path
    if medium == "model":
        return {"outputs": {"files": [{"uuid": file_id, "url": url}]}}
    output: Json = {f"{medium}UUID": file_id, f"{medium}URL": url}
    if medium == "image":
        output |= {"seed": _seed(task) + index, "NSFWContent": False}
    return output


def _file(task: Json, medium: str, index: int) -> files.MediaFile:
    """Describe the file of one result; what it shows depends on the prompt, else on the input."""
    names = ("positivePrompt", "prompt", "text", "inputImage")
    prompt = next((text for name in names if isinstance(text := task.get(name), str)), "")
    shape = (task.get("width"), task.get("height"))
    if medium == "video":
        return files.video(prompt, index, shape)
    if medium == "audio":
        return files.audio(prompt, index)
    if medium == "model":
        return files.model(prompt, index)
    return files.image(prompt, index, shape)


def _seed(task: Json) -> int:
    """Return the given seed, or one derived from the taskUUID."""
    given = task.get("seed")
    return given if isinstance(given, int) else zlib.crc32(task["taskUUID"].encode())
