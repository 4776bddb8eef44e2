"""Assets in requests and responses."""

from collections.abc import Sequence

import msgspec

from service.domain.assets import Asset, AssetStatus
from service.domain.primitives.timestamps import rfc3339
from service.providers.assets.protocol import AssetRules, ProviderAsset


class AssetCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file to be read from *url* and uploaded. *account* selects one of several accounts."""

    url: str
    name: str | None = None
    account: str | None = None


class AssetView(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was uploaded to a provider; *size* is in bytes.

    *provider_asset_id* is the id to use in the input of a job, once the status is `ready`. With the
    status `unknown` the provider may have the file or not: delete the asset, and upload it again.
    """

    id: str
    object: str = "asset"
    provider: str
    status: AssetStatus
    provider_asset_id: str | None
    name: str
    media_type: str
    size: int | None
    url: str | None
    created_at: str


class ProviderAssetView(msgspec.Struct, frozen=True, kw_only=True):
    """An asset as the provider lists it; *asset* and *tenant* if it was uploaded here."""

    object: str = "provider_asset"
    provider: str
    provider_asset_id: str
    name: str | None
    media_type: str | None
    size: int | None
    url: str | None
    asset: str | None
    tenant: str | None


class AssetRulesView(msgspec.Struct, frozen=True, kw_only=True):
    """The files that a provider takes as assets: their size in bytes, and their media types."""

    max_bytes: int
    media_types: Sequence[str]


def render_asset(asset: Asset, at: int) -> AssetView:
    return AssetView(
        id=asset.id,
        provider=asset.provider,
        status=asset.status_at(at),
        provider_asset_id=asset.provider_asset_id,
        name=asset.name,
        media_type=asset.media_type,
        size=asset.size,
        url=asset.url,
        created_at=rfc3339(asset.created_at),
    )


def render_provider_asset(
    provider: str, found: ProviderAsset, recorded: Asset | None
) -> ProviderAssetView:
    return ProviderAssetView(
        provider=provider,
        provider_asset_id=found.id,
        name=found.name,
        media_type=found.media_type,
        size=found.size,
        url=found.url,
        asset=None if recorded is None else recorded.id,
        tenant=None if recorded is None else recorded.tenant,
    )


def render_rules(rules: AssetRules | None) -> AssetRulesView | None:
    if rules is None:
        return None
    return AssetRulesView(max_bytes=rules.max_bytes, media_types=sorted(rules.media_types))
