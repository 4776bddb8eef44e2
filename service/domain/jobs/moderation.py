"""Watches the share of an account's jobs that its provider refused because of their content.

useapi.net (POST frames/create): "Runway monitors the rate and the number of moderated tasks, which
may result in your account being suspended when the internal threshold is exceeded."
"""

from typing import Final

import msgspec

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorCode

WINDOW: Final = 100
"""The latest ended jobs of an account that count."""
MIN_ENDED: Final = 20
"""Ended jobs without which there is no warning."""


class ModerationHistory(msgspec.Struct, frozen=True):
    """The latest ended jobs of an account, the newest first: True for each moderated one.

    *warned*: the last warning counts until the share has been below half the limit.
    """

    ended: tuple[bool, ...] = ()
    warned: bool = False

    @property
    def share(self) -> float:
        return sum(self.ended) / len(self.ended) if self.ended else 0.0


def is_moderated(job: Job) -> bool:
    """Whether *job* failed because of its content."""
    code = None if job.error is None else job.error.code
    return job.status is Status.FAILED and code is ErrorCode.MODERATED


def add_end(
    history: ModerationHistory, *, moderated: bool, limit: float
) -> tuple[ModerationHistory, float | None]:
    """Add the end of one job; returns also the share to warn about, if this job passed *limit*.

    A moderated job is the only one that raises the share. It is therefore lowest just before the
    end of one, so looking at these moments alone finds out whether it has been below half.
    """
    warned = history.warned and history.share >= limit / 2
    after = ModerationHistory((moderated, *history.ended)[:WINDOW], warned)
    passed = moderated and after.share > limit and len(after.ended) >= MIN_ENDED
    if warned or not passed:
        return after, None
    return ModerationHistory(after.ended, warned=True), round(after.share, 4)
