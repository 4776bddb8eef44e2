"""The services of useapi.net beside Runway; each has accounts and slots of its own."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report
from service.providers.kit.request_builder import send
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Call,
    Operation,
    PreparedInput,
    ProviderTask,
)
from service.providers.refusals import AccountRefused
from service.providers.useapi.failures import read_refusal
from service.providers.useapi_services.catalog import OPERATIONS, ROWS
from service.providers.useapi_services.jobs import read_job


class UseApiServices(TaskProvider):
    """useapi.net: everything with `replyUrl` that is not Runway."""

    name = "useapi_services"
    title = "useapi.net (other services)"
    account = AccountSettings(
        "USEAPI_TOKEN",
        prefix="USEAPI_SERVICES",
        base_url="https://api.useapi.net",
        max_jobs=10,
    )
    operations: Mapping[str, Operation] = OPERATIONS
    reply_url_field: str | None = "replyUrl"
    reply_ref_field = "replyRef"

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        prepared = super().prepare(operation, given)
        service = ROWS[operation.name].service.name
        return replace(prepared, account=service, max_jobs=given.get("maxJobs"))

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        row = ROWS[task.operation]
        ours = {"replyUrl": task.callback_url, "replyRef": task.ref}
        return send(
            "POST", f"{row.service.path}/{row.call}", {**task.input, **row.service.fixed, **ours}
        )

    def read_task(self, body: dict[str, Any]) -> Report:
        return read_job(body)

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        return read_refusal(status, body)

    def task_path(self, job: Job) -> str | None:
        row = ROWS.get(job.operation)
        if row is None or job.provider_task_id is None:
            return None
        found = row.service.read_path.format(
            id=quote(job.provider_task_id, safe=":@"), folder=row.folder
        )
        return f"{row.service.path}/{found}"
