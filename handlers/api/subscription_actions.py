"""What can be done with a subscription: hold it, try it out, renew its secret, recover."""

from msgspec.structs import replace

from handlers.api.subscriptions import seen
from handlers.http.endpoint import Nothing, Visit
from handlers.schemas.deliveries import AttemptView, attempt_view
from handlers.schemas.recoveries import RecoveryView, view
from handlers.schemas.subscriptions import Recover, Rotated, SubscriptionView
from service.domain.deliveries.delivery import Parcel, owe
from service.domain.deliveries.recovery import EVERYTHING, Recovery
from service.domain.events import TriedSubscription, system_event
from service.domain.primitives.errors import Fault, Invalid
from service.domain.primitives.timestamps import DAY, parse_rfc3339, rfc3339
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.subscription import Subscription, pattern_faults


async def pause(visit: Visit[Nothing]) -> SubscriptionView:
    """Hold what a subscription is owed, and keep it."""
    return await _changed(visit, paused=True)


async def resume(visit: Visit[Nothing]) -> SubscriptionView:
    """Send again, first what was held, in order."""
    return await _changed(visit, paused=False)


async def _changed(visit: Visit[Nothing], *, paused: bool) -> SubscriptionView:
    at = visit.context.clock()
    changed = await visit.context.store.change_subscription(
        visit.tenant, visit.id("sub"), lambda s: replace(s, paused=paused, updated_at=at)
    )
    visit.context.courier.withdraw(changed.id)
    return await seen(visit.context, changed)


async def rotate_secret(visit: Visit[Nothing]) -> Rotated:
    """Make a new secret; for 24 hours what is sent bears the signatures of both."""
    context, at = visit.context, visit.context.clock()
    secret = new_secret(context.chance.noise(SECRET_BYTES))
    sealed, until = context.vault.seal(secret, at), at + DAY

    def rotated(before: Subscription) -> Subscription:
        return replace(
            before,
            secret=sealed,
            previous_secret=before.secret,
            previous_until=until,
            updated_at=at,
        )

    changed = await context.store.change_subscription(visit.tenant, visit.id("sub"), rotated)
    context.courier.withdraw(changed.id)
    return Rotated(secret, rfc3339(until))


async def test(visit: Visit[Nothing]) -> AttemptView:
    """Send `webhook.test` now, whatever the state, and answer with what came back."""
    context, at = visit.context, visit.context.clock()
    to = await context.store.subscription(visit.tenant, visit.id("sub"))
    event_id = context.chance.new_id("evt", at)
    event = system_event("webhook.test", to.tenant, TriedSubscription(id=to.id), event_id, at)
    delivery = owe(event, to, context.chance.new_id("dlv", at))
    outcome = await context.courier.post(Parcel(delivery, to, event.payload))
    return attempt_view(1, outcome)


async def recover(visit: Visit[Nothing]) -> RecoveryView:
    """Send again everything since a time that was given up, waits for a retry, or was missed."""
    context, at = visit.context, visit.context.clock()
    to = await context.store.subscription(visit.tenant, visit.id("sub"))
    given = await visit.body(Recover)
    since = _since(given, at)
    recovery = Recovery(
        id=context.chance.new_id("rec", at),
        tenant=visit.tenant,
        subscription_id=to.id,
        since=since,
        until=at,
        created_at=at,
        event_types=tuple(given.event_types or ("*",)),
        only=tuple(given.only or EVERYTHING),
    )
    begun = await context.store.add_recovery(recovery)
    context.recovery.look()
    return view(begun)


def _since(given: Recover, at: int) -> int:
    faults = pattern_faults(given.event_types or (), "event_types")
    try:
        since = parse_rfc3339(given.since)
    except ValueError:
        since = -1
    if not 0 <= since <= at:
        faults.append(Fault("since", "must be a time that is over, as 2026-01-31T12:00:00Z"))
    if faults:
        raise Invalid(faults)
    return since
