"""Runware: arrays of tasks, each with a UUID that we choose, and a callback for each result."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, ErrorStage, JobError, Output
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.coercion import json_or_none
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    account_refused,
    error_code_for,
    is_success,
    message_of,
    rejected,
    rejection,
    retry_later,
    unreadable_result,
)
from service.providers.kit.input_schema import input_errors
from service.providers.kit.request_builder import send
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
from service.providers.runware.catalog import (
    ANSWER_SECONDS,
    CONTROL_TYPES,
    IMMEDIATE_ROWS,
    ROWS,
)
from service.providers.runware.errors import classify, error_of, is_duplicate_task
from service.providers.runware.inputs import CAPTION_FIELDS, task_operation
from service.providers.runware.items import Item, read_items, read_report, read_reports
from service.providers.runware.lookup import lookup, read_lookup
from service.providers.runware.outputs import output_of

_TASK_TYPE: Final = re.compile("[A-Za-z0-9]{2,64}")
_FREE_TYPES: Final = frozenset({"imageupload", "mediastorage", "modelsearch", "modelupload"})
"""Task types, in lower case, that store or list things and generate nothing."""
_UNKNOWN_TASK: Final = "00000000-0000-4000-8000-000000000000"
_SERVICE_KEYS: Final = frozenset({"taskType", "taskUUID", "webhookURL", "deliveryMethod"})
"""Input fields that this service reads and replaces by its own values."""
_VAGUE_CODES: Final = frozenset({ErrorCode.PROVIDER_ERROR, ErrorCode.TIMED_OUT})


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
    callbacks: Callbacks | None = UNSIGNED
    reply_url_field: str | None = "webhookURL"
    poll_seconds: float | None = None
    operations: Mapping[str, Operation] = MappingProxyType(
        {
            "imageCaption": task_operation(
                "imageCaption", "Describe an image in words.", *CAPTION_FIELDS
            ),
            **{
                name: task_operation(name, summary, deadline_seconds=seconds)
                for name, seconds, summary in ROWS
            },
            **{
                name: task_operation(
                    name, summary, deadline_seconds=ANSWER_SECONDS, answers_immediately=True
                )
                for name, summary in IMMEDIATE_ROWS
            },
        }
    )

    def operation(self, name: str) -> Operation | None:
        """Accept any task type by name, because the vendor adds and renames them."""
        if name in self.operations:
            return self.operations[name]
        if name.lower() in CONTROL_TYPES or not _TASK_TYPE.fullmatch(name):
            return None
        return task_operation(name, f"Run a task of type {name}.")

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given):
            raise Invalid(errors)
        uuid = given.get("taskUUID")
        return PreparedInput(
            input={key: value for key, value in given.items() if key not in _SERVICE_KEYS},
            reply_url=given.get("webhookURL"),
            reply_ref=uuid,
            task_uuid=uuid.lower() if uuid else None,
            expected_parts=given.get("numberResults", 1),
            uses_credits=operation.name.lower() not in _FREE_TYPES,
        )

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        body = []
        for task in tasks:
            fields = {**task.input, "taskType": task.operation, "taskUUID": task.ref}
            if task.callback_url is not None:
                fields |= {"deliveryMethod": "async", "webhookURL": task.callback_url}
            body.append(fields)
        return send("POST", "", body)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        try:
            return _answers(reply, read_items(read_json(reply.body)), tasks)
        except UnreadableJson:
            return _answers(reply, [], tasks)

    def read_callback(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - it sends none of its own
    ) -> list[Report]:
        reports = read_reports(read_items(read_json(body)))
        if not reports:
            raise UnreadableJson("not a task of Runware")
        return reports

    def lookup(self, job: Job, step: int) -> Call | None:
        return lookup(job, step)

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        return read_lookup(reply, job, step)

    def check(self) -> Call | None:
        """Ask for a task that does not exist: the only free request that returns no private data.

        An error about that task means that the API key was accepted.
        """
        return send("POST", "", [{"taskType": "getResponse", "taskUUID": _UNKNOWN_TASK}])

    def read_check(self, reply: Reply) -> JobError | None:
        if error_code_for(reply.status) is ErrorCode.UNAUTHORIZED:
            return rejection(reply.status, None)
        value = json_or_none(reply.body)
        try:
            items = read_items(value)
        except UnreadableJson:
            items = []
        if failures := [item for item in items if item.is_failure]:
            errors = [error_of(item.fields, ErrorStage.SUBMIT) for item in failures]
            other_errors = [error for error in errors if error.code is not ErrorCode.INVALID_INPUT]
            return other_errors[0] if other_errors else None
        if not is_success(reply.status):
            return rejection(reply.status, message_of(value))
        return None if isinstance(value, dict | list) else unreadable_result().error


def _answers(
    reply: Reply, items: Sequence[Item], tasks: Sequence[ProviderTask]
) -> dict[str, Answer]:
    if len(tasks) == 1:
        items = [item for item in items if item.ref in (None, tasks[0].ref.lower())]
        return {tasks[0].ref: _answer(reply, items, tasks[0])}
    by_ref: dict[str | None, list[Item]] = defaultdict(list)
    for item in items:
        by_ref[item.ref].append(item)
    # An error without a taskUUID counts for every task that has no item of its own, except that a
    # taskUUID is in use: it is not known which.
    failures = [item for item in by_ref[None] if item.is_failure]
    shared = [item for item in failures if not is_duplicate_task(item.fields)]
    return {task.ref: _answer(reply, by_ref[task.ref.lower()] or shared, task) for task in tasks}


def _answer(reply: Reply, items: list[Item], task: ProviderTask) -> Answer:
    """Read the *items* about *task*.

    Results may come with the response although "async" was requested. A result that cannot be read
    counts as an acknowledgement: its callback or the lookup at the deadline tells what it is.
    """
    items = [item.with_task_type(task.operation) for item in items]
    failures = [item for item in items if item.is_failure]
    errors = [item for item in failures if not is_duplicate_task(item.fields)]
    others = [item for item in items if not item.is_failure]
    results = [item for item in others if item.is_result and output_of(item.fields) != Output()]
    has_several = task.input.get("numberResults", 1) > 1
    if results or (others and errors and has_several):
        return tuple(read_reports([*results, *errors]))
    if len(failures) > len(errors):  # our taskUUID is in use: an earlier try of this submit arrived
        return Report(status=Status.SUBMITTED)
    if errors:
        return _refusal(reply, errors[0])
    if acknowledged := [item for item in others if item.ref or is_success(reply.status)]:
        return _acknowledgement(acknowledged[0])
    return _answer_without_items(reply)


def _acknowledgement(item: Item) -> Report:
    report = Report(refs=(item.ref,) if item.ref else (), provider_status=item.status)
    running = item.status is not None and read_report(item).status is Status.RUNNING
    return replace(report, status=Status.RUNNING if running else Status.SUBMITTED)


def _refusal(reply: Reply, item: Item) -> Answer:
    """Classify by the error's code, or by the HTTP status if the code is unknown or too vague."""
    error = error_of(item.fields, ErrorStage.SUBMIT)
    is_vague = error.code in _VAGUE_CODES
    if error.code is ErrorCode.RATE_LIMITED or (is_vague and reply.status in BUSY_STATUSES):
        return retry_later(reply, error.message)
    is_classified = error.code is ErrorCode.MODERATED or classify(error.provider_code) is not None
    if not is_classified and not is_success(reply.status):
        return rejected(reply.status, message_of(item.fields))
    failure = Report(refs=(item.ref,) if item.ref else (), status=Status.FAILED, error=error)
    return account_refused(error) or failure


def _answer_without_items(reply: Reply) -> Answer:
    """Classify by the HTTP status, because the response does not mention the task."""
    message = message_of(json_or_none(reply.body))
    if is_success(reply.status):
        return Inconclusive(message="the answer does not mention the task")
    if reply.status in BUSY_STATUSES:
        return retry_later(reply, message)
    return rejected(reply.status, message)
