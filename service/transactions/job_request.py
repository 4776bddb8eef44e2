"""Job requests: validation of everything a client asks for, and the creation of new jobs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

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
"""Jobs of one request."""
MAX_DEADLINE_SECONDS: Final = 7 * 86_400
MAX_REPLY_REF: Final = 1024
"""Characters."""
MAX_TAGS: Final = 20
MAX_TAG: Final = 100
"""Characters."""
MAX_METADATA: Final = 16 * 1024
"""Bytes as JSON."""
MAX_IDEMPOTENCY_KEY: Final = 255
"""Characters."""
REPLY_EVENT_TYPES: Final = ("job.*",)
"""What a reply URL receives by default: like useapi's `replyUrl`, "task progress updates until the
task is complete or fails" (useapi.net, POST frames/create)."""


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job as a client asks for it.

    *reply_url* receives every event of the job, from `job.queued` on, progress included;
    *reply_event_types* narrows them to some types or patterns. The provider's own field for such a
    URL in the *input*, like useapi's `replyUrl` or Runware's `webhookURL`, does the same where
    *reply_url* is missing.
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
    """The id, tenant and time of one request, which all its jobs share."""

    id: str
    tenant: str
    at: int


class JobFactory:
    """Turns job requests into new jobs; Invalid lists the errors of all of them at once."""

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
        """Check all *requests* and create their jobs, 1 µs apart to keep their order."""
        scope = _RequestScope(id=self._ids.new_id("bat", at), tenant=tenant, at=at)
        refusals: list[Invalid] = []
        new: list[NewJob] = []
        uuids: set[str] = set()
        for n, request in enumerate(requests):
            prefix = f"[{n}]." if len(requests) > 1 else ""
            try:
                one = self._new_job(request, msgspec.structs.replace(scope, at=at + n))
            except Invalid as exc:
                refusals.append(_with_prefix(exc, prefix))
                continue
            if one.task_uuid in uuids:
                error = FieldError("input.taskUUID", "appears twice in this request")
                refusals.append(_with_prefix(Invalid([error]), prefix))
            if one.task_uuid is not None:
                uuids.add(one.task_uuid)
            new.append(one)
        if refusals:
            raise _merge(refusals)
        return new

    def _new_job(self, request: JobRequest, scope: _RequestScope) -> NewJob:
        errors = _field_errors(request) + self._reply_url_errors(request)
        try:
            provider, operation = self._find(request)
            prepared = provider.prepare(operation, request.input)
        except Invalid as exc:
            raise Invalid(errors + exc.errors, code=exc.reason) from exc
        if errors:
            raise Invalid(errors)
        reply_url = request.reply_url or prepared.reply_url
        reply = self.reply_subscription(reply_url, scope.tenant, scope.at) if reply_url else None
        job = self._job(request, provider, operation, prepared, scope)
        return NewJob(
            job=job,
            input=msgspec.json.encode(prepared.input),
            reply_subscription=reply,
            task_uuid=prepared.task_uuid,
        )

    def _reply_url_errors(self, request: JobRequest) -> list[FieldError]:
        """Check the reply URL in both of the fields that may hold it."""
        urls = {"reply_url": request.reply_url}
        provider = self._providers.get(request.provider)
        if provider is not None and provider.reply_url_field:
            urls[f"input.{provider.reply_url_field}"] = request.input.get(provider.reply_url_field)
        return [
            FieldError(path, error)
            for path, url in urls.items()
            if isinstance(url, str) and (error := url_error(url, self._settings.allow_targets))
        ]

    def _find(self, request: JobRequest) -> tuple[Provider, Operation]:
        """Find the provider and the operation; Invalid if they cannot be used."""
        provider = self._providers.get(request.provider)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise Invalid([FieldError("provider", f"must be one of {known}")])
        operation = provider.operation(request.operation)
        if operation is None:
            known = ", ".join(provider.operations)
            raise Invalid([FieldError("operation", f"must be one of {known}")])
        if self._settings.accounts[provider.name].token is None:
            error = FieldError(
                "provider", f"{provider.name} is not configured: its credential is missing"
            )
            raise Invalid([error], code="provider_not_configured")
        if operation.answers_immediately:
            return provider, operation
        if provider.callbacks is None:
            self._check_polling(provider)
        elif not self._settings.reachable_from(provider.name):
            error = FieldError(
                "provider", "cannot send callbacks: set BELFRY_PUBLIC_URL to our public URL"
            )
            raise Invalid([error], code="public_url_missing")
        return provider, operation

    def _check_polling(self, provider: Provider) -> None:
        if provider.name not in self._settings.poll:
            message = (
                f"{provider.name} has no callbacks, and polling it is off: "
                f"set BELFRY_POLL={provider.name} to allow it"
            )
            raise Invalid([FieldError("provider", message)], code="polling_off")

    def _job(
        self,
        request: JobRequest,
        provider: Provider,
        operation: Operation,
        prepared: PreparedInput,
        scope: _RequestScope,
    ) -> Job:
        deadline_seconds = request.deadline_seconds
        if deadline_seconds is None:
            deadline_seconds = self._deadline_seconds(request.provider, operation)
        account = f"{request.provider}:{prepared.account}" if prepared.account else request.provider
        return Job(
            id=self._ids.new_id("job", scope.at),
            tenant=scope.tenant,
            provider=request.provider,
            operation=operation.name,
            account=account,
            ref=self._ids.new_ref(),
            created_at=scope.at,
            deadline_seconds=deadline_seconds,
            batch=scope.id,
            max_jobs=prepared.max_jobs,
            uses_credits=prepared.uses_credits,
            any_account=prepared.any_account,
            reply_ref=prepared.reply_ref if request.reply_ref is None else request.reply_ref,
            reply_event_types=tuple(request.reply_event_types or REPLY_EVENT_TYPES),
            expected_parts=prepared.expected_parts,
            poll_seconds=None if operation.answers_immediately else provider.poll_seconds,
            metadata=request.metadata or {},
            tags=tuple(dict.fromkeys(request.tags or ())),
        )

    def reply_subscription(self, url: str, tenant: str, at: int) -> Subscription:
        """Create the subscription of a reply URL; the store keeps one per tenant and URL."""
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


def _field_errors(request: JobRequest) -> list[FieldError]:
    """Check the fields that do not depend on the provider."""
    errors = event_type_errors(request.reply_event_types or (), "reply_event_types")
    deadline = request.deadline_seconds
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE_SECONDS:
        errors.append(FieldError("deadline_seconds", f"must be from 1 to {MAX_DEADLINE_SECONDS}"))
    if request.reply_ref is not None and not 1 <= len(request.reply_ref) <= MAX_REPLY_REF:
        errors.append(FieldError("reply_ref", f"must have 1 to {MAX_REPLY_REF} characters"))
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


def _with_prefix(refusal: Invalid, prefix: str) -> Invalid:
    errors = [FieldError(prefix + error.path, error.message) for error in refusal.errors]
    return Invalid(errors, code=refusal.reason)


def _merge(refusals: Sequence[Invalid]) -> Invalid:
    """Merge all errors; a code other than `invalid_input` is kept only if all have the same."""
    codes = {refusal.reason for refusal in refusals}
    errors = [error for refusal in refusals for error in refusal.errors]
    return Invalid(errors, code=codes.pop() if len(codes) == 1 else None)


def idempotency(name: str | None, body: Any) -> Idempotency | None:
    """Check an Idempotency-Key; white space and the order of keys in *body* do not matter."""
    if name is None:
        return None
    if not 1 <= len(name) <= MAX_IDEMPOTENCY_KEY or not name.isascii() or not name.isprintable():
        message = f"must have 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
        raise Invalid([FieldError("Idempotency-Key", message)])
    canonical = msgspec.json.encode(body, order="sorted")
    return Idempotency(name=name, digest=hashlib.sha256(canonical).hexdigest())
