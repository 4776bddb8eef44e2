"""Applies the results of attempts to the health of receivers, and emits the system events."""

from collections.abc import Sequence

from msgspec.structs import replace

from service.domain.deliveries.circuit_breaker import (
    health_after,
    should_disable,
    should_warn,
)
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.events import SubscriptionData
from service.domain.subscriptions.subscription import Subscription
from service.transactions.unit_of_work import UnitOfWork


def update_health(uow: UnitOfWork, updates: Sequence[DeliveryUpdate]) -> None:
    """Apply attempts to the health of their receivers, in order.

    A receiver is held (circuit breaker), reported as failing, disabled, or working again.
    """
    for update in updates:
        subscription_id = update.delivery.subscription_id
        receiver = uow.changes.subscriptions.get(
            subscription_id, uow.snapshot.receivers.get(subscription_id)
        )
        if receiver is not None:
            _apply(uow, receiver, update)


def _apply(uow: UnitOfWork, receiver: Subscription, update: DeliveryUpdate) -> None:
    changes = uow.changes
    before = changes.health.get(receiver.id, uow.snapshot.health.get(receiver.id))
    health = health_after(before, receiver.id, update.result, probe=update.probe)
    if update.disable:
        _disable(uow, receiver, update.disable)
    elif health is None:
        if before is not None and before.warned:
            _emit(uow, "subscription.recovered", receiver, None)
    elif receiver.enabled and should_disable(health, uow.at):
        _disable(uow, receiver, f"It failed for five days: {health.last_error}.")
    elif receiver.enabled and should_warn(health, uow.at):
        _emit(uow, "subscription.failing", receiver, health.last_error)
        health = replace(health, warned=True)

    now = changes.subscriptions.get(receiver.id, receiver)
    if health is not None and not now.enabled:
        health = replace(health, probe_at=None)
    if health != before:
        changes.health[receiver.id] = health
    is_held = health is not None and health.is_held
    if now.enabled and now.held != is_held:
        changes.subscriptions[receiver.id] = replace(now, held=is_held)


def _disable(uow: UnitOfWork, receiver: Subscription, reason: str) -> None:
    if receiver.enabled:
        _emit(uow, "subscription.disabled", receiver, reason)
        uow.changes.subscriptions[receiver.id] = replace(
            receiver, enabled=False, held=False, disabled_reason=reason, updated_at=uow.at
        )


def _emit(uow: UnitOfWork, kind: str, receiver: Subscription, reason: str | None) -> None:
    data = SubscriptionData(id=receiver.id, reason=reason)
    uow.emit_system_event(kind, receiver.tenant, data)
