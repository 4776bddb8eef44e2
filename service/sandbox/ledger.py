"""The ledger: accepted tasks and request counts of the emulated providers, in bounded memory."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import Directives, ForcedError, next_forced_error

MAX_TASKS: Final = 10_000

Json = dict[str, Any]


class CallbackAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of a callback; *status_code* is None if no response came."""

    at: str
    status_code: int | None
    kind: str


class LedgerTask(msgspec.Struct, kw_only=True, eq=False):
    """One accepted task.

    *state* changes while the task runs: it is what the provider's status request returns now.
    *at* is in microseconds since 1970 (UTC). *account* is the provider's account that the task
    occupies a slot of. *sign* makes the headers with which the vendor signs a callback's body.
    """

    provider: str
    id: str
    operation: str
    prompt: str
    at: int
    directives: Directives
    request: Json
    ref: str | None = None
    reply_url: str | None = None
    sign: Callable[[bytes], dict[str, str]] | None = None
    account: str = ""
    paid: bool = True
    state: tuple[Json, ...] = ()
    ended: bool = False
    callbacks: list[CallbackAttempt] = []

    def entry(self) -> Json:
        """Return the task as `GET /ledger` shows it."""
        return {
            "provider": self.provider,
            "task": self.id,
            "ref": self.ref,
            "operation": self.operation,
            "prompt": self.prompt,
            "at": rfc3339(self.at),
            "paid": self.paid,
            "ended": self.ended,
            "callbacks": self.callbacks,
        }


class TaskLedger:
    """The newest *limit* accepted tasks, and counters of requests and forced errors."""

    def __init__(self, limit: int = MAX_TASKS) -> None:
        self.requests: Counter[str] = Counter()
        self._limit = limit
        self._all: dict[tuple[str, str], LedgerTask] = {}
        self._running: dict[tuple[str, str], LedgerTask] = {}
        self._forced_errors: Counter[tuple[str, str]] = Counter()

    def add(self, task: LedgerTask) -> None:
        self._all[task.provider, task.id] = task
        self._running[task.provider, task.id] = task
        while len(self._all) > self._limit:
            del self._all[next(iter(self._all))]

    def find(self, provider: str, task_id: str) -> LedgerTask | None:
        return self._all.get((provider, task_id))

    def end(self, task: LedgerTask) -> None:
        task.ended = True
        self.release(task)

    def release(self, task: LedgerTask) -> None:
        """Free the slot that *task* occupies in its account."""
        self._running.pop((task.provider, task.id), None)

    def running(self, provider: str) -> list[LedgerTask]:
        return [task for (name, _), task in self._running.items() if name == provider]

    def newest(self, provider: str) -> list[LedgerTask]:
        """List the tasks of *provider*, newest first."""
        return [task for (name, _), task in reversed(self._all.items()) if name == provider]

    def count_forced_error(
        self, provider: str, key: str, directives: Directives
    ) -> ForcedError | None:
        """Return the error that *directives* demand for the submit *key* now, and count it."""
        if not directives.forced_errors:
            return None
        error = next_forced_error(directives, self._forced_errors[provider, key])
        if error is not None:
            if len(self._forced_errors) > self._limit:
                self._forced_errors.clear()
            self._forced_errors[provider, key] += 1
        return error

    def report(self) -> Json:
        """Return the body of `GET /ledger`."""
        return {
            "tasks": [task.entry() for task in self._all.values()],
            "requests": dict(self.requests),
        }


def now() -> int:
    """Return the current time in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000
