"""useapi.net's JSON of a task in each of its states, and the scenario of a task."""

import zlib
from typing import Final
from uuid import uuid4

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import Directives
from service.sandbox.ledger import Json, LedgerTask
from service.sandbox.media.files import image, video
from service.sandbox.media.server import render
from service.sandbox.providers.useapi.assets import USER, asset_id
from service.sandbox.providers.useapi.checks import NUMBERS_OF_IMAGES, SIZES
from service.sandbox.providers.useapi.endpoints import IMAGES
from service.sandbox.scenario import END, PROGRESS, Callback, Scenario, Step

_FORGED_URL: Final = "https://forged.example.net/"
_FAILED: Final[Json] = {
    "errorMessage": "Generation failed",
    "reason": "INTERNAL.BAD_OUTPUT.CODE01",
    "message": "An unexpected error occurred.",
}
_MODERATED: Final[Json] = {
    "errorMessage": "Text prompt did not pass moderation",
    "reason": "SAFETY.INPUT.TEXT",
    "message": "Your prompt may contain content that violates our terms.",
    "moderation_category": "violence",
    "tally_asimov": True,
}
# Delay in seconds, status and progressRatio, which Runway sends as a number or as text.
_PROGRESS_STEPS: Final[tuple[tuple[float, str, float | str | None], ...]] = (
    (0.15, "THROTTLED", None),
    (0.15, "PENDING", None),
    (0.4, "RUNNING", 0.25),
    (0.4, "RUNNING", "0.5"),
    (0.4, "RUNNING", 0.75),
)
_FINAL_STEP_SECONDS: Final = 0.5
_IMAGES_TYPE: Final = "text_to_image"
_VIDEO_MILLISECONDS: Final = 5209


def task_id(email: str, task_uuid: str) -> str:
    return f"{USER}-runwayml:{email}-task:{task_uuid}"


def prompt_of(body: Json) -> str:
    """Return the prompt, which may contain directives; only `frames/create` requires one."""
    prompt = body.get("text_prompt")
    return prompt if isinstance(prompt, str) else ""


def new_body(endpoint: str, body: Json, email: str, at: int) -> Json:
    """Build the task as accepted: the first body of `GET tasks/{taskId}`."""
    task_uuid, created_at = str(uuid4()), rfc3339(at)
    family = endpoint.partition("/")[0]
    options = _options(family, body)
    return {
        "taskId": task_id(email, task_uuid),
        "id": task_uuid,
        "name": options["name"],
        "image": None,
        "createdAt": created_at,
        "updatedAt": created_at,
        "taskType": _IMAGES_TYPE if endpoint in IMAGES else family,
        "options": options,
        "status": "PENDING",
        "error": None,
        "progressText": None,
        "progressRatio": None,
        "estimatedTimeToStartSeconds": 0,
        "artifacts": [],
        "sharedAsset": None,
        "sourceAssetId": None,
    }


def submit_response(task: LedgerTask, features: Json) -> Json:
    """Build the response to the submit; only this one contains the account's *features*."""
    reply = {"replyUrl": task.reply_url, "replyRef": task.ref, "code": 200}
    return {**task.state[0], "features": features, **reply}


def scenario(body: Json, request: Json, directives: Directives, at: int, base_url: str) -> Scenario:
    """Build the scenario of the task *body*: throttled, queued, running, ended.

    *at* is when the task was accepted, in microseconds since 1970 (UTC). *base_url* begins the URLs
    of its artifacts.
    """
    elapsed = 0.0
    steps: list[Step] = []
    for delay, status, ratio in _PROGRESS_STEPS:
        elapsed += delay
        updated_at = rfc3339(at + int(elapsed * SECOND))
        state = {**body, "status": status, "progressRatio": ratio, "updatedAt": updated_at}
        callback = Callback(_callback_body(state, request), PROGRESS)
        steps.append(Step(delay, (state,), (callback,)))
    updated_at = rfc3339(at + int((elapsed + 1) * SECOND))
    state = {**body, **_final_fields(body, request, directives, base_url), "updatedAt": updated_at}
    callback = Callback(_callback_body(state, request), END)
    return (*steps, Step(_FINAL_STEP_SECONDS, (state,), (callback,)))


def forged_callback(body: Json, request: Json) -> Json:
    """Build a callback that reports a false success with outputs on another host."""
    state = {**body, **_success_fields(body, request, _FORGED_URL)}
    return _callback_body(state, request)


def _callback_body(state: Json, request: Json) -> Json:
    return {**state, "replyRef": request.get("replyRef")}


def _options(family: str, body: Json) -> Json:
    prompt, diversity = prompt_of(body), body.get("diversity")
    width, height = SIZES.get(str(body.get("aspect_ratio")), SIZES["16:9"])
    return {
        "name": f"{family.capitalize()} {prompt[:40]}",
        "text_prompt": prompt,
        "seed": body.get("seed") or zlib.crc32(prompt.encode()) or 1,
        "exploreMode": bool(body.get("exploreMode")),
        "diversity": 2 if diversity is None else diversity,
        "style": body.get("style"),
        "width": width,
        "height": height,
        "flip": True,
        "assetGroupName": "Text to Image",
        "recordingEnabled": True,
    }


def _final_fields(body: Json, request: Json, directives: Directives, base_url: str) -> Json:
    if directives.moderated:
        return {"status": "FAILED", "error": dict(_MODERATED)}
    if directives.fail:
        return {"status": "FAILED", "error": dict(_FAILED)}
    success = _success_fields(body, request, base_url)
    return {**success, "artifacts": []} if directives.empty else success


def _success_fields(body: Json, request: Json, base_url: str) -> Json:
    count = _image_count(request) if body["taskType"] == _IMAGES_TYPE else 1
    artifacts = [_artifact(body, index, base_url) for index in range(count)]
    return {"status": "SUCCEEDED", "progressRatio": "1", "artifacts": artifacts}


def _image_count(request: Json) -> int:
    count = request.get("num_images")
    return count if type(count) is int and count in NUMBERS_OF_IMAGES else max(NUMBERS_OF_IMAGES)


def _artifact(body: Json, index: int, base_url: str) -> Json:
    uuid = str(uuid4())
    width, height = body["options"]["width"], body["options"]["height"]
    email = body["taskId"].split("-runwayml:", 1)[1].rsplit("-task:", 1)[0]
    is_image = body["taskType"] == _IMAGES_TYPE
    prompt = str(body["options"]["text_prompt"])
    preview = image(prompt, index, (width, height))
    file = preview if is_image else video(prompt, index, (width, height), _VIDEO_MILLISECONDS)
    extension = file.path.rpartition(".")[2]
    metadata: Json = {
        "size": {"width": width, "height": height},
        "dimensions": [width, height],
    }
    if not is_image:
        metadata |= {"frameRate": 24, "duration": _VIDEO_MILLISECONDS / 1000}
    return {
        "assetId": asset_id(email, uuid),
        "id": uuid,
        "userId": 1,
        "taskId": body["taskId"],
        "parentAssetGroupId": body["id"],
        "filename": f"{body['name']}, {index + 1}.{extension}",
        "url": f"{base_url}{file.path}",
        "fileSize": str(len(render(file))),
        "isDirectory": False,
        "previewUrls": [f"{base_url}{preview.path}"],
        "private": True,
        "deleted": False,
        "reported": False,
        "metadata": metadata,
        "favorite": False,
    }
