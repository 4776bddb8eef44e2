"""Assets: recorded before the upload, and found by tenant and by the provider's id."""

import pytest
from msgspec.structs import replace

from service.domain.assets import AssetStatus
from service.domain.primitives.errors import NotFound
from service.transactions.store_protocols import Store
from tests.support.factories import a_ref, an_asset

pytestmark = pytest.mark.anyio


async def test_the_outcome_of_an_upload_is_written_to_its_row(store: Store) -> None:
    asset = an_asset()
    await store.assets.add(asset)
    begun = await store.assets.get("acme", asset.id)
    done = replace(
        asset,
        status=AssetStatus.READY,
        provider_asset_id=f"user:1-asset:{a_ref(1).upper()}",
        size=2**40,
        url="https://example.com/a.png",
        name="other.png",
    )
    await store.assets.finish(done)

    assert begun == asset
    assert await store.assets.get("acme", asset.id) == done
    assert await store.assets.by_uuid([a_ref(1), a_ref(2)]) == [done]


async def test_an_upload_that_ends_after_its_asset_was_deleted_leaves_no_row(store: Store) -> None:
    asset = an_asset()
    await store.assets.add(asset)
    await store.assets.delete("acme", asset.id)

    await store.assets.finish(replace(asset, status=AssetStatus.READY, provider_asset_id="x"))

    with pytest.raises(NotFound):
        await store.assets.get("acme", asset.id)


async def test_an_asset_is_deleted_once(store: Store) -> None:
    asset = an_asset()
    await store.assets.add(asset)
    await store.assets.delete("acme", asset.id)

    with pytest.raises(NotFound):
        await store.assets.delete("acme", asset.id)


async def test_the_assets_of_a_tenant_are_listed_by_provider_newest_first(store: Store) -> None:
    assets = [an_asset() for _ in range(3)]
    others = [an_asset(provider="runware"), an_asset(tenant="other")]
    for asset in (*assets, *others):
        await store.assets.add(asset)

    listed = await store.assets.find("acme", "useapi", 9)
    page = await store.assets.find("acme", "useapi", 1, assets[1].id)

    assert listed == assets[::-1]
    assert page == [assets[0]]
