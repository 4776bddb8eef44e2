"""Endpoints for actions on a subscription: pause, resume, rotate the secret, test, recover."""

from handlers.api.subscriptions import with_health
from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.schemas.deliveries import AttemptView, render_attempt
from handlers.schemas.recoveries import RecoveryView, render_recovery
from handlers.schemas.subscriptions import RecoveryCreate, RotatedSecret, SubscriptionView
from service.domain.deliveries.delivery import DeliveryTask, new_delivery
from service.domain.deliveries.recovery import ALL_SCOPES, Recovery
from service.domain.events import WebhookTestData, system_event
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.timestamps import parse_rfc3339, rfc3339
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.subscription import event_type_errors
from service.domain.subscriptions.transitions import rotated, with_paused


async def pause(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Pause a subscription: its deliveries stay pending until it is resumed."""
    return await _set_paused(request, paused=True)


async def resume(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Resume a subscription: its pending deliveries are sent first, in order."""
    return await _set_paused(request, paused=False)


async def _set_paused(request: ApiRequest[NoQuery], *, paused: bool) -> SubscriptionView:
    at = request.context.clock()
    subscription = await request.context.store.subscriptions.change(
        request.tenant, request.id("sub"), lambda before: with_paused(before, paused=paused, at=at)
    )
    request.context.inbox.release_queued(subscription.id)
    return await with_health(request.context, subscription)


async def rotate_secret(request: ApiRequest[NoQuery]) -> RotatedSecret:
    """Create a new secret. For 24 hours, requests are signed with the old and the new one."""
    context, at = request.context, request.context.clock()
    secret = new_secret(context.ids.random_bytes(SECRET_BYTES))
    encrypted = context.secret_box.seal(secret, at)
    subscription = await context.store.subscriptions.change(
        request.tenant, request.id("sub"), lambda before: rotated(before, encrypted, at)
    )
    context.inbox.release_queued(subscription.id)
    return RotatedSecret(secret, rfc3339(subscription.previous_until))


async def test(request: ApiRequest[NoQuery]) -> AttemptView:
    """Send a `webhook.test` event now, in any state, and return the receiver's answer."""
    context, at = request.context, request.context.clock()
    to = await context.store.subscriptions.get(request.tenant, request.id("sub"))
    event_id = context.ids.new_id("evt", at)
    event = system_event("webhook.test", to.tenant, WebhookTestData(id=to.id), event_id, at)
    delivery = new_delivery(event, to, context.ids.new_id("dlv", at))
    result = await context.dispatcher.post(DeliveryTask(delivery, to, event.payload))
    return render_attempt(1, result)


async def recover(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Resend every event since `since` that failed, is waiting for a retry, or was never sent."""
    context, at = request.context, request.context.clock()
    to = await context.store.subscriptions.get(request.tenant, request.id("sub"))
    given = await request.body(RecoveryCreate)
    recovery = Recovery(
        id=context.ids.new_id("rec", at),
        tenant=request.tenant,
        subscription_id=to.id,
        since=_checked_since(given, at),
        until=at,
        created_at=at,
        event_types=tuple(given.event_types or ("*",)),
        only=tuple(given.only or ALL_SCOPES),
    )
    added = await context.store.recoveries.add(recovery)
    context.recovery_worker.wake()
    return render_recovery(added)


def _checked_since(given: RecoveryCreate, at: int) -> int:
    """Return `since` in microseconds; Invalid lists all errors of *given*."""
    errors = event_type_errors(given.event_types or (), "event_types")
    try:
        since = parse_rfc3339(given.since)
    except ValueError:
        since = -1
    if not 0 <= since <= at:
        message = "must be a past time in RFC 3339 format, such as 2026-01-31T12:00:00Z"
        errors.append(FieldError("since", message))
    if errors:
        raise Invalid(errors)
    return since
