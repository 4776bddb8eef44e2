"""Lookups at useapi.net: the linked accounts; a task by its id, else in the lists of tasks."""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.providers.kit.coercion import as_bounded_list, as_dict, count, json_or_none, text
from service.providers.kit.http_status import is_success, message_of
from service.providers.kit.request_builder import get, segment
from service.providers.protocol import (
    Call,
    Inconclusive,
    LinkedAccounts,
    LookupResult,
    Reply,
    TaskNotFound,
)
from service.providers.useapi.tasks import has_task_id, read_task, refusal_status

DEFAULT_MAX_JOBS: Final = 10
_MAX_ACCOUNTS: Final = 100
_EMAIL: Final = re.compile(r"[^\s@:]{1,100}@[^\s@:]{1,200}")
_NOT_FOUND: Final = 404
_NOT_FOUND_STATUSES: Final = frozenset({404, 410})
_FIRST_PAGE: Final = {"offset": 0, "limit": 100}
_UUID_PREFIX: Final = "-task:"
"""Stands before the UUID in a full task id, as in `user:1234-runwayml:a@b.c-task:UUID`."""

_Reader = Callable[[Any, Job], Report | None]
"""Reads the decoded body of a lookup; None if the task is not in it."""


def lookup(job: Job, step: int) -> Call | None:
    steps = _steps(job)
    return steps[step][0] if step < len(steps) else None


def read_lookup(reply: Reply, job: Job, step: int) -> LookupResult:
    value, steps = json_or_none(reply.body), _steps(job)
    status = status_of(reply, as_dict(value))
    error_message = message_of(value) if as_dict(value).get("error") else None
    is_by_full_id = step == 0 and _is_full_id(job.provider_task_id)
    if error_message and status in _NOT_FOUND_STATUSES and is_by_full_id:
        return TaskNotFound(message=error_message)
    if not is_success(status):
        return Inconclusive(message=f"the lookup was answered with HTTP status {status}")
    report = steps[step][1](value, job) if step < len(steps) else None
    if report is None:
        return Inconclusive(message="the answer to the lookup does not mention the task")
    return [report]


def status_of(reply: Reply, body: dict[str, Any]) -> int:
    """Return the HTTP status, or the body's `code` if the status is 2xx and there is no task."""
    status = refusal_status(body)
    if status is not None and is_success(reply.status) and not has_task_id(body):
        return status
    return reply.status


def find_running(tasks: Any, ref: str, task_id: str | None = None) -> Report | None:
    """Find a task among the running ones of an account: if it is there, it was accepted."""
    task = _find(tasks, ref, task_id)
    if task is None:
        return None
    return Report(refs=(ref,), task_id=read_task(task).task_id, status=Status.SUBMITTED)


def _steps(job: Job) -> list[tuple[Call, _Reader]]:
    """List the lookups for *job*.

    A full task id is enough. A bare UUID may be none that the API finds, so the lists are read too.
    """
    task_id = job.provider_task_id
    steps: list[tuple[Call, _Reader]] = []
    if task_id:
        steps.append((get(f"/tasks/{segment(task_id)}", {}), _read_single_task))
    if _is_full_id(task_id):
        return steps
    email = job.account.partition(":")[2]
    page = _FIRST_PAGE | ({"email": email} if email else {})
    steps.append((get("/scheduler/", {}), _read_running_tasks))
    steps.append((get("/tasks/", page), _read_all_tasks))
    return steps


def _is_full_id(task_id: str | None) -> bool:
    return task_id is not None and _UUID_PREFIX in task_id


def _read_single_task(value: Any, job: Job) -> Report | None:
    report = read_task(as_dict(value))
    is_task = report.task_id is not None or bool(report.refs)
    if not is_task or not set(report.refs) <= {job.ref}:
        return None
    return replace(report, refs=(job.ref,))


def _read_running_tasks(value: Any, job: Job) -> Report | None:
    return find_running(value, job.ref, job.provider_task_id)


def _read_all_tasks(value: Any, job: Job) -> Report | None:
    """Find the task in the list.

    The vendor's samples of this list have no replyRef, so a task that is not found may exist.
    """
    task = _find(value, job.ref, job.provider_task_id)
    return None if task is None else replace(read_task(task), refs=(job.ref,))


def _find(value: Any, ref: str, task_id: str | None) -> dict[str, Any] | None:
    """Search a list of tasks, or an object that has such a list for each account."""
    lists = value.values() if isinstance(value, dict) else [value]
    tasks = map(as_dict, as_bounded_list(*lists))
    return next((task for task in tasks if _matches(task, ref, task_id)), None)


def _matches(task: dict[str, Any], ref: str, task_id: str | None) -> bool:
    """Compare the replyRef; without one, the id, or our callback URL, which contains the ref."""
    report = read_task(task)
    if report.refs:
        return set(report.refs) == {ref}
    if report.task_id is not None and report.task_id.rpartition(_UUID_PREFIX)[2] == task_id:
        return True
    return ref in (text(task.get("replyUrl")) or "")


def read_accounts(reply: Reply) -> dict[str, int] | None:
    """Read how many tasks each linked account may run at once, by e-mail address in lower case.

    The answer is `{email: {email, maxJobs, …}}`
    (useapi.net/docs/api-runwayml-v1/get-runwayml-accounts), or 404 if there is no account. None if
    it cannot be read.
    """
    body = json_or_none(reply.body)
    status = status_of(reply, as_dict(body))
    if status == _NOT_FOUND and as_dict(body).get("error"):
        return {}
    if not is_success(status) or not isinstance(body, dict):
        return None
    accounts = {}
    for key, value in islice(body.items(), _MAX_ACCOUNTS):
        fields = as_dict(value)
        email = (text(fields.get("email")) or str(key)).lower()
        if fields and _EMAIL.fullmatch(email):
            accounts[email] = count(fields.get("maxJobs")) or DEFAULT_MAX_JOBS
    return accounts if accounts or not body else None


LINKED_ACCOUNTS: Final = LinkedAccounts(call=get("/accounts", {}), read=read_accounts)
