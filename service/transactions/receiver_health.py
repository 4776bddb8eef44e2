"""Receivers: what attempts say of them, and what follows for them. No I/O in here."""

from collections.abc import Sequence

from msgspec.structs import replace

from service.domain.deliveries.circuit_breaker import (
    ReceiverHealth,
    health_after,
    should_disable,
    should_warn,
)
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.events import SubscriptionData
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import Snapshot
from service.transactions.unit_of_work import UnitOfWork


def update_health(uow: UnitOfWork, snapshot: Snapshot, updates: Sequence[DeliveryUpdate]) -> None:
    """Work out, one attempt after the other, who is held, warned of, disabled or well again."""
    bench = _HealthTracker(uow, snapshot)
    for update in updates:
        bench.judge(update)


class _HealthTracker:
    """The receivers of one transaction as they stand after each attempt."""

    def __init__(self, uow: UnitOfWork, snapshot: Snapshot) -> None:
        self._moves, self._changes = uow, uow.changes
        self._known, self._health = snapshot.receivers, snapshot.health

    def _receiver(self, subscription_id: str) -> Subscription | None:
        known = self._known.get(subscription_id)
        return self._changes.subscriptions.get(subscription_id, known)

    def judge(self, update: DeliveryUpdate) -> None:
        receiver = self._receiver(update.delivery.subscription_id)
        if receiver is None:
            return
        before = self._changes.health.get(receiver.id, self._health.get(receiver.id))
        health = health_after(before, receiver.id, update.result, probe=update.probe)
        if update.disable:
            self._disable(receiver, update.disable)
        elif health is None:
            self._recovered(receiver, before)
        else:
            health = self._failing(receiver, health)
        now = self._changes.subscriptions.get(receiver.id, receiver)
        if health is not None and not now.enabled:
            health = replace(health, probe_at=None)
        if health != before:
            self._changes.health[receiver.id] = health
        held = health is not None and health.is_open
        if now.enabled and now.held != held:
            self._changes.subscriptions[receiver.id] = replace(now, held=held)

    def _failing(self, receiver: Subscription, health: ReceiverHealth) -> ReceiverHealth:
        at = self._moves.at
        if receiver.enabled and should_disable(health, at):
            self._disable(receiver, f"It failed for five days: {health.last_error}.")
        elif receiver.enabled and should_warn(health, at):
            self._tell("subscription.failing", receiver, health.last_error)
            return replace(health, warned=True)
        return health

    def _recovered(self, receiver: Subscription, health: ReceiverHealth | None) -> None:
        if health is not None and health.warned:
            self._tell("subscription.recovered", receiver, None)

    def _disable(self, receiver: Subscription, reason: str) -> None:
        if not receiver.enabled:
            return
        self._tell("subscription.disabled", receiver, reason)
        self._changes.subscriptions[receiver.id] = replace(
            receiver,
            enabled=False,
            held=False,
            disabled_reason=reason,
            updated_at=self._moves.at,
        )

    def _tell(self, kind: str, receiver: Subscription, reason: str | None) -> None:
        data = SubscriptionData(id=receiver.id, reason=reason)
        self._moves.emit_system_event(kind, receiver.tenant, data)
