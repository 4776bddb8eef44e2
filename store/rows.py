"""Converts between rows of the database and the service's values."""

from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import asdict

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import Delivery
from service.domain.deliveries.recovery import Recovery
from service.domain.deliveries.retry_policy import AttemptResult, DeliveryUpdate
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.security.api_keys import ApiKey
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import AccountHold
from service.transactions.slots import AccountPause, JobQueue, queue_of
from store.engine.session import Row

T = TypeVar("T")
Values = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.decode
_job: Final = msgspec.json.Decoder(Job).decode
_queue: Final = msgspec.json.Decoder(JobQueue).decode
_subscription: Final = msgspec.json.Decoder(Subscription).decode
_recovery: Final = msgspec.json.Decoder(Recovery).decode


def decode(row: Row, kind: type[T], **replaced: object) -> T:
    """Build a *kind* from the columns of its fields' names; 0 and 1 become booleans."""
    return msgspec.convert(dict(row) | replaced, kind, strict=False)


def decode_job(row: Row) -> Job:
    return _job(row["doc"])


def encode_job(job: Job) -> Values:
    return {
        "id": job.id,
        "tenant": job.tenant,
        "provider": job.provider,
        "operation": job.operation,
        "account": job.account,
        "queue": encode_queue(queue_of(job)),
        "status": job.status.value,
        "reply_ref": job.reply_ref,
        "provider_task_id": job.provider_task_id,
        "due_at": job.due_at,
        "next_check_at": job.next_check_at,
        "finished_at": job.finished_at,
        "error_code": None if job.error is None else job.error.code.value,
        "version": job.version,
        "doc": _encode(job).decode(),
    }


def encode_queue(queue: JobQueue) -> str:
    return _encode(queue).decode()


def decode_queue(row: Row) -> JobQueue:
    return _queue(row["queue"])


def decode_subscription(row: Row) -> Subscription:
    return _subscription(row["doc"])


def encode_subscription(subscription: Subscription) -> Values:
    return {
        "id": subscription.id,
        "tenant": subscription.tenant,
        "kind": subscription.kind,
        "url": subscription.url,
        "enabled": int(subscription.enabled),
        "paused": int(subscription.paused),
        "deliverable": int(subscription.deliverable),
        "rate": subscription.rate_limit or 0,
        "doc": _encode(subscription).decode(),
    }


def decode_event(row: Row) -> Event:
    return decode(row, Event, tags=_decode(row["tags"]))


def encode_event(event: Event) -> Values:
    return {**asdict(event), "tags": _encode(event.tags).decode()}


def decode_callback(row: Row) -> Callback:
    """Lists are read without bodies and headers."""
    found = {"body": b"", "headers": "{}", **dict(row)}
    return msgspec.convert(found | {"headers": _decode(found["headers"])}, Callback)


def encode_callback(callback: Callback) -> Values:
    headers = _encode(callback.headers).decode()
    return {**asdict(callback), "verdict": callback.verdict.value, "headers": headers}


def encode_hold(account: str, hold: AccountHold) -> Values:
    return {"account": account, "until": hold.until, "strict": int(hold.strict)}


def decode_pause(row: Row) -> AccountPause:
    return decode(row, AccountPause)


def encode_pause(pause: AccountPause) -> Values:
    return {**asdict(pause), "scope": pause.scope.value}


def decode_delivery(row: Row) -> Delivery:
    return decode(row, Delivery)


def encode_delivery(delivery: Delivery) -> Values:
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
        "lease_version": delivery.lease_version,
        "leased": int(delivery.lease_version > 0),
    }


def encode_update(update: DeliveryUpdate) -> Values:
    delivery = update.delivery
    return {
        "id": delivery.id,
        "lease_version": delivery.lease_version,
        "status": delivery.status.value,
        "due_at": delivery.due_at,
        "tries": delivery.tries,
        "settled_at": delivery.settled_at,
    }


def encode_attempt(update: DeliveryUpdate) -> Values:
    """A lease allows one attempt, so the attempt is numbered by the lease."""
    result = update.result
    return {
        "delivery_id": update.delivery.id,
        "number": update.delivery.lease_version,
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


def decode_attempt(row: Row) -> tuple[int, AttemptResult]:
    return row["number"], decode(row, AttemptResult, headers=_decode(row["headers"]))


def decode_health(row: Row) -> ReceiverHealth:
    return decode(row, ReceiverHealth)


def encode_health(health: ReceiverHealth) -> Values:
    return {**asdict(health), "warned": int(health.warned)}


def decode_recovery(row: Row) -> Recovery:
    return _recovery(row["doc"])


def encode_recovery(recovery: Recovery, due_at: int) -> Values:
    return {
        "id": recovery.id,
        "tenant": recovery.tenant,
        "status": recovery.status,
        "due_at": due_at,
        "doc": _encode(recovery).decode(),
    }


def decode_key(row: Row) -> ApiKey:
    return decode(row, ApiKey, scopes=_decode(row["scopes"]))


def encode_key(key: ApiKey) -> Values:
    return {**asdict(key), "scopes": _encode(key.scopes).decode()}
