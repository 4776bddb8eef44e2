"""Replicate: predictions of any model, reported by webhooks that Replicate signs."""

from collections.abc import Sequence
from typing import Any, Final

from service.domain.jobs.job import Job, Report
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.errors import FieldError
from service.providers.kit.http_status import message_of, rejected
from service.providers.kit.request_builder import segment, send
from service.providers.kit.signatures import StandardWebhooks
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import AccountSettings, Call, Callbacks, ProviderTask
from service.providers.refusals import AccountRefused
from service.providers.replicate.catalog import DEFAULT_EVENTS, OPERATIONS, combination_errors
from service.providers.replicate.predictions import moderated, read_prediction

SECRET_PATH: Final = "/webhooks/default/secret"  # noqa: S105 - a path
"""Source: replicate.com/docs/topics/webhooks/verify-webhook."""
_COLLECTIONS: Final = {"model": "models", "deployment": "deployments"}


class Replicate(TaskProvider):
    """Replicate. A prediction contains no reference of ours: its URL and its id tell the job."""

    name = "replicate"
    title = "Replicate"
    account = AccountSettings(
        "REPLICATE_API_TOKEN",
        prefix="REPLICATE",
        base_url="https://api.replicate.com/v1",
        max_jobs=100,
    )
    callbacks: Callbacks | None = Callbacks(signature=StandardWebhooks(secret_path=SECRET_PATH))
    operations = OPERATIONS
    reply_url_field: str | None = "webhook"
    check_path = "/account"

    def combination_errors(
        self,
        operation: str,  # noqa: ARG002 - there is one
        given: dict[str, Any],
    ) -> list[FieldError]:
        return combination_errors(given)

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        body, path = dict(task.input), "/predictions"
        for field, collection in _COLLECTIONS.items():
            if field in body:
                owner, _, name = body.pop(field).partition("/")
                path = f"/{collection}/{segment(owner)}/{segment(name)}/predictions"
        events = body.get("webhook_events_filter") or DEFAULT_EVENTS
        body["webhook"] = task.callback_url
        body["webhook_events_filter"] = list(dict.fromkeys((*events, "completed")))
        return send("POST", path, body)

    def read_task(self, body: dict[str, Any]) -> Report:
        return read_prediction(body)

    def task_path(self, job: Job) -> str | None:
        known = job.provider_task_id
        return None if known is None else f"/predictions/{segment(known)}"

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        message = message_of(body)
        code = ErrorCode.MODERATED if moderated(message) else None
        return rejected(status, message, code)
