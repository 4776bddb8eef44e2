"""Luma: Dream Machine's API, which calls back at every change of a generation."""

from collections.abc import Sequence
from typing import Any

from service.domain.jobs.job import Job, Report
from service.domain.primitives.errors import FieldError
from service.providers.kit.http_status import message_of, rejected
from service.providers.kit.request_builder import segment, send
from service.providers.kit.task_provider import TaskProvider
from service.providers.luma.catalog import ENDPOINTS, OPERATIONS, combination_errors
from service.providers.luma.generations import code_of, read_generation
from service.providers.protocol import AccountSettings, Call, Callbacks, ProviderTask
from service.providers.refusals import AccountRefused


class Luma(TaskProvider):
    """Luma. A generation contains no reference of ours: its URL and its id tell the job.

    A response other than 200 makes Luma repeat a callback, three times 100 ms apart
    (docs.lumalabs.ai/changelog/callbacks-and-credits-balance). An account may run ten videos at
    once (docs.lumalabs.ai/docs/rate-limits).
    """

    name = "luma"
    title = "Luma (Dream Machine)"
    account = AccountSettings(
        "LUMA_API_KEY",
        prefix="LUMA",
        base_url="https://api.lumalabs.ai/dream-machine/v1",
        max_jobs=10,
    )
    callbacks: Callbacks | None = Callbacks(success_status=200)
    operations = OPERATIONS
    reply_url_field: str | None = "callback_url"
    check_path = "/credits"

    def combination_errors(self, operation: str, given: dict[str, Any]) -> list[FieldError]:
        return combination_errors(operation, given)

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        endpoint = ENDPOINTS[task.operation]
        body, path = dict(task.input), endpoint.path
        if "{id}" in path:
            path = path.replace("{id}", segment(body.pop("id")))
        body |= {"generation_type": endpoint.generation_type, "callback_url": task.callback_url}
        return send("POST", path, body)

    def read_task(self, body: dict[str, Any]) -> Report:
        return read_generation(body)

    def task_path(self, job: Job) -> str | None:
        known = job.provider_task_id
        return None if known is None else f"/generations/{segment(known)}"

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        message = message_of(body)
        return rejected(status, message, code_of(message))
