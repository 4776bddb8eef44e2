"""Factories for values with defaults; a test names only the fields that matter to it."""

from typing import Any
from uuid import UUID

from service.domain.assets import Asset
from service.domain.callbacks import Callback, Verdict
from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import AttemptResult, DeliveryUpdate
from service.domain.deliveries.send_queue import SendQueues
from service.domain.events import Event
from service.domain.jobs.job import Job, Report
from service.domain.primitives import ids
from service.domain.primitives.timestamps import SECOND
from service.domain.security.api_keys import ApiKey
from service.domain.subscriptions.subscription import Subscription
from service.providers.refusals import RefusalScope
from service.transactions.slots import AccountPause
from service.transactions.store_protocols import ClaimRequest, NewJob

T0 = 1_767_268_800 * SECOND
"""2026-01-01T12:00:00Z, the time at which tests begin, in microseconds."""


class Clock:
    """Returns *at*, in microseconds, which only changes when a test sets it."""

    def __init__(self, at: int = T0) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at


class CountingIds:
    """Numbers ids one after the other instead of randomly, so that test runs are repeatable."""

    def __init__(self) -> None:
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    def new_id(self, prefix: str, at: int) -> str:
        return ids.new_id(prefix, at, self._next())

    def new_ref(self) -> str:
        return ids.new_ref(self._next())

    def random_bytes(self, count: int) -> bytes:
        return self._next().to_bytes(count, "big")


NO_QUEUES = SendQueues(1, alone=False)
"""The placement policy of a process that sends no deliveries itself."""

IDS = CountingIds()
"""Shared by all factories, so that every id and ref is unique."""


def a_ref(number: int) -> str:
    return str(UUID(int=number, version=4))


def build_job(**changes: Any) -> Job:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("job", T0),
        "tenant": "acme",
        "provider": "useapi",
        "operation": "frames.create",
        "account": "useapi",
        "ref": IDS.new_ref(),
        "created_at": T0,
        "deadline_seconds": 3600,
    }
    return Job(**{**defaults, **changes})


def a_pause(scope: RefusalScope, **changes: Any) -> AccountPause:
    """A pause of useapi's account, for another minute."""
    defaults: dict[str, Any] = {
        "account": "useapi",
        "scope": scope,
        "tenant": "acme",
        "reason": "no",
        "paused_at": T0,
        "retry_at": T0 + 60 * SECOND,
    }
    return AccountPause(**{**defaults, **changes})


def a_new_job(**changes: Any) -> NewJob:
    return NewJob(job=build_job(**changes), input=b'{"text_prompt":"a lighthouse"}')


def a_report(**changes: Any) -> Report:
    return Report(**changes)


def a_subscription(**changes: Any) -> Subscription:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("sub", T0),
        "tenant": "acme",
        "url": "https://receiver.example/hook",
        "secret": "sealed",
        "event_types": ("job.*",),
        "created_at": T0,
        "updated_at": T0,
    }
    return Subscription(**{**defaults, **changes})


def an_event(**changes: Any) -> Event:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("evt", T0),
        "tenant": "acme",
        "type": "job.succeeded",
        "at": T0,
        "sequence": 1,
        "payload": b'{"type":"job.succeeded"}',
        "job_id": "job_1",
        "provider": "useapi",
        "operation": "frames.create",
    }
    return Event(**{**defaults, **changes})


def a_delivery(**changes: Any) -> Delivery:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("dlv", T0),
        "tenant": "acme",
        "event_id": "evt_1",
        "subscription_id": "sub_1",
        "job_id": "job_1",
        "sequence": 1,
        "type": "job.succeeded",
        "status": DeliveryStatus.PENDING,
        "created_at": T0,
        "due_at": T0,
    }
    return Delivery(**{**defaults, **changes})


def a_task(subscription: Subscription, *, earlier: int = 0, **changes: Any) -> DeliveryTask:
    delivery = a_delivery(subscription_id=subscription.id, tenant=subscription.tenant, **changes)
    return DeliveryTask(delivery, subscription, b"{}", earlier)


def a_claim(at: int = T0, **changes: Any) -> ClaimRequest:
    return ClaimRequest(**{"at": at, "lease_until": at + LEASE, "limit": 100, **changes})


def a_result(status_code: int | None = 200, **changes: Any) -> AttemptResult:
    return AttemptResult(**{"at": T0, "duration_ms": 0, "status_code": status_code, **changes})


def an_update(delivery: Delivery, **changes: Any) -> DeliveryUpdate:
    defaults: dict[str, Any] = {"delivery": delivery, "result": a_result()}
    return DeliveryUpdate(**{**defaults, **changes})


def a_callback(job: Job, **changes: Any) -> Callback:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("cb", T0),
        "tenant": job.tenant,
        "job_id": job.id,
        "provider": job.provider,
        "ref": job.ref,
        "verdict": Verdict.ACCEPTED,
        "digest": "d1",
        "body": b'{"status":"RUNNING"}',
        "received_at": T0,
    }
    return Callback(**{**defaults, **changes})


def a_key(**changes: Any) -> ApiKey:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("key", T0),
        "hash": "hash of a key",
        "tenant": "acme",
        "name": None,
        "scopes": ("jobs:read",),
        "created_at": T0,
    }
    return ApiKey(**{**defaults, **changes})


def an_asset(**changes: Any) -> Asset:
    defaults: dict[str, Any] = {
        "id": IDS.new_id("ast", T0),
        "tenant": "acme",
        "provider": "useapi",
        "account": "useapi",
        "name": "bell.png",
        "media_type": "image/png",
        "created_at": T0,
    }
    return Asset(**{**defaults, **changes})
