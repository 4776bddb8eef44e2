"""What Runware says of a task when asked: its results so far, else what it keeps of the task."""

import re
from collections import Counter
from typing import Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, Output
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers.coercion import entries
from service.providers.http_status import is_success, message_of
from service.providers.protocol import Call, Inconclusive, LookupResult, Reply, TaskNotFound
from service.providers.request_builder import send
from service.providers.runware.errors import classify, code_of, is_taken
from service.providers.runware.items import Item, read_items, read_reports

_READS: Final = ("getResponse", "getTaskDetails")
_SPEAKING: Final = frozenset({400, 404})
"""Errors that may still tell of the task: what failed is answered as a failed request."""

# A task may also have failed for a model or an image that was not found: it is known, then.
_NOT_FOUND: Final = re.compile(
    "^(task|uuid|response|result|details){0,5}(notfound|expired)$", re.IGNORECASE
)
_OF_READS: Final = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNAUTHORIZED})
_PARAMETERS: Final = ("taskType", "taskUUID", "apiKey")


def lookup(job: Job, step: int) -> Call | None:
    if step >= len(_READS):
        return None
    return send("POST", "", [{"taskType": _READS[step], "taskUUID": job.ref}])


def read_lookup(reply: Reply, job: Job, step: int) -> LookupResult:
    if not is_success(reply.status) and reply.status not in _SPEAKING:
        return Inconclusive(message=f"the read was answered with HTTP status {reply.status}")
    try:
        said = read_items(read_json(reply.body))
        items = [item for item in said if item.ref in (None, job.ref.lower())]
        reports = _kept(items, job) if step else _told(items, job)
    except UnreadableJson as exc:
        return Inconclusive(message=f"the answer to the read cannot be read: {exc}")
    if reports:
        return reports
    # getResponse knows active tasks only, so that its word is not the last.
    gone = next((item for item in items if step and _is_not_found(item)), None)
    if gone is not None:
        return TaskNotFound(
            message=message_of(gone.fields) or "The provider does not know the task."
        )
    return Inconclusive(message="the answer to the read says nothing of the task")


def _told(items: list[Item], job: Job) -> list[Report]:
    return _reports([item for item in items if not _is_about_read(item)], job)


def _kept(items: list[Item], job: Job) -> list[Report]:
    """Open what is kept: the whole request, maybe of other tasks too, and the response to it."""
    reports: list[Report] = []
    for kept in (item.fields for item in items if item.fields.keys() & {"request", "response"}):
        alone = len(entries(kept.get("request"))) <= 1
        inside = [
            item
            for item in read_items(kept.get("response"))
            if item.ref == job.ref.lower() or (alone and item.ref is None)
        ]
        reports += _reports(inside, job) or [_taken(job)]
    return reports


def _taken(job: Job) -> Report:
    return Report(refs=(job.ref,), status=Status.SUBMITTED)


def _is_about_read(item: Item) -> bool:
    """Tell a read that was refused from a task that failed: both are errors of one form."""
    said = item.fields
    if not item.is_failure:
        return said.get("taskType") in _READS and not (item.word or item.has_result)
    if item.ref is None or said.get("taskType") in _READS or _is_not_found(item):
        return True
    known = classify(code_of(said))
    refused = known is not None and known[0] in _OF_READS and item.word is None
    return refused or (said.get("parameter") in _PARAMETERS and not is_taken(said))


def _is_not_found(item: Item) -> bool:
    return item.is_failure and _NOT_FOUND.search(code_of(item.fields) or "") is not None


def _reports(items: list[Item], job: Job) -> list[Report]:
    """Report each item under the name by which *job* has it already, if it has."""
    named = read_reports(items)
    plain = read_reports([_without_index(item) for item in items])
    pairs = zip(named, plain, strict=True)
    known = [second if second.part in job.received_parts else first for first, second in pairs]
    told = [_report(item, report, job) for item, report in zip(items, known, strict=True)]
    return _failed_whole(told, job) or _news(told, job)


def _without_index(item: Item) -> Item:
    """Some forms of a result show its index where others do not."""
    rest = {key: value for key, value in item.fields.items() if key != "resultIndex"}
    return Item(fields=rest, listed=item.listed)


def _report(item: Item, report: Report, job: Job) -> Report:
    """A mere name says that the task was taken, and so does the complaint that it is known."""
    says_more = item.word or item.has_result or item.is_failure
    if not says_more or is_taken(item.fields):
        return _taken(job)
    return replace(report, refs=(job.ref,))


def _failed_whole(reports: list[Report], job: Job) -> list[Report]:
    """End a task that failed as a whole: it says so once, however many results were wanted.

    Each result has its state in a read, so that nothing else is under way where none is shown.
    """
    brought = job.output is not None and len(job.received_parts) > len(job.output.errors)
    all_failed = all(report.status is Status.FAILED for report in reports)
    if brought or not all_failed or not 0 < len(reports) < job.expected_parts:
        return []
    return [replace(reports[0], part=None)]


def _news(reports: list[Report], job: Job) -> list[Report]:
    """Say nothing again of what *job* has under another name: a file, or an error worded alike."""
    held = job.output or Output()
    files = {name for file in held.artifacts for name in (file.id, file.url) if name}
    errors = Counter(held.errors)
    errors.subtract(
        report.error for report in reports if report.error and report.part in job.received_parts
    )

    def is_held(report: Report) -> bool:
        if report.part is None or report.part in job.received_parts:
            return False
        if report.error is not None:
            errors[report.error] -= 1
            return errors[report.error] >= 0
        output = report.output or Output()
        return any({file.id, file.url} & files for file in output.artifacts)

    return [Report(refs=(job.ref,)) if is_held(report) else report for report in reports]
