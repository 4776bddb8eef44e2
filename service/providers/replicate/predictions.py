"""Reads the prediction object of Replicate, which answers, webhooks and lookups share.

Source: replicate.com/docs/reference/http.
"""

import re
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError
from service.providers.kit.coercion import amount, as_dict, identifier, ratio, text
from service.providers.kit.http_status import message_of
from service.providers.replicate.outputs import read_output

STATUSES: Final = {
    "starting": Status.SUBMITTED,
    "processing": Status.RUNNING,
    "succeeded": Status.SUCCEEDED,
    "successful": Status.SUCCEEDED,  # in guides of the vendor
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
    "aborted": Status.CANCELED,  # its deadline passed before it started
}
_MODERATION_WORDS: Final = (
    "nsfw",
    "flagged as",
    "flagged by",
    "(e005)",
    "content policy",
    "moderat",
)
"""In errors of models: these are plain text, each model has its own."""
_ERROR_CODE: Final = re.compile(r"\bE[0-9]{3,4}\b")
"""Source: replicate.com/docs/reference/error-codes; models use codes of three digits."""
_PERCENT: Final = re.compile(r"([0-9]{1,3})%\s{0,3}\|")
"""A line of tqdm's progress bar, by which also Replicate's own clients read the progress."""
_LOG_TAIL: Final = 2000
_METRICS: Final = ("predict_time", "total_time")


def read_prediction(body: dict[str, Any]) -> Report:
    """Read a prediction; the report's status is None if the prediction's status is not known."""
    provider_status = text(body.get("status"))
    status = STATUSES.get((provider_status or "").strip().lower())
    report = Report(
        task_id=identifier(body.get("id")),
        status=status,
        provider_status=provider_status,
        progress=_progress(body.get("logs")),
        provider_info=_metrics(as_dict(body.get("metrics"))),
    )
    if status is Status.FAILED:
        return replace(report, error=_error(body.get("error")))
    if status is not Status.SUCCEEDED:
        return report
    if output := read_output(body.get("output"), body.get("completed_at")):
        return replace(report, output=output)
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message=(
            "The prediction succeeded, but its output has been deleted."
            if body.get("data_removed") is True
            else "The prediction succeeded, but it has no output."
        ),
        retryable=True,
    )
    return replace(report, status=Status.FAILED, error=error)


def moderated(message: str | None) -> bool:
    """Tell whether *message* says that a content filter refused the input or the output."""
    lowered = (message or "").lower()
    return any(word in lowered for word in _MODERATION_WORDS)


def _error(error: Any) -> JobError:
    message = message_of(error) or "The provider gave no reason."
    is_moderated = moderated(error if isinstance(error, str) else message)
    code = _ERROR_CODE.search(message)
    return JobError(
        code=ErrorCode.MODERATED if is_moderated else ErrorCode.PROVIDER_ERROR,
        message=message,
        provider_code=code[0] if code else None,
        retryable=not is_moderated,
    )


def _progress(logs: Any) -> float | None:
    """Read the progress from the last progress bar in the logs."""
    percents = _PERCENT.findall(logs[-_LOG_TAIL:]) if isinstance(logs, str) else []
    return ratio(percents[-1], 100.0) if percents else None


def _metrics(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Select the durations, in seconds."""
    known = {name: amount(metrics.get(name)) for name in _METRICS}
    return {name: value for name, value in known.items() if value is not None} or None
