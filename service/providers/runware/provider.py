"""Runware: arrays of tasks under a UUID of our choosing, and a callback for each result."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.coercion import json_or_none
from service.providers.http_status import (
    BUSY,
    code_for,
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
from service.providers.request_builder import send
from service.providers.runware.catalog import ROWS
from service.providers.runware.errors import classify, error_of, is_taken
from service.providers.runware.inputs import CAPTION, operation_of
from service.providers.runware.items import Item, read_item, read_items, read_reports
from service.providers.runware.lookup import lookup, read_lookup

_TASK_TYPE: Final = re.compile("[A-Za-z0-9]{2,64}")
_CONTROL: Final = frozenset(
    {"authentication", "ping", "getresponse", "gettaskdetails", "accountmanagement"}
)
"""Not work but talk with the provider, or with the operator's own account there."""

_NO_TASK: Final = "00000000-0000-4000-8000-000000000000"
_OURS: Final = frozenset({"taskType", "taskUUID", "webhookURL", "deliveryMethod"})
_VAGUE: Final = frozenset({ErrorCode.PROVIDER_ERROR, ErrorCode.TIMED_OUT})


class Runware:
    """Runware's task API."""

    name = "runware"
    title = "Runware"
    account = AccountSettings(
        "RUNWARE_API_KEY",
        prefix="RUNWARE",
        base_url="https://api.runware.ai/v1",
        max_jobs=100,
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {
            "imageCaption": operation_of("imageCaption", "Describe an image in words.", *CAPTION),
            **{
                name: operation_of(name, summary, deadline_seconds=seconds)
                for name, seconds, summary in ROWS
            },
        }
    )

    def operation(self, name: str) -> Operation | None:
        """Take any task type by name: the vendor adds and renames them."""
        if name in self.operations:
            return self.operations[name]
        if name.lower() in _CONTROL or not _TASK_TYPE.fullmatch(name):
            return None
        return operation_of(name, f"Run a task of type {name}.")

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given):
            raise Invalid(errors)
        uuid = given.get("taskUUID")
        return PreparedInput(
            input={key: value for key, value in given.items() if key not in _OURS},
            reply_url=given.get("webhookURL"),
            reply_ref=uuid,
            task_uuid=uuid.lower() if uuid else None,
            expected_parts=given.get("numberResults", 1),
        )

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        return send("POST", "", [_written(task) for task in tasks])

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        try:
            return _answers(reply, read_items(read_json(reply.body)), tasks)
        except UnreadableJson:
            return _answers(reply, [], tasks)

    def read_callback(self, body: bytes) -> list[Report]:
        reports = read_reports(read_items(read_json(body)))
        if not reports:
            raise UnreadableJson("not a task of Runware")
        return reports

    def lookup(self, job: Job, step: int) -> Call | None:
        return lookup(job, step)

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        return read_lookup(reply, job, step)

    def check(self) -> Call | None:
        """Ask for a task that never was: of the free calls the one without private data in it."""
        return send("POST", "", [{"taskType": "getResponse", "taskUUID": _NO_TASK}])

    def read_check(self, reply: Reply) -> JobError | None:
        return _standing(reply)


def _standing(reply: Reply) -> JobError | None:
    """Judge the answer about no task: a complaint about that task means the key was accepted."""
    value = json_or_none(reply.body)
    if code_for(reply.status) is ErrorCode.UNAUTHORIZED:
        return rejected(reply.status, None).error
    if failures := [item for item in _readable(value) if item.is_failure]:
        errors = (error_of(item.fields, ErrorStage.SUBMIT) for item in failures)
        return next((error for error in errors if error.code is not ErrorCode.INVALID_INPUT), None)
    if is_success(reply.status):
        return None if isinstance(value, dict | list) else unreadable_result().error
    return rejected(reply.status, message_of(value)).error


def _readable(value: Any) -> list[Item]:
    try:
        return read_items(value)
    except UnreadableJson:
        return []


def _written(task: ProviderTask) -> dict[str, Any]:
    webhook = {"webhookURL": task.callback_url} if task.callback_url else {}
    named = {"taskType": task.operation, "taskUUID": task.ref}
    return task.input | named | {"deliveryMethod": "async"} | webhook


def _answers(
    reply: Reply, said: Sequence[Item], tasks: Sequence[ProviderTask]
) -> dict[str, Answer]:
    items: dict[str | None, list[Item]] = defaultdict(list)
    for item in said:
        items[item.ref].append(item)
    shared = _shared(items[None], len(tasks))
    return {task.ref: _answer(reply, items[task.ref.lower()] or shared) for task in tasks}


def _shared(nameless: list[Item], tasks: int) -> list[Item]:
    """A nameless error is about every task not otherwise answered."""
    if tasks == 1:
        return nameless
    # which of several tasks a nameless "known taskUUID" means cannot be told
    return [item for item in nameless if item.is_failure and not is_taken(item.fields)]


def _answer(reply: Reply, items: list[Item]) -> Answer:
    if any(is_taken(item.fields) for item in items):
        return Report(status=Status.SUBMITTED)
    # A result may come at once though async was asked for; of several, the rest come as callbacks.
    if results := [item for item in items if item.is_result and item.has_result]:
        return read_reports(results)[0]
    if failures := [item for item in items if item.is_failure]:
        return _refusal(reply, failures[0])
    if acknowledged := [item for item in items if item.ref or is_success(reply.status)]:
        return _acknowledged(acknowledged[0])
    return _unnamed(reply)


def _acknowledged(item: Item) -> Report:
    report = Report(refs=(item.ref,) if item.ref else (), provider_status=item.word)
    running = item.word is not None and read_item(item).status is Status.RUNNING
    return replace(report, status=Status.RUNNING if running else Status.SUBMITTED)


def _refusal(reply: Reply, item: Item) -> Answer:
    """Judge by the error's code; by the HTTP status where the code says no more than "failed"."""
    error = error_of(item.fields, ErrorStage.SUBMIT)
    if error.code is ErrorCode.RATE_LIMITED or (error.code in _VAGUE and reply.status in BUSY):
        return retry_later(reply, error.message)
    if classify(error.provider_code) is None and not is_success(reply.status):
        return rejected(reply.status, message_of(item.fields))
    return Report(refs=(item.ref,) if item.ref else (), status=Status.FAILED, error=error)


def _unnamed(reply: Reply) -> Answer:
    """Judge a task of which the answer says nothing."""
    said = message_of(json_or_none(reply.body))
    if is_success(reply.status):
        return Inconclusive(message="the answer does not name it")
    return retry_later(reply, said) if reply.status in BUSY else rejected(reply.status, said)
