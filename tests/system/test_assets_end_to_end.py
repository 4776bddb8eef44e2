"""Assets at the emulated providers: uploaded, used by a job, listed, deleted."""

import pytest

from tests.support.service_harness import Json, SandboxedService

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


async def uploaded(sandboxed: SandboxedService, provider: str) -> Json:
    response = await sandboxed.http.post(
        f"/v1/providers/{provider}/assets?name=bell.png",
        content=PNG,
        headers={"content-type": "image/png"},
    )
    assert response.status_code == 201, response.text
    return dict(response.json())


async def test_an_image_at_useapi_is_described_listed_and_deleted(
    sandboxed: SandboxedService,
) -> None:
    asset = await uploaded(sandboxed, "useapi")
    described = {"image_assetId": asset["provider_asset_id"]}

    job = await sandboxed.submit("useapi", "frames.describe", described)
    ended = await sandboxed.ended(job["id"])
    before = await sandboxed.get("/v1/providers/useapi/assets", all="true")
    response = await sandboxed.http.delete(f"/v1/providers/useapi/assets/{asset['id']}")
    after = await sandboxed.get("/v1/providers/useapi/assets", all="true")

    assert (ended["status"], bool(ended["output"]["text"])) == ("succeeded", True)
    assert asset["id"] in [one["asset"] for one in before["data"]]
    assert response.status_code == 204
    assert len(after["data"]) == len(before["data"]) - 1


async def test_an_image_at_runware_is_captioned(sandboxed: SandboxedService) -> None:
    asset = await uploaded(sandboxed, "runware")
    given = {"inputImage": asset["provider_asset_id"], "model": "runware:150@2"}

    job = await sandboxed.submit("runware", "imageCaption", given)
    ended = await sandboxed.ended(job["id"])

    assert (ended["status"], bool(ended["output"]["text"])) == ("succeeded", True)
