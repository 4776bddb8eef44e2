"""useapi.net: Runway's models through an API that sends a callback for every state of a task."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorStage, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.coercion import as_dict, json_or_none, text
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    empty_result,
    is_success,
    message_of,
    rejected,
    rejection,
    retry_later,
    unreadable_result,
)
from service.providers.kit.input_schema import input_errors
from service.providers.kit.request_builder import get, segment, send
from service.providers.protocol import (
    AccountRefused,
    AccountSettings,
    Answer,
    Call,
    Inconclusive,
    LookupResult,
    Operation,
    PreparedInput,
    ProviderTask,
    RefusalScope,
    Reply,
)
from service.providers.useapi.catalog import ENDPOINTS
from service.providers.useapi.lookup import find_running, lookup, read_lookup, status_of
from service.providers.useapi.tasks import is_task, read_task, refusal_error_code

_SERVICE_KEYS: Final = frozenset({"replyUrl", "replyRef"})
"""Input fields that this service reads and replaces by its own values."""
_ACCOUNT_PROBLEMS: Final = {
    402: "The subscription at useapi.net has expired.",
    404: "No Runway account is set up at useapi.net.",
}
_SESSION_BROKEN: Final = 596
"""The session of the Runway account has ended, or must be confirmed by hand."""
_NO_ACCOUNT: Final = re.compile(
    r"(?i)\bno (?:linked |configured |available |active )?(?:runway |runwayml )?accounts?\b"
    r"|\baccounts?(?: \S{1,100})?(?: is| are| was)? not (?:found|linked|configured|set up)\b"
)
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class UseApi:
    """Runway through useapi.net."""

    name = "useapi"
    title = "useapi.net (Runway)"
    account = AccountSettings(
        "USEAPI_TOKEN",
        prefix="USEAPI",
        base_url="https://api.useapi.net/v1/runwayml",
        max_jobs=10,
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: endpoint.operation for name, endpoint in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given):
            raise Invalid(errors)
        has_callback = not operation.answers_immediately
        return PreparedInput(
            input={key: value for key, value in given.items() if key not in _SERVICE_KEYS},
            reply_url=given.get("replyUrl"),
            reply_ref=given.get("replyRef"),
            account=given["email"].lower() if has_callback and "email" in given else None,
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
        fields["replyRef"] = task.ref
        return send(endpoint.method, path, fields)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        try:
            body = as_dict(read_json(reply.body))
            return {task.ref: _answer(reply, body, task) for task in tasks}
        except UnreadableJson:
            return {task.ref: _answer(reply, {}, task) for task in tasks}

    def read_callback(self, body: bytes) -> list[Report]:
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
        return get("/accounts", {})

    def read_check(self, reply: Reply) -> JobError | None:
        """Read the list of accounts (useapi.net/docs/api-runwayml-v1/get-runwayml-accounts)."""
        body = json_or_none(reply.body)
        status = status_of(reply, as_dict(body))
        if is_success(status):
            return None if isinstance(body, dict) else unreadable_result().error
        message = _ACCOUNT_PROBLEMS.get(status) or message_of(body)
        return rejection(status, message, refusal_error_code(status, message))


def _answer(reply: Reply, body: dict[str, Any], task: ProviderTask) -> Answer:
    status = status_of(reply, body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        # The task may be among those that keep the account busy: then it was accepted before.
        running = find_running(body.get("runningTasks"), task.ref)
        if running:
            return running
    if status in BUSY_STATUSES:
        return retry_later(reply, message_of(body))
    if not is_success(status):
        return _rejected(status, message_of(body), task)
    if ENDPOINTS[task.operation].operation.answers_immediately:
        return _read_description(body)
    return _read_accepted_task(body)


def _rejected(status: int, message: str | None, task: ProviderTask) -> Answer:
    scope = _refusal_scope(status, message or "", task)
    if scope is not None:
        default = _ACCOUNT_PROBLEMS.get(status, "The Runway account cannot be used.")
        return AccountRefused(message=message or default, scope=scope)
    return rejected(status, message, refusal_error_code(status, message))


def _refusal_scope(status: int, message: str, task: ProviderTask) -> RefusalScope | None:
    """Tell what a status means that only useapi.net uses so; None if it means the usual.

    An account that the input names, but that is not set up, is an error of the input.
    """
    if status == _SESSION_BROKEN:
        return RefusalScope.ACCOUNT
    if status == HTTPStatus.PAYMENT_REQUIRED:
        # The subscription at useapi.net has lapsed, or the Runway account is out of credits.
        out_of_credits = "credit" in message.lower()
        return RefusalScope.CREDITS if out_of_credits else RefusalScope.CREDENTIAL
    if status == HTTPStatus.NOT_FOUND and "email" not in task.input:
        return RefusalScope.ACCOUNT if _NO_ACCOUNT.search(message) else None
    return None


def _read_accepted_task(body: dict[str, Any]) -> Answer:
    report = read_task(body)
    if report.status is None and report.task_id is None:
        return Inconclusive(message="the answer has no task id")
    if report.task_id is None and report.error is not None:
        return replace(report, error=replace(report.error, stage=ErrorStage.SUBMIT))
    return report if report.status else replace(report, status=Status.SUBMITTED)


def _read_description(body: dict[str, Any]) -> Report:
    """Read the answer of frames/describe: the text is in `prompt`."""
    if prompt := text(body.get("prompt")):
        return Report(status=Status.SUCCEEDED, output=Output(text=prompt))
    if body.get("error"):
        return unreadable_result(message_of(body))
    return empty_result() if body else unreadable_result()
