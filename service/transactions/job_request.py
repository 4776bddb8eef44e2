"""The order: what a client asks for, checked whole and turned into jobs before money is spent."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from service.domain.events import DEFAULT_EVENT_TYPES
from service.domain.jobs.job import Job
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.security.address_policy import url_error
from service.domain.security.webhook_signature import SECRET_BYTES, new_secret
from service.domain.subscriptions.subscription import Subscription, event_type_errors
from service.providers.protocol import Operation, PreparedInput, Provider
from service.runtime.clock import IdSource
from service.runtime.secret_box import SecretBox
from service.runtime.settings import Settings
from service.transactions.store_protocols import Idempotency, NewJob

MAX_JOBS: Final = 100
MAX_DEADLINE: Final = 7 * 86_400
MAX_REF: Final = 1024
MAX_TAGS: Final = 20
MAX_TAG: Final = 100
MAX_METADATA: Final = 16 * 1024
MAX_KEY: Final = 255
_REPLY_NAMES: Final = ("replyUrl", "webhookURL")


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class _RequestScope(msgspec.Struct, frozen=True, kw_only=True):
    """What the jobs of one request share."""

    id: str
    tenant: str
    at: int


class JobFactory:
    """Turns orders into new jobs; Invalid names every fault of all of them at once."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        settings: Settings,
        secret_box: SecretBox,
        ids: IdSource,
        deadline_seconds: Callable[[str, Operation], int],
    ) -> None:
        self._providers, self._settings = providers, settings
        self._secret_box, self._ids = secret_box, ids
        self._deadline_seconds = deadline_seconds

    def create(self, tenant: str, requests: Sequence[JobRequest], at: int) -> list[NewJob]:
        """Check all *requests* and make their jobs, in their order in time."""
        batch = _RequestScope(id=self._ids.new_id("bat", at), tenant=tenant, at=at)
        refused: list[Invalid] = []
        new: list[NewJob] = []
        uuids: set[str] = set()
        for n, request in enumerate(requests):
            prefix = f"[{n}]." if len(requests) > 1 else ""
            try:
                one = self._one(request, msgspec.structs.replace(batch, at=at + n))
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

    def _one(self, request: JobRequest, batch: _RequestScope) -> NewJob:
        own = _own_faults(request) + self._url_faults(request)
        try:
            provider, operation = self._find(request)
            prepared = provider.prepare(operation, request.input)
        except Invalid as exc:
            raise Invalid(own + exc.errors, code=exc.reason) from exc
        if own:
            raise Invalid(own)
        reply_url = request.reply_url or prepared.reply_url
        reply = self.reply_subscription(reply_url, batch.tenant, batch.at) if reply_url else None
        job = self._job(request, operation, prepared, batch)
        return NewJob(
            job=job,
            input=msgspec.json.encode(prepared.input),
            reply_subscription=reply,
            task_uuid=prepared.task_uuid,
        )

    def _url_faults(self, request: JobRequest) -> list[FieldError]:
        """Where the job's events should go, by whichever name it was said."""
        places = {"reply_url": request.reply_url}
        places |= {f"input.{name}": request.input.get(name) for name in _REPLY_NAMES}
        return [
            FieldError(path, error)
            for path, url in places.items()
            if isinstance(url, str) and (error := url_error(url, self._settings.allow_targets))
        ]

    def _find(self, request: JobRequest) -> tuple[Provider, Operation]:
        provider = self._providers.get(request.provider)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise Invalid([FieldError("provider", f"must be one of {known}")])
        operation = provider.operation(request.operation)
        if operation is None:
            known = ", ".join(provider.operations)
            raise Invalid([FieldError("operation", f"{provider.name} has {known}")])
        if self._settings.accounts[provider.name].token is None:
            error = FieldError(
                "provider", f"{provider.name} is not set up: its credential is missing"
            )
            raise Invalid([error], code="provider_not_configured")
        if not operation.answers_immediately and not self._settings.reachable_from(provider.name):
            error = FieldError(
                "provider", "cannot call back: set BELFRY_PUBLIC_URL to our public URL"
            )
            raise Invalid([error], code="public_url_missing")
        return provider, operation

    def _job(
        self,
        request: JobRequest,
        operation: Operation,
        prepared: PreparedInput,
        batch: _RequestScope,
    ) -> Job:
        wanted = (
            DEFAULT_EVENT_TYPES if request.reply_event_types is None else request.reply_event_types
        )
        account = f"{request.provider}:{prepared.account}" if prepared.account else request.provider
        return Job(
            id=self._ids.new_id("job", batch.at),
            tenant=batch.tenant,
            provider=request.provider,
            operation=operation.name,
            account=account,
            ref=self._ids.new_ref(),
            created_at=batch.at,
            deadline_seconds=request.deadline_seconds
            or self._deadline_seconds(request.provider, operation),
            batch=batch.id,
            max_jobs=prepared.max_jobs,
            reply_ref=prepared.reply_ref if request.reply_ref is None else request.reply_ref,
            reply_event_types=tuple(wanted),
            expected_parts=prepared.expected_parts,
            metadata=request.metadata or {},
            tags=tuple(dict.fromkeys(request.tags or ())),
        )

    def reply_subscription(self, url: str, tenant: str, at: int) -> Subscription:
        """The subscription of a reply URL; jobs with the same URL share the first one made."""
        return Subscription(
            id=self._ids.new_id("sub", at),
            tenant=tenant,
            kind="per_job",
            url=url,
            secret=self._secret_box.seal(new_secret(self._ids.random_bytes(SECRET_BYTES)), at),
            event_types=(),
            created_at=at,
            updated_at=at,
        )


def _own_faults(request: JobRequest) -> list[FieldError]:
    errors = event_type_errors(request.reply_event_types or (), "reply_event_types")
    deadline = request.deadline_seconds
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        errors.append(FieldError("deadline_seconds", f"must be from 1 to {MAX_DEADLINE}"))
    if request.reply_ref is not None and not 1 <= len(request.reply_ref) <= MAX_REF:
        errors.append(FieldError("reply_ref", f"must have 1 to {MAX_REF} characters"))
    if request.metadata and len(msgspec.json.encode(request.metadata)) > MAX_METADATA:
        errors.append(FieldError("metadata", f"may have at most {MAX_METADATA} bytes as JSON"))
    if len(request.tags or ()) > MAX_TAGS:
        errors.append(FieldError("tags", f"may have at most {MAX_TAGS} entries"))
    errors += [
        FieldError(f"tags[{n}]", f"must have 1 to {MAX_TAG} characters")
        for n, tag in enumerate((request.tags or [])[:MAX_TAGS])
        if not 1 <= len(tag) <= MAX_TAG
    ]
    return errors


def _repeated() -> Invalid:
    return Invalid([FieldError("input.taskUUID", "stands twice in this request")])


def _placed(refusal: Invalid, prefix: str) -> Invalid:
    errors = [FieldError(prefix + error.path, error.message) for error in refusal.errors]
    return Invalid(errors, code=refusal.reason)


def _together(refused: Sequence[Invalid]) -> Invalid:
    """One error for all; its code says more than `invalid_input` only if all agree."""
    codes = {refusal.reason for refusal in refused}
    errors = [error for refusal in refused for error in refusal.errors]
    return Invalid(errors, code=codes.pop() if len(codes) == 1 else None)


def idempotency(name: str | None, body: Any) -> Idempotency | None:
    """Digest *body* so that white space and the order of keys do not matter."""
    if name is None:
        return None
    if not 1 <= len(name) <= MAX_KEY or not name.isascii() or not name.isprintable():
        message = f"must have 1 to {MAX_KEY} printable ASCII characters"
        raise Invalid([FieldError("Idempotency-Key", message)])
    canonical = msgspec.json.encode(body, order="sorted")
    return Idempotency(name=name, digest=hashlib.sha256(canonical).hexdigest())
