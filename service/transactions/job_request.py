"""The order: what a client asks for, checked whole and turned into jobs before money is spent."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from service.domain.events import DEFAULT
from service.domain.jobs.job import Job
from service.domain.primitives.errors import Fault, Invalid
from service.domain.security.address_policy import url_fault
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.subscription import Subscription, pattern_faults
from service.providers.protocol import Operation, Prepared, Provider
from service.runtime.clock import Chance
from service.runtime.secret_box import Vault
from service.runtime.settings import Settings
from service.transactions.store_protocols import Idempotency, NewJob

MAX_ORDERS: Final = 100
MAX_DEADLINE: Final = 7 * 86_400
MAX_REF: Final = 1024
MAX_TAGS: Final = 20
MAX_TAG: Final = 100
MAX_METADATA: Final = 16 * 1024
MAX_KEY: Final = 255
_REPLY_NAMES: Final = ("replyUrl", "webhookURL")


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job as a client asks for it.

    *reply_event_types* go to *reply_url*, by default the ends.
    """

    provider: str
    operation: str
    input: dict[str, Any]
    reply_url: str | None = None
    reply_event_types: list[str] | None = None
    reply_ref: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    deadline_seconds: int | None = None


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What the jobs of one request share."""

    id: str
    tenant: str
    at: int


class Desk:
    """Turns orders into new jobs; Invalid names every fault of all of them at once."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        settings: Settings,
        vault: Vault,
        chance: Chance,
        deadline_seconds: Callable[[str, Operation], int],
    ) -> None:
        self._providers, self._settings = providers, settings
        self._vault, self._chance = vault, chance
        self._deadline_seconds = deadline_seconds

    def take(self, tenant: str, orders: Sequence[Order], at: int) -> list[NewJob]:
        """Check all *orders* and make their jobs, in their order in time."""
        batch = _Batch(id=self._chance.new_id("bat", at), tenant=tenant, at=at)
        refused: list[Invalid] = []
        new: list[NewJob] = []
        uuids: set[str] = set()
        for n, order in enumerate(orders):
            prefix = f"[{n}]." if len(orders) > 1 else ""
            try:
                one = self._one(order, msgspec.structs.replace(batch, at=at + n))
            except Invalid as exc:
                refused.append(_placed(exc, prefix))
                continue
            if one.task_uuid in uuids:
                refused.append(_placed(_repeated(), prefix))
            if one.task_uuid is not None:
                uuids.add(one.task_uuid)
            new.append(one)
        if refused:
            raise _together(refused)
        return new

    def _one(self, order: Order, batch: _Batch) -> NewJob:
        own = _own_faults(order) + self._url_faults(order)
        try:
            provider, operation = self._find(order)
            prepared = provider.prepare(operation, order.input)
        except Invalid as exc:
            raise Invalid(own + exc.faults, code=exc.reason) from exc
        if own:
            raise Invalid(own)
        reply_url = order.reply_url or prepared.reply_url
        reply = self.reply_to(reply_url, batch.tenant, batch.at) if reply_url else None
        job = self._job(order, operation, prepared, batch)
        return NewJob(
            job=job,
            input=msgspec.json.encode(prepared.input),
            reply=reply,
            task_uuid=prepared.task_uuid,
        )

    def _url_faults(self, order: Order) -> list[Fault]:
        """Where the job's events should go, by whichever name it was said."""
        places = {"reply_url": order.reply_url}
        places |= {f"input.{name}": order.input.get(name) for name in _REPLY_NAMES}
        return [
            Fault(path, fault)
            for path, url in places.items()
            if isinstance(url, str) and (fault := url_fault(url, self._settings.allow_targets))
        ]

    def _find(self, order: Order) -> tuple[Provider, Operation]:
        provider = self._providers.get(order.provider)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise Invalid([Fault("provider", f"must be one of {known}")])
        operation = provider.operation(order.operation)
        if operation is None:
            known = ", ".join(provider.operations)
            raise Invalid([Fault("operation", f"{provider.name} has {known}")])
        if self._settings.accounts[provider.name].token is None:
            fault = Fault("provider", f"{provider.name} is not set up: its credential is missing")
            raise Invalid([fault], code="provider_not_configured")
        if not operation.at_once and not self._settings.reachable_from(provider.name):
            fault = Fault("provider", "cannot call back: set BELFRY_PUBLIC_URL to our public URL")
            raise Invalid([fault], code="public_url_missing")
        return provider, operation

    def _job(self, order: Order, operation: Operation, prepared: Prepared, batch: _Batch) -> Job:
        wanted = DEFAULT if order.reply_event_types is None else order.reply_event_types
        account = f"{order.provider}:{prepared.account}" if prepared.account else order.provider
        return Job(
            id=self._chance.new_id("job", batch.at),
            tenant=batch.tenant,
            provider=order.provider,
            operation=operation.name,
            account=account,
            ref=self._chance.new_ref(),
            created_at=batch.at,
            deadline_seconds=order.deadline_seconds
            or self._deadline_seconds(order.provider, operation),
            batch=batch.id,
            max_jobs=prepared.max_jobs,
            reply_ref=prepared.reply_ref if order.reply_ref is None else order.reply_ref,
            reply_event_types=tuple(wanted),
            parts=prepared.parts,
            metadata=order.metadata or {},
            tags=tuple(dict.fromkeys(order.tags or ())),
        )

    def reply_to(self, url: str, tenant: str, at: int) -> Subscription:
        """The subscription of a reply URL; jobs with the same URL share the first one made."""
        return Subscription(
            id=self._chance.new_id("sub", at),
            tenant=tenant,
            kind="per_job",
            url=url,
            secret=self._vault.seal(new_secret(self._chance.noise(SECRET_BYTES)), at),
            event_types=(),
            created_at=at,
            updated_at=at,
        )


def _own_faults(order: Order) -> list[Fault]:
    faults = pattern_faults(order.reply_event_types or (), "reply_event_types")
    deadline = order.deadline_seconds
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        faults.append(Fault("deadline_seconds", f"must be from 1 to {MAX_DEADLINE}"))
    if order.reply_ref is not None and not 1 <= len(order.reply_ref) <= MAX_REF:
        faults.append(Fault("reply_ref", f"must have 1 to {MAX_REF} characters"))
    if order.metadata and len(msgspec.json.encode(order.metadata)) > MAX_METADATA:
        faults.append(Fault("metadata", f"may have at most {MAX_METADATA} bytes as JSON"))
    if len(order.tags or ()) > MAX_TAGS:
        faults.append(Fault("tags", f"may have at most {MAX_TAGS} entries"))
    faults += [
        Fault(f"tags[{n}]", f"must have 1 to {MAX_TAG} characters")
        for n, tag in enumerate((order.tags or [])[:MAX_TAGS])
        if not 1 <= len(tag) <= MAX_TAG
    ]
    return faults


def _repeated() -> Invalid:
    return Invalid([Fault("input.taskUUID", "stands twice in this request")])


def _placed(refusal: Invalid, prefix: str) -> Invalid:
    faults = [Fault(prefix + fault.path, fault.message) for fault in refusal.faults]
    return Invalid(faults, code=refusal.reason)


def _together(refused: Sequence[Invalid]) -> Invalid:
    """One error for all; its code says more than `invalid_input` only if all agree."""
    codes = {refusal.reason for refusal in refused}
    faults = [fault for refusal in refused for fault in refusal.faults]
    return Invalid(faults, code=codes.pop() if len(codes) == 1 else None)


def idempotency(name: str | None, body: Any) -> Idempotency | None:
    """Digest *body* so that white space and the order of keys do not matter."""
    if name is None:
        return None
    if not 1 <= len(name) <= MAX_KEY or not name.isascii() or not name.isprintable():
        message = f"must have 1 to {MAX_KEY} printable ASCII characters"
        raise Invalid([Fault("Idempotency-Key", message)])
    canonical = msgspec.json.encode(body, order="sorted")
    return Idempotency(name=name, digest=hashlib.sha256(canonical).hexdigest())
