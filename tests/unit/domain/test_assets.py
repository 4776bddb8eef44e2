"""Assets: when an upload counts as interrupted, and whose asset a job names."""

import pytest

from service.domain.assets import (
    UPLOAD_SECONDS,
    AssetStatus,
    asset_uuid,
    foreign_uuids,
    uuids_in,
)
from service.domain.primitives.timestamps import SECOND
from tests.support.factories import T0, a_ref, an_asset

A, B = a_ref(0xABCDEF), a_ref(0xFEDCBA)
USEAPI_ID = f"user:1-runwayml:me-and@example.com-asset:{A}"


def test_an_upload_that_is_not_over_in_time_was_interrupted() -> None:
    asset, late = an_asset(), T0 + (UPLOAD_SECONDS + 60) * SECOND

    assert asset.status_at(late) is AssetStatus.UPLOADING
    assert asset.status_at(late + 1) is AssetStatus.UNKNOWN


def test_a_finished_upload_keeps_its_status() -> None:
    asset = an_asset(status=AssetStatus.READY)

    assert asset.status_at(T0 + 10 * UPLOAD_SECONDS * SECOND) is AssetStatus.READY


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        ("no-uuid-here", set()),
        (A, {A}),
        (A.upper(), {A}),
        (f'{{"a":"{USEAPI_ID}","b":["https://im.example.com/{B}.jpg"]}}', {A, B}),
        (A[:-1], set()),
        (A[1:], set()),
        ("-" * 100, set()),
        (f"{'0' * 65_530}{A}{'0' * 65_500}{B}", {A, B}),
    ],
    ids=range(9),
)
def test_all_uuids_of_a_text_are_found(text: str, found: set[str]) -> None:
    assert uuids_in(text) == found


@pytest.mark.parametrize(
    ("provider_asset_id", "uuid"),
    [(None, None), ("", None), ("x", None), (A, A), (A.upper(), A), (USEAPI_ID, A), (A + B, B)],
)
def test_an_asset_is_found_by_the_last_uuid_of_its_id(
    provider_asset_id: str | None, uuid: str | None
) -> None:
    assert asset_uuid(provider_asset_id) == uuid


def test_an_asset_is_foreign_if_only_other_tenants_have_it() -> None:
    shared, theirs, elsewhere = a_ref(3), a_ref(4), a_ref(5)
    assets = [
        an_asset(provider_asset_id=shared),
        an_asset(provider_asset_id=shared, tenant="other"),
        an_asset(provider_asset_id=theirs, tenant="other"),
        an_asset(provider_asset_id=elsewhere, tenant="other", provider="runware"),
        an_asset(provider_asset_id="without", tenant="other"),
    ]

    assert foreign_uuids(assets, "acme", "useapi") == {theirs}
    assert foreign_uuids(assets, "other", "useapi") == set()
