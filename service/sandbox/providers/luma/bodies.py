"""Luma's JSON of a generation in each of its states, its input checks, and its scenario."""

from typing import Any, Final
from uuid import uuid4

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import Directives
from service.sandbox.ledger import Json
from service.sandbox.media.files import image, video
from service.sandbox.scenario import END, PROGRESS, Callback, Scenario, Step
from service.sandbox.sender import is_http_url

DETAILS: Final = {
    401: "Invalid API key is provided",
    402: "Insufficient credits",
    429: "Too many requests",
}
_RATIOS: Final = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
_MIN_PROMPT: Final = 3
_MAX_PROMPT: Final = 5000
_WITH_MODEL: Final = (
    *("video", "image"),
    *("modify_video", "reframe_video", "reframe_image"),
)
_MODERATED: Final = "Advanced prompt moderation failed"
_FAILED: Final = "Job errored"


def prompt_of(body: Json) -> str:
    """Return the prompt, which may contain directives."""
    prompt = body.get("prompt")
    return prompt if isinstance(prompt, str) else ""


def input_error(kind: str, body: Any) -> str | None:
    """Return the first error in *body* as docs.lumalabs.ai/docs/errors names it, or None."""
    if not isinstance(body, dict):
        return "Unknown request type"
    prompt = body.get("prompt")
    length = len(prompt) if isinstance(prompt, str) else 0
    rules = (
        (kind != "video" or prompt or body.get("keyframes"), "Prompt is required"),
        (
            prompt is None or length >= _MIN_PROMPT,
            "Prompt is too short, minimum length is 3 characters",
        ),
        (length <= _MAX_PROMPT, "Prompt is too long, maximum length is 5000 characters"),
        (kind not in _WITH_MODEL or isinstance(body.get("model"), str), "model is required"),
        (body.get("aspect_ratio", "16:9") in _RATIOS, "aspect_ratio is not supported"),
        (
            "callback_url" not in body or is_http_url(body["callback_url"]),
            "callback_url is not a valid URL",
        ),
    )
    return next((message for is_valid, message in rules if not is_valid), None)


def new_generation(kind: str, body: Json, at: int) -> Json:
    """Build the response to the submit."""
    return {
        "id": str(uuid4()),
        "generation_type": "image" if "image" in kind else "video",
        "state": "queued",
        "failure_reason": None,
        "created_at": rfc3339(at),
        "assets": None,
        "model": body.get("model"),
        "request": body | {"generation_type": kind},
    }


def scenario(generation: Json, directives: Directives, files: str) -> Scenario:
    """Build the scenario: queued, dreaming, ended; each has a callback.

    *files* begins the URLs of the assets.
    """
    dreaming = generation | {"state": "dreaming"}
    if directives.fail or directives.moderated:
        reason = _MODERATED if directives.moderated else _FAILED
        ended = generation | {"state": "failed", "failure_reason": reason}
    else:
        assets = None if directives.empty else _assets(generation, files)
        ended = generation | {"state": "completed", "assets": assets}
    states = ((0.2, generation, PROGRESS), (0.4, dreaming, PROGRESS), (1.2, ended, END))
    return tuple(Step(delay, (state,), (Callback(state, kind),)) for delay, state, kind in states)


def forged_generation(generation: Json) -> Json:
    """Build a generation with a false success and a file on another host."""
    return generation | {
        "state": "completed",
        "assets": _assets(generation, "https://forged.example.net/"),
    }


def _assets(generation: Json, files: str) -> Json:
    request = generation["request"]
    prompt = prompt_of(request)
    shape = tuple(int(side) for side in request.get("aspect_ratio", "16:9").split(":"))
    picture = files + image(prompt, 0, shape).path
    if generation["generation_type"] == "image":
        return {"image": picture, "video": None, "progress_video": None}
    return {
        "image": picture,
        "video": files + video(prompt, 0, shape).path,
        "progress_video": files + video(prompt, 1, shape).path,
    }
