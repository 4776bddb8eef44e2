"""Reads Runware's items: results, errors and acknowledgements, in every envelope.

The vendor's documents disagree on the envelope of a webhook (a flat task object, or `data` and
`errors`), so every form that one of them shows is accepted, and mixtures of them too.
"""

import re
from collections import Counter
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.providers.kit.coercion import (
    amount,
    as_bounded_list,
    as_dict,
    as_list,
    count,
    ratio,
    text,
)
from service.providers.runware.errors import error_of, is_duplicate_task, is_error
from service.providers.runware.outputs import (
    MEDIA,
    RESULT_KEYS,
    SUCCEEDED_STATUSES,
    has_result,
    output_of,
)

_KNOWN_KEYS: Final = RESULT_KEYS | {"taskUUID", "taskType", "status", "error"}
_RUNNING_STATUSES: Final = {
    "queued": Status.SUBMITTED,
    "pending": Status.SUBMITTED,
    "processing": Status.RUNNING,
    "running": Status.RUNNING,
    # The steps of a model upload before `ready`.
    "validated": Status.RUNNING,
    "downloaded": Status.RUNNING,
    "optimized": Status.RUNNING,
}
_FAILED_STATUS: Final = re.compile("error|fail", re.IGNORECASE)
_VOLATILE_KEYS: Final = frozenset({"taskType", "taskUUID", "status", "cost", "progress"})
"""These may change between two messages about the same result."""
_PERCENT: Final = 100.0
_PART_KEYS: Final = (*(f"{medium}UUID" for medium in MEDIA), *(f"{medium}URL" for medium in MEDIA))


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One message about one task; *in_errors*: it was in the envelope's list of errors."""

    fields: dict[str, Any]
    in_errors: bool = False

    @property
    def ref(self) -> str | None:
        uuid = text(self.fields.get("taskUUID"))
        return uuid.strip().lower() if uuid else None

    @property
    def status(self) -> str | None:
        return text(self.fields.get("status"))

    @property
    def has_result(self) -> bool:
        return has_result(self.fields)

    @property
    def is_recognized(self) -> bool:
        has_key = any(self.fields[key] is not None for key in self.fields.keys() & _KNOWN_KEYS)
        return has_key or self.in_errors or is_error(self.fields)

    @property
    def is_failure(self) -> bool:
        if self.in_errors or _FAILED_STATUS.search(self.status or ""):
            return True
        return is_error(self.fields) and not self.has_result

    @property
    def is_result(self) -> bool:
        status = (self.status or "").lower()
        done = self.has_result or status in SUCCEEDED_STATUSES
        return done and not self.is_failure and status not in _RUNNING_STATUSES

    def with_task_type(self, task_type: str) -> "Item":
        """Add *task_type* to an item without one."""
        return replace(self, fields={"taskType": task_type} | self.fields)


def read_items(value: Any) -> list[Item]:
    """Take all items out of their envelopes; none if *value* is not in Runware's format.

    Raises UnreadableJson if there are more than 1,000 items in all envelopes together.
    """
    envelopes = [as_dict(envelope) for envelope in as_bounded_list(value)]
    keys = ("data", "errors", "error")
    as_bounded_list(*(envelope.get(key) for envelope in envelopes for key in keys))
    return [item for envelope in envelopes for item in _items_of(envelope)]


def read_reports(items: list[Item]) -> list[Report]:
    """Report each item; parts with equal keys from content are numbered to keep them apart.

    The status of one of several items is not that of the task, unless the task is in progress.
    """
    seen: Counter[tuple[bool, str | None, str]] = Counter()
    counts = Counter(item.ref for item in items)
    reports = []
    for item in items:
        report = read_report(item)
        if report.part is not None and counts[item.ref] > 1:
            report = replace(report, provider_status=None)
        if report.part is not None and report.part.startswith("#"):
            key = (item.in_errors, item.ref, report.part)
            report = replace(report, part=f"{report.part}.{seen[key]}")
            seen[key] += 1
        reports.append(report)
    return reports


def read_report(item: Item) -> Report:
    report = Report(
        refs=(item.ref,) if item.ref else (),
        provider_status=item.status,
        cost_usd=amount(item.fields.get("cost")),
    )
    if item.is_failure:
        if is_duplicate_task(item.fields):
            return report
        return _with_error(report, item, error_of(item.fields))
    if item.is_result:
        return _with_result(report, item)
    status = (item.status or "processing").lower()
    return replace(
        report,
        status=_RUNNING_STATUSES.get(status),
        progress=ratio(item.fields.get("progress"), _PERCENT),
        cost_usd=None,
    )


def _items_of(envelope: dict[str, Any]) -> list[Item]:
    """Split an envelope; items without a taskUUID get that of the envelope."""
    flat = {key: value for key, value in envelope.items() if key not in ("data", "errors")}
    errors = as_list(envelope.get("errors"))
    if "taskUUID" not in flat:
        errors = [*errors, *as_list(flat.pop("error", None))]
    data = [as_dict(value) for value in as_list(envelope.get("data"))]
    items = [Item(fields=fields) for fields in data if fields]
    for error in errors:
        if error:
            fields = error if isinstance(error, dict) else {"message": error}
            items.append(Item(fields=fields, in_errors=True))
    items = [item for item in items if item.is_recognized]
    # An envelope may be a task itself.
    own = Item(fields=flat)
    if own.has_result or (not items and own.is_recognized):
        items.append(own)
    if "taskUUID" not in flat:
        return items
    default = {"taskUUID": flat["taskUUID"]}
    return [Item(fields=default | item.fields, in_errors=item.in_errors) for item in items]


def _with_error(report: Report, item: Item, error: JobError) -> Report:
    return replace(report, status=Status.FAILED, part=_part(item.fields), error=error)


def _with_result(report: Report, item: Item) -> Report:
    output = output_of(item.fields)
    if output == Output():
        message = "The task succeeded, but its result could not be read."
        error = JobError(code=ErrorCode.NO_OUTPUT, message=message, retryable=True)
        return _with_error(report, item, error)
    part = _part(item.fields)
    return replace(report, status=Status.SUCCEEDED, part=part, output=output)


def _part(item: dict[str, Any]) -> str:
    """Return the key of one result; the taskUUID is not enough, because several results share it.

    The order is that of the vendor's SDK: the index, a file's UUID, a file's URL. A result without
    any of these gets "#" and a hash of its content.
    """
    index = count(item.get("resultIndex"))
    if index is not None:
        return str(index)
    for key in _PART_KEYS:
        if value := text(item.get(key)):
            return value
    content = {key: value for key, value in item.items() if key not in _VOLATILE_KEYS}
    canonical = msgspec.json.encode(content, order="deterministic")
    return "#" + blake2b(canonical, digest_size=16).hexdigest()
