"""What can be done with a subscription: hold it, try it out, renew its secret, recover."""

from msgspec.structs import replace

from handlers.api.subscriptions import render_subscription
from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.schemas.deliveries import AttemptView, attempt_view
from handlers.schemas.recoveries import RecoveryView, recovery_view
from handlers.schemas.subscriptions import RecoveryCreate, RotatedSecret, SubscriptionView
from service.domain.deliveries.delivery import DeliveryTask, new_delivery
from service.domain.deliveries.recovery import ALL_SCOPES, Recovery
from service.domain.events import WebhookTestData, system_event
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.timestamps import DAY, parse_rfc3339, rfc3339
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.subscription import Subscription, event_type_errors


async def pause(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Hold what a subscription is owed, and keep it."""
    return await _changed(request, paused=True)


async def resume(request: ApiRequest[NoQuery]) -> SubscriptionView:
    """Send again, first what was held, in order."""
    return await _changed(request, paused=False)


async def _changed(request: ApiRequest[NoQuery], *, paused: bool) -> SubscriptionView:
    at = request.context.clock()
    changed = await request.context.store.subscriptions.change(
        request.tenant, request.id("sub"), lambda s: replace(s, paused=paused, updated_at=at)
    )
    request.context.inbox.release_queued(changed.id)
    return await render_subscription(request.context, changed)


async def rotate_secret(request: ApiRequest[NoQuery]) -> RotatedSecret:
    """Make a new secret; for 24 hours what is sent bears the signatures of both."""
    context, at = request.context, request.context.clock()
    secret = new_secret(context.ids.random_bytes(SECRET_BYTES))
    sealed, until = context.secret_box.seal(secret, at), at + DAY

    def rotated(before: Subscription) -> Subscription:
        return replace(
            before,
            secret=sealed,
            previous_secret=before.secret,
            previous_until=until,
            updated_at=at,
        )

    changed = await context.store.subscriptions.change(request.tenant, request.id("sub"), rotated)
    context.inbox.release_queued(changed.id)
    return RotatedSecret(secret, rfc3339(until))


async def test(request: ApiRequest[NoQuery]) -> AttemptView:
    """Send `webhook.test` now, whatever the state, and answer with what came back."""
    context, at = request.context, request.context.clock()
    to = await context.store.subscriptions.get(request.tenant, request.id("sub"))
    event_id = context.ids.new_id("evt", at)
    event = system_event("webhook.test", to.tenant, WebhookTestData(id=to.id), event_id, at)
    delivery = new_delivery(event, to, context.ids.new_id("dlv", at))
    outcome = await context.dispatcher.post(DeliveryTask(delivery, to, event.payload))
    return attempt_view(1, outcome)


async def recover(request: ApiRequest[NoQuery]) -> RecoveryView:
    """Send again everything since a time that was given up, waits for a retry, or was missed."""
    context, at = request.context, request.context.clock()
    to = await context.store.subscriptions.get(request.tenant, request.id("sub"))
    given = await request.body(RecoveryCreate)
    since = _since(given, at)
    recovery = Recovery(
        id=context.ids.new_id("rec", at),
        tenant=request.tenant,
        subscription_id=to.id,
        since=since,
        until=at,
        created_at=at,
        event_types=tuple(given.event_types or ("*",)),
        only=tuple(given.only or ALL_SCOPES),
    )
    begun = await context.store.recoveries.add(recovery)
    context.recovery_worker.wake()
    return recovery_view(begun)


def _since(given: RecoveryCreate, at: int) -> int:
    errors = event_type_errors(given.event_types or (), "event_types")
    try:
        since = parse_rfc3339(given.since)
    except ValueError:
        since = -1
    if not 0 <= since <= at:
        errors.append(FieldError("since", "must be a time that is over, as 2026-01-31T12:00:00Z"))
    if errors:
        raise Invalid(errors)
    return since
