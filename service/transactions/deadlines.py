"""Estimates the deadlines of jobs from the recent durations of each operation. No I/O."""

from collections import defaultdict, deque
from typing import Final

from service.domain.jobs.job import Status
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Operation
from service.transactions.change_set import ChangeSet

MAX_SAMPLES: Final = 200
"""Durations that are kept per operation."""
MIN_SAMPLES: Final = 20
"""Durations that must be known before they decide the deadline."""
DEADLINE_FACTOR: Final = 4
"""An estimated deadline is this multiple of the 95th percentile."""
MIN_DEADLINE_SECONDS: Final = 300


class DeadlineEstimator:
    """Keeps the durations of jobs that succeeded in this process, by provider and operation."""

    def __init__(self) -> None:
        self._durations: defaultdict[tuple[str, str], deque[int]] = defaultdict(
            lambda: deque(maxlen=MAX_SAMPLES)
        )

    def on_commit(self, changes: ChangeSet) -> None:
        for job in changes.jobs.values():
            if job.status is Status.SUCCEEDED and job.submitted_at and job.finished_at:
                durations = self._durations[job.provider, job.operation]
                durations.append(job.finished_at - job.submitted_at)

    def deadline_seconds(self, provider: str, operation: Operation) -> int:
        """Return the operation's default until enough durations are known; at most twice that."""
        durations = sorted(self._durations[provider, operation.name])
        if len(durations) < MIN_SAMPLES:
            return operation.deadline_seconds
        percentile_95 = durations[len(durations) * 95 // 100] // SECOND
        estimate = max(DEADLINE_FACTOR * percentile_95, MIN_DEADLINE_SECONDS)
        return min(estimate, 2 * operation.deadline_seconds)
