"""fal: one operation for each model, a queue, and one signed callback when a request has ended."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError, Output
from service.domain.primitives.json_input import UnreadableJson
from service.providers.fal.catalog import ROWS, WEBHOOK, app_of, is_model, model_operation
from service.providers.fal.errors import error_of, is_failure
from service.providers.fal.outputs import output_of
from service.providers.kit.coercion import as_dict, identifier, json_or_none, text
from service.providers.kit.http_status import account_refused, message_of
from service.providers.kit.request_builder import get, segment, send, with_query
from service.providers.kit.signatures import PublishedEd25519
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Call,
    Callbacks,
    Inconclusive,
    LookupResult,
    Operation,
    ProviderTask,
    Reply,
)
from service.providers.refusals import AccountRefused

_STATUSES: Final = {
    "IN_QUEUE": Status.SUBMITTED,
    "IN_PROGRESS": Status.RUNNING,
    "OK": Status.SUCCEEDED,
    "ERROR": Status.FAILED,
    "FAILED": Status.FAILED,
    "CANCELED": Status.CANCELED,
    "CANCELLED": Status.CANCELED,
}
"""The words of the queue and of callbacks; fal's own pages do not have the last three."""
_COMPLETED: Final = "COMPLETED"
"""The queue's word for a request that has ended, well or not: its result tells which."""


def key(token: str, at: int) -> dict[str, str]:  # noqa: ARG001 - one of `Credential`
    """Send the token with fal's own scheme."""
    return {"authorization": f"Key {token}"}


class Fal(TaskProvider):
    """fal's queue. Sources: its pages on the queue and on webhooks, and its own clients."""

    name = "fal"
    title = "fal"
    account = AccountSettings(
        "FAL_KEY",
        prefix="FAL",
        base_url="https://queue.fal.run",
        max_jobs=100,
        credential=key,
        keys_url="https://rest.fal.ai/.well-known/jwks.json",
    )
    callbacks: Callbacks | None = Callbacks(
        signature=PublishedEd25519(
            headers=(
                "x-fal-webhook-request-id",
                "x-fal-webhook-user-id",
                "x-fal-webhook-timestamp",
            ),
            signature_header="x-fal-webhook-signature",
        )
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {
            name: model_operation(name, summary, *inputs, deadline_seconds=seconds)
            for name, seconds, inputs, summary in ROWS
        }
    )
    reply_url_field: str | None = WEBHOOK.name

    def operation(self, name: str) -> Operation | None:
        """Accept any model by its id."""
        if name in self.operations:
            return self.operations[name]
        return model_operation(name, f"Run the model {name}.") if is_model(name) else None

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        fields = {"fal_webhook": task.callback_url} if task.callback_url else {}
        return send("POST", with_query(f"/{task.operation}", fields), task.input)

    def read_task(self, body: dict[str, Any]) -> Report:
        """Read the answer to a submit, a status of the queue, or a callback."""
        word = text(body.get("status"))
        report = Report(
            task_id=identifier(body.get("request_id")),
            status=_STATUSES.get((word or "").strip().upper()),
            provider_status=word,
        )
        if report.status is Status.SUCCEEDED:
            return _succeeded(report, body.get("payload"), body.get("payload_error"))
        if report.status is Status.FAILED:
            error = error_of(as_dict(body.get("payload")), body.get("error"))
            return replace(report, error=error)
        return report

    def task_path(self, job: Job) -> str | None:
        """The path of the result; the state of the request is below it."""
        if job.provider_task_id is None:
            return None
        return f"/{app_of(job.operation)}/requests/{segment(job.provider_task_id)}"

    def lookup(self, job: Job, step: int) -> Call | None:
        """First ask for the state, then, if the request has ended, for the result."""
        path = self.task_path(job)
        if path is None or step > 1:
            return None
        return get(f"{path}/status" if step == 0 else path, {})

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        body = as_dict(json_or_none(reply.body))
        if step == 0:
            if (text(body.get("status")) or "").strip().upper() == _COMPLETED:
                return Inconclusive(message="the request has ended; its result tells how")
            return super().read_lookup(reply, job, step)
        report = Report(refs=(job.ref,), task_id=job.provider_task_id, provider_status=_COMPLETED)
        if reply.status != HTTPStatus.OK:
            if not is_failure(body):
                return super().read_lookup(reply, job, step)
            error = error_of(body, status=reply.status)
            return [replace(report, status=Status.FAILED, error=error)]
        try:
            succeeded = replace(report, status=Status.SUCCEEDED)
            return [_succeeded(succeeded, json_or_none(reply.body), None)]
        except UnreadableJson as exc:
            return Inconclusive(message=f"the answer to the lookup cannot be read: {exc}")

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        error = error_of(as_dict(body), status=status, stage=ErrorStage.SUBMIT)
        return account_refused(error) or Report(status=Status.FAILED, error=error)


def _succeeded(report: Report, payload: Any, payload_error: Any) -> Report:
    """Add the output; a success without one is looked up, as a payload that fal could not send."""
    output = output_of(payload)
    if output != Output():
        return replace(report, output=output)
    reason = message_of(payload_error)
    error = JobError(
        code=ErrorCode.NO_OUTPUT,
        message=f"The payload could not be sent: {reason}" if reason else "There is no output.",
        retryable=True,
    )
    return replace(report, status=Status.FAILED, error=error)
