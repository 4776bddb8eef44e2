"""Reading Runware's items: results, failures and acknowledgements, in whatever envelope.

The vendor's own documents disagree on the envelope of a webhook (a flat task object, or `data`
and `errors`), so every form that any of them shows is taken, mixtures included.
"""

from collections import Counter
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError, Output
from service.providers.coercion import amount, count, entries, few, fields, ratio, text
from service.providers.runware.errors import error_of, is_complaint, is_taken
from service.providers.runware.outputs import MEDIA, RESULTS, output_of

_KNOWN: Final = RESULTS | {"taskUUID", "taskType", "status", "error"}
_WORKING: Final = {
    "queued": Status.SUBMITTED,
    "pending": Status.SUBMITTED,
    "processing": Status.RUNNING,
    "running": Status.RUNNING,
}
_FAILED: Final = frozenset({"error", "failed"})
_DONE: Final = frozenset({"success", "succeeded", "completed"})
_PASSING: Final = frozenset({"taskType", "taskUUID", "status", "cost", "progress"})
_HUNDRED: Final = 100.0
_NAMES: Final = tuple(stem + end for end in ("UUID", "URL") for stem in MEDIA)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing said of one task; *listed* when it stood among the errors."""

    fields: dict[str, Any]
    listed: bool = False

    @property
    def ref(self) -> str | None:
        uuid = text(self.fields.get("taskUUID"))
        return uuid.strip().lower() if uuid else None

    @property
    def word(self) -> str | None:
        return text(self.fields.get("status"))

    @property
    def has_result(self) -> bool:
        return any(self.fields[key] is not None for key in self.fields.keys() & RESULTS)

    @property
    def is_known(self) -> bool:
        named = any(self.fields[key] is not None for key in self.fields.keys() & _KNOWN)
        return named or self.listed or is_complaint(self.fields)

    @property
    def is_failure(self) -> bool:
        if self.listed or (self.word or "").lower() in _FAILED:
            return True
        return is_complaint(self.fields) and not self.has_result

    @property
    def is_result(self) -> bool:
        word = (self.word or "").lower()
        done = self.has_result or word in _DONE
        return done and not self.is_failure and word not in _WORKING


def read_items(value: Any) -> list[Item]:
    """Take every item out of its envelope; none where *value* is not Runware's.

    Unreadable when there are more than 1,000 in all envelopes together.
    """
    envelopes = [fields(envelope) for envelope in few(value)]
    few(*(envelope.get(key) for envelope in envelopes for key in ("data", "errors", "error")))
    return [item for envelope in envelopes for item in _opened(envelope)]


def read_reports(items: list[Item]) -> list[Report]:
    """Report each item; equal ones without a name of their own are told apart by their order."""
    met: Counter[tuple[bool, str | None, str]] = Counter()
    reports = []
    for item in items:
        report = read_item(item)
        if report.part is not None and report.part.startswith("#"):
            twin = (item.listed, item.ref, report.part)
            report = replace(report, part=f"{report.part}.{met[twin]}")
            met[twin] += 1
        reports.append(report)
    return reports


def read_item(item: Item) -> Report:
    report = Report(
        refs=(item.ref,) if item.ref else (),
        provider_status=item.word,
        cost_usd=amount(item.fields.get("cost")),
    )
    if item.is_failure:
        return report if is_taken(item.fields) else _failed(report, item, error_of(item.fields))
    if item.is_result:
        return _brought(report, item)
    word = (item.word or "processing").lower()
    return replace(
        report,
        status=_WORKING.get(word),
        progress=ratio(item.fields.get("progress"), _HUNDRED),
        cost_usd=None,
    )


def _opened(envelope: dict[str, Any]) -> list[Item]:
    """Split an envelope; what it names its task holds for items that do not name theirs."""
    flat = {key: value for key, value in envelope.items() if key not in ("data", "errors")}
    nameless = [] if "taskUUID" in flat else entries(flat.pop("error", None))
    errors = [*entries(envelope.get("errors")), *nameless]
    inside = [Item(fields=fields(each)) for each in entries(envelope.get("data")) if fields(each)]
    inside += [Item(fields=_worded(each), listed=True) for each in errors if each]
    inside = [item for item in inside if item.is_known]
    own = Item(fields=flat)
    if own.has_result or (not inside and own.is_known):
        inside.append(own)
    named = {key: flat[key] for key in ("taskUUID",) if key in flat}
    return [Item(fields=named | item.fields, listed=item.listed) for item in inside]


def _worded(error: Any) -> dict[str, Any]:
    return error if isinstance(error, dict) else {"message": error}


def _failed(report: Report, item: Item, error: JobError) -> Report:
    return replace(report, status=Status.FAILED, part=_part(item.fields), error=error)


def _brought(report: Report, item: Item) -> Report:
    output = output_of(item.fields)
    if output == Output():
        message = "The task succeeded without a result that could be read."
        error = JobError(code=ErrorCode.NO_OUTPUT, message=message, retryable=True)
        return _failed(report, item, error)
    part = _part(item.fields)
    return replace(report, status=Status.SUCCEEDED, part=part, output=output)


def _part(item: dict[str, Any]) -> str:
    """Name one result of a task: several come under one taskUUID, so that alone loses images.

    The order is that of the vendor's SDK; a result without a name is known by its content.
    """
    index = count(item.get("resultIndex"))
    if index is not None:
        return str(index)
    named = next((value for key in _NAMES if (value := text(item.get(key)))), None)
    return named or "#" + _digest(item)


def _digest(item: dict[str, Any]) -> str:
    said = {key: value for key, value in item.items() if key not in _PASSING}
    canonical = msgspec.json.encode(said, order="deterministic")
    return blake2b(canonical, digest_size=16).hexdigest()
