"""Runway's own API: it has no callbacks, so its tasks are polled where the operator allows it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.domain.primitives.errors import FieldError, Invalid
from service.providers.kit.coercion import (
    artifact_kind,
    as_bounded_list,
    identifier,
    media_type,
    ratio,
    text,
    web_url,
)
from service.providers.kit.http_status import message_of
from service.providers.kit.request_builder import segment, send
from service.providers.kit.runway_failures import failure_error_code, is_retryable_failure
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Call,
    Callbacks,
    Operation,
    PreparedInput,
    ProviderTask,
)
from service.providers.runway.catalog import OPERATIONS, PROMPT_LIMITS

API_VERSION: Final = "2024-11-06"
POLL_SECONDS: Final = 5.0
"""The vendor's page on tasks: read a task at most every five seconds."""
_STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "THROTTLED": Status.SUBMITTED,  # accepted, not yet queued
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
}


def credential(token: str, at: int) -> dict[str, str]:  # noqa: ARG001 - one of `Credential`
    """Every request needs the version of the API beside the token."""
    return {"authorization": f"Bearer {token}", "x-runway-version": API_VERSION}


class Runway(TaskProvider):
    """Runway (docs.dev.runwayml.com), without another service in between."""

    name = "runway"
    title = "Runway"
    account = AccountSettings(
        "RUNWAYML_API_SECRET",
        prefix="RUNWAYML",
        base_url="https://api.dev.runwayml.com/v1",
        max_jobs=5,
        credential=credential,
    )
    callbacks: Callbacks | None = None
    poll_seconds: float | None = POLL_SECONDS
    operations: Mapping[str, Operation] = OPERATIONS
    check_path = "/organization"

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        prepared = super().prepare(operation, given)
        prompt, limit = given.get("promptText"), PROMPT_LIMITS.get(given["model"])
        if limit is not None and isinstance(prompt, str):
            length = len(prompt.encode("utf-16-le", "surrogatepass")) // 2
            if length > limit:
                message = f"may have at most {limit} UTF-16 code units (has {length})"
                raise Invalid([FieldError("input.promptText", message)])
        return prepared

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        return send("POST", f"/{task.operation}", task.input)

    def task_path(self, job: Job) -> str | None:
        return f"/tasks/{segment(job.provider_task_id)}" if job.provider_task_id else None

    def read_task(self, body: dict[str, Any]) -> Report:
        provider_status = text(body.get("status"))
        status = _STATUSES.get((provider_status or "").upper())
        output = _output(body) if status is Status.SUCCEEDED else None
        error = _error(body) if status is Status.FAILED else None
        if status is Status.SUCCEEDED and output is None:
            status, error = Status.FAILED, _NO_OUTPUT
        return Report(
            task_id=identifier(body.get("id")),
            status=status,
            provider_status=provider_status,
            progress=ratio(body.get("progress")),
            output=output,
            error=error,
        )


_NO_OUTPUT: Final = JobError(
    code=ErrorCode.NO_OUTPUT,
    message="The task succeeded, but it has no URL.",
    retryable=True,
)


def _output(body: dict[str, Any]) -> Output | None:
    """Read the URLs of the results, which end after 24 to 48 hours."""
    urls = [web_url(url) for url in as_bounded_list(body.get("output"))]
    types = [(url, media_type(url)) for url in urls if url is not None]
    artifacts = tuple(
        Artifact(kind=artifact_kind(found or ""), url=url, media_type=found) for url, found in types
    )
    return Output(artifacts=artifacts) if artifacts else None


def _error(body: dict[str, Any]) -> JobError:
    failure = text(body.get("failureCode"))
    code = failure_error_code(failure) or ErrorCode.PROVIDER_ERROR
    return JobError(
        code=code,
        message=message_of(body.get("failure")) or "The provider gave no reason.",
        provider_code=failure,
        retryable=code is ErrorCode.PROVIDER_ERROR and is_retryable_failure(failure),
    )
