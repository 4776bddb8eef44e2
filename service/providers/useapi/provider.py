"""useapi.net: Runway's models through an API that sends a callback for every state of a task."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorStage, JobError
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.coercion import as_dict, json_or_none
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    is_success,
    message_of,
    rejection,
    retry_later,
    unreadable_result,
)
from service.providers.kit.input_schema import input_errors
from service.providers.kit.request_builder import get, segment, send
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
)
from service.providers.useapi.catalog import ENDPOINTS
from service.providers.useapi.failures import read_refusal, read_rejection
from service.providers.useapi.fields import account_of
from service.providers.useapi.instant_answers import read_instant_answer
from service.providers.useapi.lookup import (
    DEFAULT_MAX_JOBS,
    LINKED_ACCOUNTS,
    find_running,
    lookup,
    read_lookup,
    status_of,
)
from service.providers.useapi.tasks import is_task, read_task

_SERVICE_KEYS: Final = frozenset({"replyUrl", "replyRef"})
"""Input fields that this service reads and replaces by its own values."""
_ACCOUNT_PROBLEMS: Final = {
    402: "The subscription at useapi.net has expired.",
    404: "No Runway account is set up at useapi.net.",
}
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class UseApi:
    """Runway through useapi.net."""

    name = "useapi"
    title = "useapi.net (Runway)"
    account = AccountSettings(
        "USEAPI_TOKEN",
        prefix="USEAPI",
        base_url="https://api.useapi.net/v1/runwayml",
        max_jobs=DEFAULT_MAX_JOBS,
        linked=LINKED_ACCOUNTS,
    )
    callbacks: Callbacks | None = UNSIGNED
    reply_url_field: str | None = "replyUrl"
    poll_seconds: float | None = None
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: endpoint.operation for name, endpoint in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        errors = input_errors(operation.inputs, given)
        seen = {error.path for error in errors}
        check = ENDPOINTS[operation.name].check
        errors += [error for error in check(given) if error.path not in seen]
        if errors:
            raise Invalid(errors)
        has_callback = not operation.answers_immediately
        account, any_account = account_of(given) if has_callback else (None, False)
        return PreparedInput(
            input={key: value for key, value in given.items() if key not in _SERVICE_KEYS},
            reply_url=given.get("replyUrl"),
            reply_ref=given.get("replyRef"),
            account=account,
            any_account=any_account,
            max_jobs=given.get("maxJobs") if has_callback else None,
            uses_credits=has_callback and given.get("exploreMode") is not True,
        )

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        endpoint = ENDPOINTS[task.operation]
        names_in_path = _PLACEHOLDER.findall(endpoint.path)
        path = "/" + _PLACEHOLDER.sub(lambda match: segment(task.input[match[1]]), endpoint.path)
        fields = {key: value for key, value in task.input.items() if key not in names_in_path}
        if endpoint.method == "GET":
            return get(path, fields)
        if task.callback_url:
            fields["replyUrl"] = task.callback_url
        if task.account:
            fields["email"] = task.account
        fields["replyRef"] = task.ref
        return send(endpoint.method, path, fields)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        try:
            value = read_json(reply.body)
            return {task.ref: _answer(reply, value, task) for task in tasks}
        except UnreadableJson:
            return {task.ref: _answer(reply, None, task) for task in tasks}

    def read_callback(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - it sends none of its own
    ) -> list[Report]:
        report = read_task(as_dict(read_json(body)))
        if not is_task(report):
            raise UnreadableJson("not a task of useapi.net")
        return [report]

    def lookup(self, job: Job, step: int) -> Call | None:
        operation = self.operation(job.operation)
        if operation is not None and operation.answers_immediately:
            return None
        return lookup(job, step)

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        try:
            return read_lookup(reply, job, step)
        except UnreadableJson as exc:
            return Inconclusive(message=f"the answer to the lookup cannot be read: {exc}")

    def check(self) -> Call | None:
        """Ask for the Runway accounts.

        Passwords and tokens in the response are masked, and the response is not stored.
        """
        return LINKED_ACCOUNTS.call

    def read_check(self, reply: Reply) -> JobError | None:
        """Read the list of accounts (useapi.net/docs/api-runwayml-v1/get-runwayml-accounts)."""
        body = json_or_none(reply.body)
        status = status_of(reply, as_dict(body))
        if is_success(status):
            return None if isinstance(body, dict) else unreadable_result().error
        message = _ACCOUNT_PROBLEMS.get(status)
        return rejection(status, message) if message else read_rejection(status, body)


def _answer(reply: Reply, value: Any, task: ProviderTask) -> Answer:
    """Read the answer to *task*; *value* is the decoded body, None if it is not JSON."""
    body, endpoint = as_dict(value), ENDPOINTS[task.operation]
    status = status_of(reply, body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        # The task may be among those that keep the account busy: then it was accepted before.
        running = find_running(body.get("runningTasks"), task.ref)
        if running:
            return running
    if status in BUSY_STATUSES:
        return retry_later(reply, message_of(body))
    if not is_success(status):
        names_account = "email" in task.input
        return read_refusal(status, body, endpoint.moderated_status, names_account=names_account)
    if endpoint.operation.answers_immediately:
        return read_instant_answer(task.operation, value)
    return _read_accepted_task(body)


def _read_accepted_task(body: dict[str, Any]) -> Answer:
    report = read_task(body)
    if report.status is None and report.task_id is None:
        return Inconclusive(message="the answer has no task id")
    if report.task_id is None and report.error is not None:
        return replace(report, error=replace(report.error, stage=ErrorStage.SUBMIT))
    return report if report.status else replace(report, status=Status.SUBMITTED)
