"""How long each operation took lately, from which deadlines are learnt. No I/O in here."""

from collections import defaultdict, deque
from typing import Final

from service.domain.jobs.job import Job, Status
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Operation
from service.transactions.change_set import ChangeSet

KEPT: Final = 200
ENOUGH: Final = 20
ROOM: Final = 4
"""A deadline is so many times what nearly all jobs took."""
SHORTEST_SECONDS: Final = 300


class DeadlineEstimator:
    """The last durations of each operation, as this process saw its jobs succeed."""

    def __init__(self) -> None:
        self._took: defaultdict[tuple[str, str], deque[int]] = defaultdict(
            lambda: deque(maxlen=KEPT)
        )

    def on_commit(self, changes: ChangeSet) -> None:
        for job in changes.jobs.values():
            if job.status is Status.SUCCEEDED and job.submitted_at and job.finished_at:
                self._took[_name(job)].append(job.finished_at - job.submitted_at)

    def deadline_seconds(self, provider: str, operation: Operation) -> int:
        """The operation's own, until enough is known to say better; at most twice as long."""
        took = sorted(self._took[provider, operation.name])
        if len(took) < ENOUGH:
            return operation.deadline_seconds
        nearly_all = took[len(took) * 95 // 100] // SECOND
        return min(max(ROOM * nearly_all, SHORTEST_SECONDS), 2 * operation.deadline_seconds)


def _name(job: Job) -> tuple[str, str]:
    return job.provider, job.operation
