"""Uploads files of tenants to providers, and deletes and lists them there."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from service.domain.assets import (
    UPLOAD_SECONDS,
    Asset,
    AssetStatus,
    asset_uuid,
    foreign_uuids,
    uuids_in,
)
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.errors import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    ProviderRefused,
    ServiceError,
    TooManyUploads,
    Unavailable,
)
from service.providers.assets import asset_apis
from service.providers.assets.protocol import AssetApi, AssetRules, NewAsset, ProviderAsset, Refusal
from service.providers.protocol import Call, Inconclusive, Reply, RetryLater
from service.runtime.clients.provider_client import ProviderChannel, ProviderClient
from service.runtime.clock import Clock, IdSource
from service.runtime.settings import Settings
from service.runtime.tasks import in_thread_if_large
from service.transactions.store_protocols import NewJob, Store

MAX_UPLOADS: Final = 4
"""Uploads of one tenant in progress at this process."""
CALL_SECONDS: Final = 30.0
"""The time for a deletion or a list."""
_CLIENT_ERRORS: Final = (ErrorCode.INVALID_INPUT, ErrorCode.MODERATED)
log = structlog.get_logger()


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file to upload; *size* is in bytes, None if it is not known before the end of *chunks*."""

    name: str
    media_type: str
    size: int | None
    chunks: AsyncIterator[bytes]
    account: str | None = None


class AssetManager:
    """The assets of all tenants at all providers that take assets."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, ProviderChannel],
        settings: Settings,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._store, self._channels, self._apis = store, channels, asset_apis()
        self._settings, self._clock, self._ids = settings, clock, ids
        self._uploads: Counter[str] = Counter()

    def rules(self, provider: str) -> AssetRules:
        """Return what *provider* takes; NotFound if it does not exist or takes no assets."""
        return self._api(provider).rules

    @contextmanager
    def admitted(self, tenant: str) -> Iterator[None]:
        """Count the upload in the block; TooManyUploads if the tenant has too many."""
        if self._uploads[tenant] >= MAX_UPLOADS:
            raise TooManyUploads(f"At most {MAX_UPLOADS} uploads may be in progress at once.")
        self._uploads[tenant] += 1
        try:
            yield
        finally:
            self._uploads[tenant] -= 1
            if not self._uploads[tenant]:
                del self._uploads[tenant]

    async def upload(self, tenant: str, provider: str, file: File) -> Asset:
        """Upload *file*, whose type and size were checked.

        The asset is stored before the upload begins; only an upload that certainly failed leaves
        none. Raises a ServiceError for what the provider answers, and what the file raises.
        """
        api, client = self._api(provider), self._client(provider)
        at = self._clock()
        asset = Asset(
            id=self._ids.new_id("ast", at),
            tenant=tenant,
            provider=provider,
            account=f"{provider}:{file.account}" if file.account else provider,
            name=file.name,
            media_type=file.media_type,
            size=file.size,
            created_at=at,
        )
        call = api.upload(
            NewAsset(
                ref=self._ids.new_ref(),
                name=file.name,
                media_type=file.media_type,
                account=file.account,
            )
        )
        await self._store.assets.add(asset)
        try:
            reply = await client.upload(call, file.chunks, file.size, UPLOAD_SECONDS)
        except Exception:
            await self._store.assets.delete(tenant, asset.id)
            raise
        found = api.read_upload(reply) if isinstance(reply, Reply) else reply
        if isinstance(found, ProviderAsset):
            asset = _uploaded(asset, found)
            await self._store.assets.finish(asset)
            log.info("asset.uploaded", asset=asset.id, provider=provider, tenant=tenant)
            return asset
        log.warning("asset.failed", asset=asset.id, provider=provider, tenant=tenant)
        if isinstance(found, Inconclusive):
            await self._store.assets.finish(replace(asset, status=AssetStatus.UNKNOWN))
            raise OutcomeUnknown(
                f"The provider may have the file or not: {found.message}. See asset {asset.id}."
            )
        await self._store.assets.delete(tenant, asset.id)
        raise _error(found)

    async def get(self, tenant: str, provider: str, asset_id: str) -> Asset:
        """Return an asset of *tenant* at *provider*; NotFound if there is none."""
        self._api(provider)
        asset = await self._store.assets.get(tenant, asset_id)
        if asset.provider != provider:
            raise NotFound("There is no such asset.")
        return asset

    async def delete(self, tenant: str, provider: str, asset_id: str) -> None:
        """Delete an asset at the provider, and then here; it may be gone at the provider before.

        Conflict while it is being uploaded. A file that another asset shares is kept.
        """
        asset = await self.get(tenant, provider, asset_id)
        if asset.status_at(self._clock()) is AssetStatus.UPLOADING:
            raise Conflict("The asset is being uploaded; delete it when the upload has ended.")
        api = self._api(provider)
        call = api.delete(asset.provider_asset_id) if asset.provider_asset_id else None
        if call is not None and not await self._is_shared(asset):
            reply = await self._send(provider, call)
            refusal = api.read_delete(reply) if isinstance(reply, Reply) else reply
            if refusal is not None:
                raise _error(refusal)
        await self._store.assets.delete(tenant, asset.id)

    async def page(
        self, provider: str, account: str | None, offset: int, limit: int
    ) -> Sequence[tuple[ProviderAsset, Asset | None]]:
        """Return a page of all assets of our account at *provider*, each with our own record."""
        api = self._api(provider)
        call = api.page(account, offset, limit)
        if call is None:
            message = f"{provider} cannot list the assets of its account"
            raise Invalid([FieldError("?all", message)])
        reply = await self._send(provider, call)
        found = api.read_page(reply) if isinstance(reply, Reply) else reply
        if isinstance(found, Refusal):
            raise _error(found)
        uuids = {uuid for one in found if (uuid := asset_uuid(one.id))}
        recorded = await self._store.assets.by_uuid(sorted(uuids)) if uuids else []
        by_id = {one.provider_asset_id: one for one in recorded if one.provider == provider}
        return [(one, by_id.get(one.id)) for one in found]

    async def check_inputs(self, tenant: str, new: Sequence[NewJob]) -> None:
        """Refuse jobs that name assets of other tenants; unknown ids may be the provider's own."""
        size = sum(len(one.input) for one in new)
        named = await in_thread_if_large(size, self._named_uuids, new)
        if not any(named):
            return
        assets = await self._store.assets.by_uuid(sorted(set().union(*named)))
        errors = []
        for n, (one, uuids) in enumerate(zip(new, named, strict=True)):
            foreign = uuids & foreign_uuids(assets, tenant, one.job.provider)
            prefix = f"[{n}]." if len(new) > 1 else ""
            errors += [
                FieldError(f"{prefix}input.{name}", "is not an asset of yours")
                for name in (_fields_with(one.input, foreign) if foreign else ())
            ]
        if errors:
            raise Invalid(errors)

    def _named_uuids(self, new: Sequence[NewJob]) -> list[set[str]]:
        return [
            uuids_in(one.input.decode()) if one.job.provider in self._apis else set() for one in new
        ]

    def _api(self, provider: str) -> AssetApi:
        if provider not in self._channels:
            raise NotFound(f"There is no such provider; one of {', '.join(sorted(self._apis))}.")
        if provider not in self._apis:
            raise NotFound(f"{provider} takes no assets; use URLs as inputs of its jobs.")
        return self._apis[provider]

    def _client(self, provider: str) -> ProviderClient:
        if self._settings.accounts[provider].token is None:
            message = f"{provider} is not configured: its credential is missing"
            raise Invalid([FieldError("provider", message)], code="provider_not_configured")
        return self._channels[provider].client

    async def _send(self, provider: str, call: Call) -> Reply | RetryLater | Inconclusive:
        return await self._client(provider).send(call, CALL_SECONDS)

    async def _is_shared(self, asset: Asset) -> bool:
        uuid = asset_uuid(asset.provider_asset_id)
        others = await self._store.assets.by_uuid([uuid]) if uuid else []
        return any(one.id != asset.id and one.provider == asset.provider for one in others)


def _uploaded(asset: Asset, found: ProviderAsset) -> Asset:
    """Complete *asset* with what the provider says about it; our own facts come first."""
    return replace(
        asset,
        status=AssetStatus.READY,
        provider_asset_id=found.id,
        size=found.size if asset.size is None else asset.size,
        url=found.url,
    )


def _fields_with(job_input: bytes, uuids: set[str]) -> list[str]:
    """Name the fields of *job_input* that have one of *uuids*."""
    fields = msgspec.json.decode(job_input, type=dict[str, msgspec.Raw])
    return [name for name, value in fields.items() if uuids & uuids_in(bytes(value).decode())]


def _error(refusal: Refusal) -> ServiceError:
    """Say to the caller of the API why the provider refused."""
    if isinstance(refusal, RetryLater):
        seconds = max(1, round(refusal.retry_after_seconds or 1))
        return Unavailable(f"The provider cannot do it now: {refusal.message}", seconds)
    if isinstance(refusal, Inconclusive):
        return OutcomeUnknown(f"The provider's answer was lost: {refusal.message}. Try again.")
    message = f"The provider refused: {refusal.message}"
    if refusal.code in _CLIENT_ERRORS:
        return Invalid([FieldError("", refusal.message)], message, refusal.code)
    return ProviderRefused(message, refusal.code)
