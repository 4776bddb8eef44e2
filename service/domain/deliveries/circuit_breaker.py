"""The breaker: when a receiver is held, when it is probed, and when it is given up. No I/O."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.retry_policy import AttemptResult, pause_asked
from service.domain.primitives.timestamps import SECOND

FAILURES_TO_OPEN: Final = 5
"""Failures in a row after which a receiver is held."""
FIRST_PROBE: Final = 30 * SECOND
LONGEST_PROBE: Final = 3600 * SECOND
DISABLE_AFTER: Final = 5 * 86_400 * SECOND
"""After so long of nothing but failure a subscription is disabled; half of it is told before."""


class ReceiverHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a receiver fails: there is none for one that is well.

    *probe_at* is when one delivery is let through again, while it is held.
    """

    subscription_id: str
    failures: int
    failing_since: int
    last_error: str
    last_error_at: int
    probes: int = 0
    probe_at: int | None = None
    warned: bool = False

    @property
    def disable_at(self) -> int:
        return self.failing_since + DISABLE_AFTER

    @property
    def is_open(self) -> bool:
        return self.probe_at is not None


def health_after(
    health: ReceiverHealth | None, subscription_id: str, result: AttemptResult, *, probe: bool
) -> ReceiverHealth | None:
    """Judge a receiver after one attempt; None when it is well.

    It is held once it fails again and again, and at once for as long as it asks to be left alone.
    """
    if result.success:
        return None
    at = result.at + int(result.duration_ms * 1000)
    now = health or ReceiverHealth(
        subscription_id=subscription_id,
        failures=0,
        failing_since=at,
        last_error="",
        last_error_at=at,
    )
    now = replace(now, failures=now.failures + 1, last_error=result.summary, last_error_at=at)
    if (asked := pause_asked(result)) is not None:
        earlier = 0 if probe else now.probe_at or 0
        return replace(now, probe_at=max(at + asked, earlier))
    if now.failures < FAILURES_TO_OPEN or (now.is_open and not probe):
        return now
    pause = min(FIRST_PROBE * 2 ** min(now.probes, 20), LONGEST_PROBE)
    return replace(now, probes=now.probes + 1, probe_at=at + pause)


def should_warn(health: ReceiverHealth, at: int) -> bool:
    return not health.warned and at >= health.failing_since + DISABLE_AFTER // 2


def should_disable(health: ReceiverHealth, at: int) -> bool:
    return at >= health.disable_at
