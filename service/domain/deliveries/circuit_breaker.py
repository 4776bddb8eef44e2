"""The breaker: when a receiver is held, when it is probed, and when it is given up. No I/O."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.retry_policy import Outcome, pause_asked
from service.domain.primitives.timestamps import SECOND

THRESHOLD: Final = 5
"""Failures in a row after which a receiver is held."""
FIRST_PROBE: Final = 30 * SECOND
LONGEST_PROBE: Final = 3600 * SECOND
GIVE_UP: Final = 5 * 86_400 * SECOND
"""After so long of nothing but failure a subscription is disabled; half of it is told before."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
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
        return self.failing_since + GIVE_UP

    @property
    def held(self) -> bool:
        return self.probe_at is not None


def after(
    health: Health | None, subscription_id: str, outcome: Outcome, *, probe: bool
) -> Health | None:
    """Judge a receiver after one attempt; None when it is well.

    It is held once it fails again and again, and at once for as long as it asks to be left alone.
    """
    if outcome.success:
        return None
    at = outcome.at + int(outcome.duration_ms * 1000)
    now = health or Health(
        subscription_id=subscription_id,
        failures=0,
        failing_since=at,
        last_error="",
        last_error_at=at,
    )
    now = replace(now, failures=now.failures + 1, last_error=outcome.words, last_error_at=at)
    if (asked := pause_asked(outcome)) is not None:
        earlier = 0 if probe else now.probe_at or 0
        return replace(now, probe_at=max(at + asked, earlier))
    if now.failures < THRESHOLD or (now.held and not probe):
        return now
    pause = min(FIRST_PROBE * 2 ** min(now.probes, 20), LONGEST_PROBE)
    return replace(now, probes=now.probes + 1, probe_at=at + pause)


def should_warn(health: Health, at: int) -> bool:
    return not health.warned and at >= health.failing_since + GIVE_UP // 2


def should_disable(health: Health, at: int) -> bool:
    return at >= health.disable_at
