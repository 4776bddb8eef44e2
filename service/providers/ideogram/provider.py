"""Ideogram: asynchronous generations, with one signed callback when all images are there."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.domain.primitives.errors import FieldError
from service.providers.ideogram.catalog import (
    PATHS,
    ROWS,
    V4_PROMPTS,
    WEBHOOK,
    endpoint_operation,
)
from service.providers.ideogram.images import read_images
from service.providers.kit.coercion import amount, as_bounded_list, identifier, text
from service.providers.kit.http_status import message_of, rejected
from service.providers.kit.request_builder import segment, send_form, with_query
from service.providers.kit.signatures import PublishedEd25519
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Call,
    Callbacks,
    Operation,
    ProviderTask,
)
from service.providers.refusals import AccountRefused

_STATUSES: Final = {
    "PENDING": Status.SUBMITTED,
    "COMPLETED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
}
_MICROS: Final = 1_000_000


def api_key(token: str, at: int) -> dict[str, str]:  # noqa: ARG001 - one of `Credential`
    """Send the token in Ideogram's own header."""
    return {"api-key": token}


class Ideogram(TaskProvider):
    """Ideogram's first API. Sources: its pages on webhooks, `generate-v4-async`, `get-generation`.

    A callback has no `status`: its list of images is the success.
    """

    name = "ideogram"
    title = "Ideogram"
    account = AccountSettings(
        "IDEOGRAM_API_KEY",
        prefix="IDEOGRAM",
        base_url="https://api.ideogram.ai",
        max_jobs=10,
        credential=api_key,
        keys_url="https://api.ideogram.ai/v1/.well-known/jwks.json",
    )
    callbacks: Callbacks | None = Callbacks(
        signature=PublishedEd25519(
            headers=(
                "x-ideogram-webhook-generation-id",
                "x-ideogram-webhook-user-id",
                "x-ideogram-webhook-timestamp",
            ),
            signature_header="x-ideogram-webhook-signature",
        )
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: endpoint_operation(name, inputs, summary) for name, _, inputs, summary in ROWS}
    )
    reply_url_field: str | None = WEBHOOK.name
    check_path = "/models"

    def combination_errors(self, operation: str, given: dict[str, Any]) -> list[FieldError]:
        """Require exactly one kind of prompt for Ideogram 4.0."""
        prompts = sum(given.get(name) is not None for name in V4_PROMPTS)
        if not operation.startswith("v4.") or prompts == 1:
            return []
        message = "exactly one of text_prompt and json_prompt must be given"
        return [FieldError("input.text_prompt", message)]

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        """Build the form; the ref, which nobody could know, is the boundary of its fields."""
        (task,) = tasks
        fields = {"webhook_url": task.callback_url} if task.callback_url else {}
        path = with_query(PATHS[task.operation], fields)
        return send_form(path, task.input, boundary=task.ref)

    def read_task(self, body: dict[str, Any]) -> Report:
        """Read the answer to a submit, a callback, or the state of a generation."""
        word = text(body.get("status"))
        cost = amount(body.get("usage_cost_usd_micros"))
        report = Report(
            task_id=identifier(body.get("generation_id")) or identifier(body.get("request_id")),
            status=_STATUSES.get((word or "").strip().upper()),
            provider_status=word,
            cost_usd=None if cost is None else cost / _MICROS,
        )
        if report.status is Status.FAILED:
            return replace(report, error=_failure(body))
        if report.status is Status.SUCCEEDED or (word is None and "data" in body):
            result = read_images(as_bounded_list(body.get("data")))
            if isinstance(result, Output):
                return replace(report, status=Status.SUCCEEDED, output=result)
            return replace(report, status=Status.FAILED, error=result)
        return report

    def task_path(self, job: Job) -> str | None:
        task_id = job.provider_task_id
        return None if task_id is None else f"/v1/generations/{segment(task_id)}"

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        """Read a refusal; 422 means that the prompt did not pass the safety check."""
        moderated = ErrorCode.MODERATED if status == HTTPStatus.UNPROCESSABLE_ENTITY else None
        return rejected(status, message_of(body), moderated)


def _failure(body: dict[str, Any]) -> JobError:
    """Read a generation that failed; the first API gives no reason, the second one does."""
    message = message_of(body.get("failure_reason")) or message_of(body.get("error"))
    return JobError(
        code=ErrorCode.PROVIDER_ERROR,
        message=message or "The provider gave no reason.",
        retryable=True,
    )
