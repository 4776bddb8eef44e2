"""useapi.net: Runway's models behind an API that calls back with every step of a task."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorStage, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.coercion import fields, json_or_none, text
from service.providers.http_status import (
    BUSY,
    empty_result,
    is_success,
    message_of,
    rejected,
    retry_later,
    unreadable_result,
)
from service.providers.input_schema import input_errors
from service.providers.protocol import (
    AccountSettings,
    Answer,
    Call,
    Inconclusive,
    LookupResult,
    Operation,
    PreparedInput,
    ProviderTask,
    Reply,
)
from service.providers.request_builder import get, segment, send
from service.providers.useapi.catalog import ENDPOINTS
from service.providers.useapi.lookup import find_running, lookup, read_lookup, status_of
from service.providers.useapi.tasks import read_task, refusal, says_something

_OURS: Final = frozenset({"replyUrl", "replyRef"})
_TOO_MANY: Final = 429
_OBSTACLES: Final = {
    402: "The subscription at useapi.net has lapsed.",
    404: "No Runway account is set up at useapi.net.",
}
_PLACE: Final = re.compile(r"\{(\w+)\}")


class UseApi:
    """Runway by way of useapi.net."""

    name = "useapi"
    title = "useapi.net (Runway)"
    account = AccountSettings(
        "USEAPI_TOKEN",
        prefix="USEAPI",
        base_url="https://api.useapi.net/v1/runwayml",
        max_jobs=10,
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: row.operation for name, row in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given):
            raise Invalid(errors)
        is_task = not operation.answers_immediately
        return PreparedInput(
            input={key: value for key, value in given.items() if key not in _OURS},
            reply_url=given.get("replyUrl"),
            reply_ref=given.get("replyRef"),
            account=given["email"].lower() if is_task and "email" in given else None,
            max_jobs=given.get("maxJobs") if is_task else None,
        )

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        row = ENDPOINTS[task.operation]
        placed = _PLACE.findall(row.path)
        path = "/" + _PLACE.sub(lambda place: segment(task.input[place[1]]), row.path)
        body = {key: value for key, value in task.input.items() if key not in placed}
        if row.method == "GET":
            return get(path, body)
        reply_url = {"replyUrl": task.callback_url} if task.callback_url else {}
        return send(row.method, path, body | reply_url | {"replyRef": task.ref})

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        try:
            return {task.ref: _answer(reply, fields(read_json(reply.body)), task) for task in tasks}
        except UnreadableJson:
            return {task.ref: _answer(reply, {}, task) for task in tasks}

    def read_callback(self, body: bytes) -> list[Report]:
        report = read_task(fields(read_json(body)))
        if not says_something(report):
            raise UnreadableJson("not a task of useapi.net")
        return [report]

    def lookup(self, job: Job, step: int) -> Call | None:
        operation = self.operation(job.operation)
        return (
            None if operation is not None and operation.answers_immediately else lookup(job, step)
        )

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        try:
            return read_lookup(reply, job, step)
        except UnreadableJson as exc:
            return Inconclusive(message=f"the answer to the read cannot be read: {exc}")

    def check(self) -> Call | None:
        """Ask for the accounts; their passwords and tokens come masked, and nobody keeps them."""
        return get("/accounts", {})

    def read_check(self, reply: Reply) -> JobError | None:
        return _standing(reply)


def _standing(reply: Reply) -> JobError | None:
    """Judge the list of accounts (useapi.net/docs/api-runwayml-v1/get-runwayml-accounts)."""
    body = json_or_none(reply.body)
    status = status_of(reply, fields(body))
    if is_success(status):
        return None if isinstance(body, dict) else unreadable_result().error
    return rejected(status, _OBSTACLES.get(status) or message_of(body), refusal(status)).error


def _answer(reply: Reply, body: dict[str, Any], task: ProviderTask) -> Answer:
    status = status_of(reply, body)
    if status == _TOO_MANY and (running := find_running(body.get("runningTasks"), task.ref)):
        return running
    if status in BUSY:
        return retry_later(reply, message_of(body))
    if not is_success(status):
        return rejected(status, message_of(body), refusal(status))
    if ENDPOINTS[task.operation].operation.answers_immediately:
        return _described(body)
    return _accepted(body)


def _accepted(body: dict[str, Any]) -> Answer:
    report = read_task(body)
    if report.status is None and report.task_id is None:
        return Inconclusive(message="the answer named no task")
    if report.task_id is None and report.error is not None:
        return replace(report, error=replace(report.error, stage=ErrorStage.SUBMIT))
    return report if report.status else replace(report, status=Status.SUBMITTED)


def _described(body: dict[str, Any]) -> Report:
    if prompt := text(body.get("prompt")):
        return Report(status=Status.SUCCEEDED, output=Output(text=prompt))
    if body.get("error"):
        return unreadable_result(message_of(body))
    return empty_result() if body else unreadable_result()
