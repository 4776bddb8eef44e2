"""Reads the task object of useapi.net, in responses and callbacks, flat or nested."""

from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.providers.kit.coercion import as_dict, identifier, number, ratio, text
from service.providers.useapi import failures
from service.providers.useapi.artifacts import read_artifacts
from service.providers.useapi.failures import task_error

STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "THROTTLED": Status.SUBMITTED,  # accepted, not yet queued; may alternate with PENDING
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
    "CANCELED": Status.CANCELED,
}
_NESTED_TASK_KEYS: Final = ("response", "task")
_NESTED_REF_KEYS: Final = ("task", "request", "response")
_MAX_FEATURES: Final = 50


def read_task(body: dict[str, Any]) -> Report:
    """Read a task; the report's status is None if the task's status is not known."""
    task = _flatten(body)
    provider_status = text(task.get("status"))
    status = _status(task, provider_status)
    report = Report(
        refs=_refs(body),
        task_id=_task_id(task),
        status=status,
        provider_status=provider_status,
        progress=ratio(task.get("progressRatio")),
        progress_text=text(task.get("progressText")),
        error=task_error(task) if status is Status.FAILED else None,
        provider_info=_provider_info(task),
    )
    if status is not Status.SUCCEEDED:
        return report
    if artifacts := read_artifacts(task):
        return replace(report, output=Output(artifacts=artifacts))
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message="The task succeeded, but it has no artifact with a URL.",
        retryable=True,
    )
    return replace(report, status=Status.FAILED, error=error)


def is_task(report: Report) -> bool:
    """Tell the report of a task from that of any other JSON object."""
    return any((report.refs, report.task_id, report.status, report.provider_status))


def has_task_id(body: dict[str, Any]) -> bool:
    return _task_id(_flatten(body)) is not None


def refusal_status(body: dict[str, Any]) -> int | None:
    """Read the error status of *body*, which may have a nested task."""
    return failures.refusal_status(_flatten(body))


def _flatten(body: dict[str, Any]) -> dict[str, Any]:
    """Merge a nested task into *body*; the nested values win."""
    task = dict(body)
    for key in _NESTED_TASK_KEYS:
        nested = as_dict(body.get(key))
        task |= {name: value for name, value in nested.items() if value is not None}
    return task


def _task_id(task: dict[str, Any]) -> str | None:
    return identifier(task.get("taskId")) or identifier(task.get("id"))


def _refs(body: dict[str, Any]) -> tuple[str, ...]:
    """Return every replyRef of the body and of its nested objects, without repetition."""
    places = (body, *(as_dict(body.get(key)) for key in _NESTED_REF_KEYS))
    refs = (identifier(place.get("replyRef")) for place in places)
    return tuple(dict.fromkeys(ref for ref in refs if ref))


def _status(task: dict[str, Any], provider_status: str | None) -> Status | None:
    if provider_status is not None:
        return STATUSES.get(provider_status.strip().upper())
    return Status.FAILED if task.get("error") or failures.refusal_status(task) else None


def _provider_info(task: dict[str, Any]) -> dict[str, Any] | None:
    """Read the credits of the account and the estimated wait; None without either.

    Of `features` only numbers and booleans are kept: the vendor documents three of many fields.
    """
    features = {
        name: value
        for name, value in list(as_dict(task.get("features")).items())[:_MAX_FEATURES]
        if isinstance(value, int | float)
    }
    seconds = number(task.get("estimatedTimeToStartSeconds"))
    info = {"features": features or None, "estimatedTimeToStartSeconds": seconds}
    return {name: value for name, value in info.items() if value is not None} or None
