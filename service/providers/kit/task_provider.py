"""The base of most providers: one request makes a task, and every message about it is one object.

A provider of this kind is a table of operations and a reader, `read_task`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import JobError
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.coercion import as_dict, json_or_none
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    is_success,
    message_of,
    rejected,
    rejection,
    retry_later,
)
from service.providers.kit.input_schema import input_errors
from service.providers.kit.request_builder import get
from service.providers.protocol import (
    UNSIGNED,
    AccountSettings,
    Answer,
    Call,
    Callbacks,
    Inconclusive,
    LookupResult,
    Operation,
    PreparedInput,
    ProviderTask,
    Reply,
    TaskNotFound,
)
from service.providers.refusals import AccountRefused

_NOT_FOUND: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class TaskProvider(ABC):
    """Implements `Provider` for an API whose answers, callbacks and lookups show the same object.

    *reply_ref_field* is the vendor's name of the field that holds the client's own reference.
    *check_path* is a free request that needs a valid credential.
    """

    name: str
    title: str
    account: AccountSettings
    callbacks: Callbacks | None = UNSIGNED
    poll_seconds: float | None = None
    operations: Mapping[str, Operation]
    reply_url_field: str | None = None
    reply_ref_field: ClassVar[str | None] = None
    check_path: ClassVar[str | None] = None

    @abstractmethod
    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        """Build one request for *tasks*."""

    @abstractmethod
    def read_task(self, body: dict[str, Any]) -> Report:
        """Read a task; a report without refs, task id and status means that it is no task."""

    @abstractmethod
    def task_path(self, job: Job) -> str | None:
        """Return the path that shows the task of *job*; None if the API has none, or no id yet."""

    def combination_errors(
        self,
        operation: str,  # noqa: ARG002 - for the providers that have such rules
        given: dict[str, Any],  # noqa: ARG002
    ) -> list[FieldError]:
        """Return the errors that a single `InputField` cannot describe."""
        return []

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        errors = input_errors(operation.inputs, given)
        if errors := errors + self.combination_errors(operation.name, given):
            raise Invalid(errors)
        own = {self.reply_url_field, self.reply_ref_field}
        return PreparedInput(
            input={name: value for name, value in given.items() if name not in own},
            reply_url=given.get(self.reply_url_field) if self.reply_url_field else None,
            reply_ref=given.get(self.reply_ref_field) if self.reply_ref_field else None,
        )

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        answer = self._read_answer(reply)
        return {task.ref: answer for task in tasks}

    def read_callback(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - the body says everything
    ) -> list[Report]:
        report = self.read_task(as_dict(read_json(body)))
        if not any((report.refs, report.task_id, report.status)):
            raise UnreadableJson(f"not a task of {self.title}")
        return [report]

    def lookup(self, job: Job, step: int) -> Call | None:
        path = self.task_path(job) if step == 0 else None
        return None if path is None else get(path, {})

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:  # noqa: ARG002 - one step
        if reply.status in _NOT_FOUND:
            return TaskNotFound(message="The provider does not know the task.")
        if not is_success(reply.status):
            return Inconclusive(message=f"the lookup was answered with HTTP status {reply.status}")
        try:
            report = self.read_task(as_dict(json_or_none(reply.body)))
        except UnreadableJson as exc:
            return Inconclusive(message=f"the answer to the lookup cannot be read: {exc}")
        if report.status is None and report.provider_status is None:
            return Inconclusive(message="the answer to the lookup does not mention the task")
        return [replace(report, refs=(job.ref,))]

    def rejection(self, status: int, body: Any) -> Report | AccountRefused:
        """Read the answer to a submit that was refused for good with HTTP *status*."""
        return rejected(status, message_of(body))

    def check(self) -> Call | None:
        return None if self.check_path is None else get(self.check_path, {})

    def read_check(self, reply: Reply) -> JobError | None:
        return None if is_success(reply.status) else rejection(reply.status, None)

    def _read_answer(self, reply: Reply) -> Answer:
        body = json_or_none(reply.body)
        if reply.status == HTTPStatus.GATEWAY_TIMEOUT:
            # The task behind the gateway may have been created, and billed.
            return Inconclusive(message="its gateway timed out before the answer was there")
        if reply.status in BUSY_STATUSES:
            return retry_later(reply, message_of(body))
        if not is_success(reply.status):
            return self.rejection(reply.status, body)
        try:
            report = self.read_task(as_dict(body))
        except UnreadableJson:
            return Inconclusive(message="the answer could not be read")
        if report.task_id is None:
            return Inconclusive(message="the answer has no task id")
        return report if report.status else replace(report, status=Status.SUBMITTED)
