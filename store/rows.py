"""Between rows and values: what a job, an event, … is in columns."""

from typing import Any, Final, TypeVar

import msgspec

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import Delivery, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import AttemptResult, DeliveryUpdate
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.security.api_keys import ApiKey
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import AccountHold, RawResponse
from store.engine.session import Row

T = TypeVar("T")
Values = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode
_job: Final = msgspec.json.Decoder(Job).decode
_subscription: Final = msgspec.json.Decoder(Subscription).decode


def job_of(row: Row) -> Job:
    return _job(row["doc"])


def job_row(job: Job) -> Values:
    return {
        "id": job.id,
        "tenant": job.tenant,
        "provider": job.provider,
        "operation": job.operation,
        "account": job.account,
        "status": job.status.value,
        "reply_ref": job.reply_ref,
        "provider_task_id": job.provider_task_id,
        "due_at": job.due_at,
        "check_at": job.check_at,
        "version": job.version,
        "doc": _encode(job).decode(),
    }


def subscription_of(row: Row) -> Subscription:
    return _subscription(row["doc"])


def subscription_row(subscription: Subscription) -> Values:
    return {
        "id": subscription.id,
        "tenant": subscription.tenant,
        "kind": subscription.kind,
        "url": subscription.url,
        "enabled": int(subscription.enabled),
        "paused": int(subscription.paused),
        "is_open": int(subscription.deliverable),
        "rate": subscription.rate_limit or 0,
        "doc": _encode(subscription).decode(),
    }


def event_of(row: Row) -> Event:
    return Event(**{**row, "tags": tuple(msgspec.json.decode(row["tags"]))})


def event_row(event: Event) -> Values:
    return {**msgspec.structs.asdict(event), "tags": _encode(event.tags).decode()}


def callback_of(row: Row) -> Callback:
    return msgspec.convert({"body": b"", **row}, Callback)


def callback_row(callback: Callback) -> Values:
    return {**msgspec.structs.asdict(callback), "verdict": callback.verdict.value}


def verdict_row(callback: Callback) -> Values:
    return {"id": callback.id, "verdict": callback.verdict.value, "doubt": callback.doubt}


def hold_row(account: str, hold: AccountHold) -> Values:
    return {**msgspec.structs.asdict(hold), "account": account, "strict": int(hold.strict)}


def delivery_of(row: Row) -> Delivery:
    return Delivery(**{**row, "status": DeliveryStatus(row["status"])})


def parcel_row(task: DeliveryTask) -> Values:
    return delivery_row(task.delivery)


def delivery_row(delivery: Delivery) -> Values:
    return {
        "id": delivery.id,
        "tenant": delivery.tenant,
        "event_id": delivery.event_id,
        "subscription_id": delivery.subscription_id,
        "job_id": delivery.job_id,
        "sequence": delivery.sequence,
        "type": delivery.type,
        "created_at": delivery.created_at,
        "due_at": delivery.due_at,
        "claims": delivery.claims,
        "leased": int(delivery.claims > 0),
    }


def superseded_row(delivery: Delivery) -> Values:
    return {"id": delivery.id, "claims": delivery.claims, "at": delivery.settled_at}


def settlement_row(settlement: DeliveryUpdate) -> Values:
    delivery = settlement.delivery
    return {
        "id": delivery.id,
        "claims": delivery.claims,
        "status": delivery.status.value,
        "due_at": delivery.due_at,
        "tries": delivery.tries,
        "settled_at": delivery.settled_at,
    }


def attempt_row(settlement: DeliveryUpdate) -> Values:
    """A claim makes one attempt, so the count of claims numbers them."""
    result = settlement.result
    return {
        "delivery_id": settlement.delivery.id,
        "number": settlement.delivery.claims,
        "at": result.at,
        "status_code": result.status_code,
        "duration_ms": result.duration_ms,
        "error": result.error,
        "excerpt": result.excerpt,
        "dns_ms": result.dns_ms,
        "connect_ms": result.connect_ms,
        "tls_ms": result.tls_ms,
        "first_byte_ms": result.first_byte_ms,
        "headers": _encode(result.headers).decode(),
    }


def attempt_of(row: Row) -> tuple[int, AttemptResult]:
    values = dict(row)
    headers = msgspec.json.decode(values.pop("headers") or "{}", type=dict[str, str])
    return values.pop("number"), AttemptResult(**values, headers=headers)


def health_of(row: Row) -> ReceiverHealth:
    return ReceiverHealth(**{**row, "warned": bool(row["warned"])})


def health_row(health: ReceiverHealth) -> Values:
    return {**msgspec.structs.asdict(health), "warned": int(health.warned)}


def answer_row(answer: RawResponse) -> Values:
    return msgspec.structs.asdict(answer)


def key_of(row: Row) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(msgspec.json.decode(row["scopes"]))})


def key_row(key: ApiKey) -> Values:
    return {**msgspec.structs.asdict(key), "scopes": _encode(key.scopes).decode()}
