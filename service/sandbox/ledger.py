"""What the emulated providers accepted and were asked: in memory, bounded."""

import time
from collections import Counter
from typing import Any, Final

import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.directives import Directives, ForcedError, due_refusal

LIMIT: Final = 10_000

Json = dict[str, Any]


class CallbackTry(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of a callback; *status_code* is None if nothing answered."""

    at: str
    status_code: int | None
    kind: str


class LedgerTask(msgspec.Struct, kw_only=True, eq=False):
    """One accepted task, alive: *state* is what the provider's own status call would show now."""

    provider: str
    id: str
    operation: str
    prompt: str
    at: int
    magic: Directives
    request: Json
    ref: str | None = None
    reply_url: str | None = None
    account: str = ""
    paid: bool = True
    state: tuple[Json, ...] = ()
    ended: bool = False
    callbacks: list[CallbackTry] = []

    def entry(self) -> Json:
        """Show the task as a line of the ledger."""
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
    """The accepted tasks, the newest *limit* of them, and the count of requests and refusals."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.requests: Counter[str] = Counter()
        self._limit = limit
        self._all: dict[tuple[str, str], LedgerTask] = {}
        self._running: dict[tuple[str, str], LedgerTask] = {}
        self._refused: Counter[tuple[str, str]] = Counter()

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
        """Give back the slot that *task* held at its account."""
        self._running.pop((task.provider, task.id), None)

    def running(self, provider: str) -> list[LedgerTask]:
        return [task for (name, _), task in self._running.items() if name == provider]

    def newest(self, provider: str) -> list[LedgerTask]:
        return [task for (name, _), task in reversed(self._all.items()) if name == provider]

    def refuse(self, provider: str, key: str, magic: Directives) -> ForcedError | None:
        """Say whether the submit known by *key* is to be refused now, and count it if so."""
        refusal = due_refusal(magic, self._refused[provider, key]) if magic.refusals else None
        if refusal is not None:
            if len(self._refused) > self._limit:
                self._refused.clear()
            self._refused[provider, key] += 1
        return refusal

    def ledger(self) -> Json:
        return {
            "tasks": [task.entry() for task in self._all.values()],
            "requests": dict(self.requests),
        }


def now() -> int:
    return time.time_ns() // 1_000
