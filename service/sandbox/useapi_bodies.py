"""What useapi.net says of a task, in all its states."""

import zlib
from typing import Final
from uuid import uuid4

from service.sandbox.magic import Magic
from service.sandbox.script import END, PROGRESS, Callback, Script, Step
from service.sandbox.tasks import Json, Task
from service.sandbox.useapi_checks import SIZES
from service.times import SECOND, rfc3339

USER: Final = "user:1"
DEFAULT_EMAIL: Final = "demo@example.com"
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
# Runway sends the ratio as a number or as text.
_COURSE: Final[tuple[tuple[float, str, float | str | None], ...]] = (
    (0.15, "THROTTLED", None),
    (0.15, "PENDING", None),
    (0.4, "RUNNING", 0.25),
    (0.4, "RUNNING", "0.5"),
    (0.4, "RUNNING", 0.75),
)
_LAST_STRETCH: Final = 0.5

_VERBS: Final = frozenset(
    {"create", "upscale", "act-two", "act-two-voice", "video", "extend", "expand", "actone"}
    | {"super_slow_motion"}
)


def task_id(email: str, task_uuid: str) -> str:
    return f"{USER}-runwayml:{email}-task:{task_uuid}"


def new_body(body: Json, email: str, at: int) -> Json:
    """Describe the task as it is just accepted: what `GET tasks/{taskId}` shows first."""
    task_uuid, moment = str(uuid4()), rfc3339(at)
    return {
        "taskId": task_id(email, task_uuid),
        "id": task_uuid,
        "name": f"Frames {body['text_prompt'][:40]}",
        "image": None,
        "createdAt": moment,
        "updatedAt": moment,
        "taskType": "text_to_image" if _makes_images(body) else "video",
        "options": _options(body),
        "status": "PENDING",
        "error": None,
        "progressText": None,
        "progressRatio": None,
        "estimatedTimeToStartSeconds": 0,
        "artifacts": [],
        "sharedAsset": None,
        "sourceAssetId": None,
    }


def created(task: Task) -> Json:
    """Answer the submit; unlike later words, it carries the account's features."""
    features = {"storageGB": 500, "numPlanCredits_permitted": 2250, "numPlanCredits_used": 1515}
    reply = {"replyUrl": task.reply_url, "replyRef": task.ref, "code": 200}
    return {**task.state[0], "features": features, **reply}


def script(body: Json, request: Json, magic: Magic, at: int) -> Script:
    """Tell the course of the task *body*: throttled, queued, running, ended."""
    elapsed, steps = 0.0, []
    for after, status, ratio in _COURSE:
        elapsed += after
        state = {**body, "status": status, "progressRatio": ratio, "updatedAt": _later(at, elapsed)}
        steps.append(_step(after, state, request, PROGRESS))
    state = {**body, **_ending(body, request, magic), "updatedAt": _later(at, elapsed + 1)}
    return (*steps, _step(_LAST_STRETCH, state, request, END))


def forgery(body: Json, request: Json) -> Json:
    """Claim a success that never was, with outputs from elsewhere."""
    state = {**body, **_success(body, request)}
    for artifact in state["artifacts"]:
        artifact["url"] = f"https://forged.example.net/{artifact['id']}.png"
    return _told(state, request)


def _step(after: float, state: Json, request: Json, kind: str) -> Step:
    return Step(after, (state,), (Callback(_told(state, request), kind),))


def _told(state: Json, request: Json) -> Json:
    return {**state, "replyRef": request.get("replyRef")}


def _later(at: int, seconds: float) -> str:
    return rfc3339(at + int(seconds * SECOND))


def _options(body: Json) -> Json:
    width, height = SIZES[body.get("aspect_ratio") or "16:9"]
    diversity = body.get("diversity")
    return {
        "name": f"Frames {body['text_prompt'][:40]}",
        "text_prompt": body["text_prompt"],
        "seed": body.get("seed") or zlib.crc32(body["text_prompt"].encode()) or 1,
        "exploreMode": bool(body.get("exploreMode")),
        "diversity": 2 if diversity is None else diversity,
        "style": body.get("style"),
        "width": width,
        "height": height,
        "flip": True,
        "assetGroupName": "Text to Image",
        "recordingEnabled": True,
    }


def _ending(body: Json, request: Json, magic: Magic) -> Json:
    if magic.moderated or magic.fail:
        return {"status": "FAILED", "error": dict(_MODERATED if magic.moderated else _FAILED)}
    success = _success(body, request)
    return {**success, "artifacts": []} if magic.empty else success


def _success(body: Json, request: Json) -> Json:
    count = (request.get("num_images") or 4) if _makes_images(request) else 1
    kind = "png" if _makes_images(request) else "mp4"
    artifacts = [_artifact(body, n, kind) for n in range(count)]
    return {"status": "SUCCEEDED", "progressRatio": "1", "artifacts": artifacts}


def is_served(operation: str) -> bool:
    """Every endpoint that makes a task has one of these last words."""
    return operation.rpartition("/")[2] in _VERBS


def _makes_images(body: Json) -> bool:
    return str(body.get("operation", "frames/create")).startswith(("frames", "images"))


def _artifact(body: Json, index: int, kind: str) -> Json:
    asset, group = str(uuid4()), body["id"]
    email = body["taskId"].split("-runwayml:", 1)[1].rsplit("-task:", 1)[0]
    width, height = body["options"]["width"], body["options"]["height"]
    return {
        "assetId": f"{USER}-runwayml:{email}-asset:{asset}",
        "id": asset,
        "userId": 1,
        "taskId": body["taskId"],
        "parentAssetGroupId": group,
        "filename": f"{body['name']}, {index + 1}.{kind}",
        "url": f"https://runway.example.com/{asset}.{kind}",
        "fileSize": str(1_250_000 + index),
        "isDirectory": False,
        "previewUrls": [f"https://runway.example.com/{asset}-preview.jpg"],
        "private": True,
        "deleted": False,
        "reported": False,
        "metadata": {"size": {"width": width, "height": height}, "dimensions": [width, height]},
        "favorite": False,
    }
