"""What useapi.net says of a task, in all its states."""

import zlib
from typing import Final
from uuid import uuid4

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import Directives
from service.sandbox.ledger import Json, LedgerTask
from service.sandbox.scenario import END, PROGRESS, Callback, Scenario, Step
from service.sandbox.useapi.checks import NUMBERS_OF_IMAGES, SIZES
from service.sandbox.useapi.endpoints import IMAGES

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
_IMAGES_TYPE: Final = "text_to_image"


def task_id(email: str, task_uuid: str) -> str:
    return f"{USER}-runwayml:{email}-task:{task_uuid}"


def prompt_of(body: Json) -> str:
    """Read the prompt, where magic words stand; only frames cannot do without one."""
    prompt = body.get("text_prompt")
    return prompt if isinstance(prompt, str) else ""


def new_body(endpoint: str, body: Json, email: str, at: int) -> Json:
    """Describe the task as it is just accepted: what `GET tasks/{taskId}` shows first."""
    task_uuid, moment = str(uuid4()), rfc3339(at)
    family = endpoint.partition("/")[0]
    options = _options(family, body)
    return {
        "taskId": task_id(email, task_uuid),
        "id": task_uuid,
        "name": options["name"],
        "image": None,
        "createdAt": moment,
        "updatedAt": moment,
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


def created(task: LedgerTask) -> Json:
    """Answer the submit; unlike later words, it carries the account's features."""
    features = {"storageGB": 500, "numPlanCredits_permitted": 2250, "numPlanCredits_used": 1515}
    reply = {"replyUrl": task.reply_url, "replyRef": task.ref, "code": 200}
    return {**task.state[0], "features": features, **reply}


def script(body: Json, request: Json, magic: Directives, at: int) -> Scenario:
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


def _ending(body: Json, request: Json, magic: Directives) -> Json:
    if magic.moderated or magic.fail:
        return {"status": "FAILED", "error": dict(_MODERATED if magic.moderated else _FAILED)}
    success = _success(body, request)
    return {**success, "artifacts": []} if magic.empty else success


def _success(body: Json, request: Json) -> Json:
    made = range(_count(request)) if body["taskType"] == _IMAGES_TYPE else range(1)
    artifacts = [_artifact(body, n) for n in made]
    return {"status": "SUCCEEDED", "progressRatio": "1", "artifacts": artifacts}


def _count(request: Json) -> int:
    asked = request.get("num_images")
    return asked if type(asked) is int and asked in NUMBERS_OF_IMAGES else max(NUMBERS_OF_IMAGES)


def _artifact(body: Json, index: int) -> Json:
    asset, group = str(uuid4()), body["id"]
    email = body["taskId"].split("-runwayml:", 1)[1].rsplit("-task:", 1)[0]
    is_image = body["taskType"] == _IMAGES_TYPE
    ending = "png" if is_image else "mp4"
    return {
        "assetId": f"{USER}-runwayml:{email}-asset:{asset}",
        "id": asset,
        "userId": 1,
        "taskId": body["taskId"],
        "parentAssetGroupId": group,
        "filename": f"{body['name']}, {index + 1}.{ending}",
        "url": f"https://runway.example.com/{asset}.{ending}",
        "fileSize": str(1_250_000 + index),
        "isDirectory": False,
        "previewUrls": [f"https://runway.example.com/{asset}-preview.jpg"],
        "private": True,
        "deleted": False,
        "reported": False,
        "metadata": _size(body) | ({} if is_image else {"frameRate": 24, "duration": 5.209}),
        "favorite": False,
    }


def _size(body: Json) -> Json:
    width, height = body["options"]["width"], body["options"]["height"]
    return {"size": {"width": width, "height": height}, "dimensions": [width, height]}
