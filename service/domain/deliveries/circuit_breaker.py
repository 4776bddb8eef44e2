"""The circuit breaker of a receiver: when it is held, probed, reported and disabled."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.retry_policy import AttemptResult, pause_asked
from service.domain.primitives.timestamps import SECOND

FAILURES_TO_HOLD: Final = 5
"""Failures in a row after which a receiver is held."""
FIRST_PROBE: Final = 30 * SECOND
"""The pause before the first probe; it doubles up to `LONGEST_PROBE`."""
LONGEST_PROBE: Final = 3600 * SECOND
DISABLE_AFTER: Final = 5 * 86_400 * SECOND
"""Time without a success after which a subscription is disabled; after half of it, it is warned."""


class ReceiverHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a receiver fails; a receiver that works has none.

    While it is held, *probe_at* is when one delivery is sent as a probe.
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
    def is_held(self) -> bool:
        return self.probe_at is not None


def health_after(
    health: ReceiverHealth | None, subscription_id: str, result: AttemptResult, *, probe: bool
) -> ReceiverHealth | None:
    """The health after one attempt; None if it succeeded.

    A receiver is held after `FAILURES_TO_HOLD` failures in a row, and at once for as long as it
    asks by Retry-After.
    """
    if result.success:
        return None
    at = result.ended_at
    now = health or ReceiverHealth(
        subscription_id=subscription_id,
        failures=0,
        failing_since=at,
        last_error="",
        last_error_at=at,
    )
    now = replace(now, failures=now.failures + 1, last_error=result.summary, last_error_at=at)
    if (pause := pause_asked(result)) is not None:
        earlier = 0 if probe else now.probe_at or 0
        return replace(now, probe_at=max(at + pause, earlier))
    if now.failures < FAILURES_TO_HOLD or (now.is_held and not probe):
        return now
    pause = min(FIRST_PROBE * 2 ** min(now.probes, 20), LONGEST_PROBE)
    return replace(now, probes=now.probes + 1, probe_at=at + pause)


def should_warn(health: ReceiverHealth, at: int) -> bool:
    return not health.warned and at >= health.failing_since + DISABLE_AFTER // 2


def should_disable(health: ReceiverHealth, at: int) -> bool:
    return at >= health.disable_at
