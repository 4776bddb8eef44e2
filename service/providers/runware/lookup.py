"""Lookups at Runware: first the results so far (getResponse), then the stored details."""

import re
from collections import Counter
from typing import Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, Output
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.kit.coercion import as_list
from service.providers.kit.http_status import is_success, message_of
from service.providers.kit.request_builder import send
from service.providers.protocol import Call, Inconclusive, LookupResult, Reply, TaskNotFound
from service.providers.runware.errors import classify, code_of, is_duplicate_task
from service.providers.runware.items import Item, read_items, read_reports

_LOOKUP_TYPES: Final = ("getResponse", "getTaskDetails")
_ERROR_STATUSES_WITH_TASK: Final = frozenset({400, 404})
"""A lookup of a failed task may be answered with these, so their bodies are read too."""

# Only these: a task that failed with "modelNotFound" is known to the provider.
_NOT_FOUND: Final = re.compile(
    "^(task|uuid|response|result|details){0,5}(notfound|expired)$", re.IGNORECASE
)
_LOOKUP_ERRORS: Final = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNAUTHORIZED})
_LOOKUP_PARAMETERS: Final = ("taskType", "taskUUID", "apiKey")


def lookup(job: Job, step: int) -> Call | None:
    if step >= len(_LOOKUP_TYPES):
        return None
    return send("POST", "", [{"taskType": _LOOKUP_TYPES[step], "taskUUID": job.ref}])


def read_lookup(reply: Reply, job: Job, step: int) -> LookupResult:
    if not is_success(reply.status) and reply.status not in _ERROR_STATUSES_WITH_TASK:
        return Inconclusive(message=f"the lookup was answered with HTTP status {reply.status}")
    try:
        items = read_items(read_json(reply.body))
        items = [item for item in items if item.ref in (None, job.ref.lower())]
        if step == 0:
            about_task = [item for item in items if not _is_about_lookup(item)]
            reports = _reports(about_task, job)
        else:
            reports = _reports_from_details(items, job)
    except UnreadableJson as exc:
        return Inconclusive(message=f"the answer to the lookup cannot be read: {exc}")
    if reports:
        return reports
    # getResponse knows active tasks only, so "not found" is final only in getTaskDetails.
    not_found = next((item for item in items if step and _is_not_found(item)), None)
    if not_found is not None:
        message = message_of(not_found.fields) or "The provider does not know the task."
        return TaskNotFound(message=message)
    return Inconclusive(message="the answer to the lookup does not mention the task")


def _reports_from_details(items: list[Item], job: Job) -> list[Report]:
    """Read the stored request, which may be about other tasks too, and the response to it."""
    reports: list[Report] = []
    for item in items:
        if not item.fields.keys() & {"request", "response"}:
            continue
        is_only_task = len(as_list(item.fields.get("request"))) <= 1
        results = [
            result
            for result in read_items(item.fields.get("response"))
            if result.ref == job.ref.lower() or (is_only_task and result.ref is None)
        ]
        reports += _reports(results, job) or [_accepted(job)]
    return reports


def _accepted(job: Job) -> Report:
    return Report(refs=(job.ref,), status=Status.SUBMITTED)


def _is_about_lookup(item: Item) -> bool:
    """Tell an error of the lookup itself from one of the task: both have the same form."""
    fields = item.fields
    if not item.is_failure:
        return fields.get("taskType") in _LOOKUP_TYPES and not (item.status or item.has_result)
    if item.ref is None or fields.get("taskType") in _LOOKUP_TYPES or _is_not_found(item):
        return True
    error_class = classify(code_of(fields))
    if error_class is not None and error_class[0] in _LOOKUP_ERRORS and item.status is None:
        return True
    return fields.get("parameter") in _LOOKUP_PARAMETERS and not is_duplicate_task(fields)


def _is_not_found(item: Item) -> bool:
    return item.is_failure and _NOT_FOUND.search(code_of(item.fields) or "") is not None


def _reports(items: list[Item], job: Job) -> list[Report]:
    """Report each item with the part key under which *job* already has it, if it has.

    Some forms of a result have an index and others do not, so both keys are tried.
    """
    items = [item.with_task_type(job.operation) for item in items]
    without_index = [
        Item(
            fields={key: value for key, value in item.fields.items() if key != "resultIndex"},
            in_errors=item.in_errors,
        )
        for item in items
    ]
    reports = []
    for item, report, other in zip(
        items, read_reports(items), read_reports(without_index), strict=True
    ):
        # A bare taskUUID, or the error that it is in use, means that the task was accepted.
        has_content = item.status or item.has_result or item.is_failure
        if not has_content or is_duplicate_task(item.fields):
            reports.append(_accepted(job))
        else:
            known = other if other.part in job.received_parts else report
            reports.append(replace(known, refs=(job.ref,)))
    return _failure_of_task(reports, job) or _without_known_results(reports, job)


def _failure_of_task(reports: list[Report], job: Job) -> list[Report]:
    """End the job if the whole task failed: that is one error, however many results are expected.

    A lookup returns the state of every result, so a result that is missing is not in progress.
    """
    has_results = job.output is not None and len(job.received_parts) > len(job.output.errors)
    all_failed = all(report.status is Status.FAILED for report in reports)
    if has_results or not all_failed or not 0 < len(reports) < job.expected_parts:
        return []
    return [replace(reports[0], part=None)]


def _without_known_results(reports: list[Report], job: Job) -> list[Report]:
    """Empty the reports of results that *job* already has under another part key.

    These are files with the same id or URL, and equal errors.
    """
    output = job.output or Output()
    files = {name for file in output.artifacts for name in (file.id, file.url) if name}
    errors = Counter(output.errors)
    errors.subtract(
        report.error for report in reports if report.error and report.part in job.received_parts
    )
    new_reports = []
    for report in reports:
        if report.part is None or report.part in job.received_parts:
            is_known = False
        elif report.error is not None:
            errors[report.error] -= 1
            is_known = errors[report.error] >= 0
        else:
            artifacts = report.output.artifacts if report.output else ()
            is_known = any({file.id, file.url} & files for file in artifacts)
        new_reports.append(Report(refs=(job.ref,)) if is_known else report)
    return new_reports
