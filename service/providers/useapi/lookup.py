"""What useapi.net says of a task when asked: by its id, else among those that run or ran."""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.providers.coercion import few, fields, json_or_none, text
from service.providers.http_status import is_success, message_of
from service.providers.protocol import Call, Inconclusive, LookupResult, Reply, TaskNotFound
from service.providers.request_builder import get, segment
from service.providers.useapi.tasks import names_task, read_task, refusal_code

_GONE: Final = frozenset({404, 410})
_PAGE: Final = {"offset": 0, "limit": 100}
_TASK: Final = "-task:"

_Read = tuple[Call, Callable[[Any, Job], Report | None]]


def lookup(job: Job, step: int) -> Call | None:
    reads = _reads(job)
    return reads[step][0] if step < len(reads) else None


def read_lookup(reply: Reply, job: Job, step: int) -> LookupResult:
    value, reads = json_or_none(reply.body), _reads(job)
    status = status_of(reply, fields(value))
    said = message_of(value) if fields(value).get("error") else None
    if said and status in _GONE and step == 0 and _is_whole(job.provider_task_id):
        return TaskNotFound(message=said)
    if not is_success(status):
        return Inconclusive(message=f"the read was answered with HTTP status {status}")
    report = reads[step][1](value, job) if step < len(reads) else None
    return (
        [report]
        if report
        else Inconclusive(message="the answer to the read does not name the task")
    )


def status_of(reply: Reply, body: dict[str, Any]) -> int:
    """Trust the body's `code` over a 200 that carries no task."""
    told = refusal_code(body)
    return told if told and is_success(reply.status) and not names_task(body) else reply.status


def find_running(told: Any, ref: str, task_id: str | None = None) -> Report | None:
    """Find a task among those an account is busy with: then it was accepted."""
    found = _find(told, ref, task_id)
    if found is None:
        return None
    return Report(refs=(ref,), task_id=read_task(found).task_id, status=Status.SUBMITTED)


def _reads(job: Job) -> list[_Read]:
    """A whole id is all it takes; a bare uuid may be none that the API can be asked for."""
    task_id = job.provider_task_id
    shown: list[_Read] = [(get(f"/tasks/{segment(task_id)}", {}), _shown)] if task_id else []
    if _is_whole(task_id):
        return shown
    email = job.account.partition(":")[2]
    page = _PAGE | ({"email": email} if email else {})
    return [*shown, (get("/scheduler/", {}), _scheduled), (get("/tasks/", page), _listed)]


def _is_whole(task_id: str | None) -> bool:
    return task_id is not None and _TASK in task_id


def _shown(value: Any, job: Job) -> Report | None:
    report = read_task(fields(value))
    is_task = report.task_id is not None or bool(report.refs)
    return _ours(report, job) if is_task and set(report.refs) <= {job.ref} else None


def _scheduled(value: Any, job: Job) -> Report | None:
    return find_running(value, job.ref, job.provider_task_id)


def _listed(value: Any, job: Job) -> Report | None:
    """Read the task in the list; by its samples it shows no replyRef, so absence proves nothing."""
    found = _find(value, job.ref, job.provider_task_id)
    return None if found is None else _ours(read_task(found), job)


def _ours(report: Report, job: Job) -> Report:
    return replace(report, refs=(job.ref,))


def _find(told: Any, ref: str, task_id: str | None) -> dict[str, Any] | None:
    """Search a list, or the lists of several accounts by name."""
    lists = told.values() if isinstance(told, dict) else [told]
    tasks = map(fields, few(*lists))
    return next((task for task in tasks if _is_ours(task, ref, task_id)), None)


def _is_ours(task: dict[str, Any], ref: str, task_id: str | None) -> bool:
    """Tell by the reference; where none is shown by our callback URL, which holds it, or the id."""
    report = read_task(task)
    if report.refs:
        return set(report.refs) == {ref}
    named = report.task_id is not None and report.task_id.rpartition(_TASK)[2] == task_id
    return named or ref in (text(task.get("replyUrl")) or "")
