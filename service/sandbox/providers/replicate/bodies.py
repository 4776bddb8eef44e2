"""Replicate's JSON of a prediction in each of its states, its errors, and its scenario."""

import secrets
from typing import Any, Final

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import Directives
from service.sandbox.ledger import Json
from service.sandbox.media.files import image, video
from service.sandbox.scenario import END, PROGRESS, Callback, Scenario, Step

_ALPHABET: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_ID_LENGTH: Final = 26
_VIDEO_WORDS: Final = ("video", "veo", "kling", "seedance", "ray")
_TEXT_WORDS: Final = ("llama", "claude", "gpt", "deepseek")
_TOKENS: Final = ("A", " bell", " rings", " in", " the", " tower", ".")
_MAX_OUTPUTS: Final = 4
_PERCENTS: Final = (30, 70)
_STEPS: Final = 10
_START_SECONDS: Final = 0.3
_STEP_SECONDS: Final = 0.5
_FAILED: Final = "The model stopped unexpectedly (E1000)"
_MODERATED: Final = "NSFW content detected. Try running it again, or try a different prompt."
_DETAILS: Final = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    404: (None, "The requested resource could not be found."),
    422: ("Invalid version or not permitted", "The specified version does not exist"),
    429: (None, "Request was throttled. Expected available in 1 second."),
}


def prompt_of(body: Json) -> str:
    """Return the prompt of the model's input, which may contain directives."""
    prompt = body["input"].get("prompt") or body["input"].get("text")
    return prompt if isinstance(prompt, str) else ""


def error_body(status: int, detail: str, title: str | None = None) -> Json:
    known_title, known_detail = _DETAILS.get(status, (None, "Replicate is not available"))
    body: Json = {"detail": detail or known_detail, "status": status}
    return {"title": title or known_title, **body} if title or known_title else body


def invalid_input(field: str, message: str) -> Json:
    return {
        "title": "Input validation failed",
        "detail": f"- {field}: {message}\n",
        "status": 422,
        "invalid_fields": [{"type": "invalid", "field": field, "description": message}],
    }


def new_prediction(body: Json, model: str, base_url: str, at: int) -> Json:
    """Build the response to the submit. *model* is a version, or `owner/name`."""
    prediction_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    url = f"{base_url}/predictions/{prediction_id}"
    is_version = "/" not in model
    return {
        "id": prediction_id,
        "model": "sandbox/model" if is_version else model,
        "version": model if is_version else "hidden",
        "input": body["input"],
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": "starting",
        "created_at": _time(at),
        "urls": {"cancel": f"{url}/cancel", "get": url},
    }


def scenario(prediction: Json, body: Json, directives: Directives, at: int, files: str) -> Scenario:
    """Build the scenario: starting, processing, two lines of logs, ended.

    `webhook_events_filter` of *body* selects the callbacks; *at* is when the task was accepted.
    *files* begins the URLs of the output.
    """
    events = body.get("webhook_events_filter") or ["output", "completed"]
    started_at = at + int(_START_SECONDS * SECOND)
    state = prediction | {"status": "processing", "started_at": _time(started_at)}
    steps = [Step(_START_SECONDS, (state,), _callbacks(state, "start" in events))]
    for percent in _PERCENTS:
        state = state | {"logs": state["logs"] + _progress_bar(percent)}
        steps.append(Step(_STEP_SECONDS, (state,), _callbacks(state, "logs" in events)))
    if directives.fail or directives.moderated:
        error = _MODERATED if directives.moderated else _FAILED
        state = _ended(state, "failed", started_at) | {"error": error}
    else:
        output = None if directives.empty else _output(prediction, prompt_of(body), files)
        state = _ended(state, "succeeded", started_at) | {"output": output}
    # `completed` is the only kind of webhook that reports the end.
    last = (Callback(state, END),) if "completed" in events else ()
    return (*steps, Step(_STEP_SECONDS, (state,), last))


def forged_prediction(prediction: Json, at: int) -> Json:
    """Build a prediction with a false success and a file on another host."""
    files = ["https://forged.example.net/out-0.png"]
    return _ended(prediction, "succeeded", at) | {"output": files}


def _callbacks(state: Json, wanted: bool) -> tuple[Callback, ...]:  # noqa: FBT001
    return (Callback(state, PROGRESS),) if wanted else ()


def _ended(state: Json, status: str, started_at: int) -> Json:
    seconds = _STEP_SECONDS * (len(_PERCENTS) + 1)
    completed_at = _time(started_at + int(seconds * SECOND))
    metrics = {"predict_time": seconds, "total_time": _START_SECONDS + seconds}
    return state | {"status": status, "completed_at": completed_at, "metrics": metrics}


def _output(prediction: Json, prompt: str, files: str) -> Any:
    """Make the output by the words in the model's name: one URL, tokens, or a list of URLs."""
    model = prediction["model"]
    if any(word in model for word in _TEXT_WORDS):
        return list(_TOKENS)
    if any(word in model for word in _VIDEO_WORDS):
        return files + video(prompt).path
    number = prediction["input"].get("num_outputs")
    outputs = number if type(number) is int and 0 < number <= _MAX_OUTPUTS else 1
    return [files + image(prompt, index).path for index in range(outputs)]


def _progress_bar(percent: int) -> str:
    bar = "█" * (percent // 10)
    return f"\n{percent:3}%|{bar:10}| {percent * _STEPS // 100}/{_STEPS} [00:00<00:00, 16.4it/s]"


def _time(at: int) -> str:
    """Render with nine digits of fraction, as Replicate does at times."""
    return rfc3339(at).removesuffix("Z") + "456789Z"
