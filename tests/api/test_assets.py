"""Assets over HTTP: uploads are streamed to the provider, recorded, listed and deleted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from service.domain.assets import UPLOAD_SECONDS
from service.domain.primitives.timestamps import SECOND
from service.providers.assets.runware import MAX_BYTES as RUNWARE_BYTES
from service.providers.assets.useapi import MAX_BYTES as USEAPI_BYTES
from service.workers.asset_manager import MAX_UPLOADS
from tests.support.asset_provider import EMAIL, AssetProvider
from tests.support.databases import sqlite_file
from tests.support.movable_clock import MovableClock
from tests.support.service_harness import (
    Json,
    Service,
    a_process,
    eventually,
    plain_client,
    providers_at,
    running_service,
    serving,
)

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
USEAPI, RUNWARE = "/v1/providers/useapi/assets", "/v1/providers/runware/assets"


@pytest.fixture
async def provider() -> AsyncIterator[AssetProvider]:
    provider = AssetProvider()
    yield provider
    provider.gate.set()


@pytest.fixture
async def provider_url(provider: AssetProvider) -> AsyncIterator[str]:
    async with serving(provider.app) as url:
        yield url


@pytest.fixture
async def service(
    database_url: str, provider_url: str, clock: MovableClock
) -> AsyncIterator[Service]:
    async with running_service(database_url, 15.0, clock, **providers_at(provider_url)) as service:
        yield service


async def upload(service: Service, path: str = f"{USEAPI}?name=bell.png", **more: Any) -> Any:
    request = {"content": PNG, "headers": {"content-type": "image/png"}, **more}
    return await service.http.post(path, **request)


async def another(service: Service, *scopes: str, tenant: str = "other") -> httpx.AsyncClient:
    key = await service.another_key(*scopes, tenant=tenant)
    return plain_client(service.url, authorization=f"Bearer {key}")


async def listed(service: Service, path: str = USEAPI) -> list[Json]:
    return list((await service.get(path))["data"])


def problem_of(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


async def test_a_file_is_uploaded_and_its_id_can_be_used_in_jobs(
    service: Service, provider: AssetProvider
) -> None:
    response = await upload(service, f"{USEAPI}?name=bell%20tower.png&account=Me@example.com")

    asset = response.json()
    (sent,) = provider.uploads
    assert (response.status_code, response.headers["location"]) == (201, f"{USEAPI}/{asset['id']}")
    assert (asset["status"], asset["size"], asset["media_type"]) == ("ready", len(PNG), "image/png")
    assert asset["provider_asset_id"] in provider.assets
    assert sent.query == {"name": "bell tower.png", "email": EMAIL}
    assert (sent.headers["content-type"], sent.size) == ("image/png", len(PNG))
    assert sent.digest == hashlib.sha256(PNG).hexdigest()
    assert sent.headers["authorization"] == "Bearer user:1-sandbox"
    assert "transfer-encoding" not in sent.headers
    assert await service.get(response.headers["location"]) == asset
    described = {"image_assetId": asset["provider_asset_id"]}
    assert await service.submit("useapi", "frames.describe", described)


async def test_an_image_for_runware_is_sent_as_a_data_uri(
    service: Service, provider: AssetProvider
) -> None:
    for length in (1, 2, 3, 10_000, len(PNG)):
        response = await upload(service, RUNWARE, content=PNG[:length])

        sent = provider.uploads[-1]
        assert response.status_code == 201, response.text
        assert (sent.media_type, sent.headers["content-type"]) == (
            "data:image/png",
            "application/json",
        )
        assert sent.headers["content-length"] == str(sent.size)
        assert sent.digest == hashlib.sha256(PNG[:length]).hexdigest()
    caption = {"inputImage": response.json()["provider_asset_id"], "model": "runware:150@2"}
    assert await service.submit("runware", "imageCaption", caption)


@pytest.mark.parametrize("path", [USEAPI, RUNWARE])
@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "chunked"])
async def test_a_file_reaches_the_provider_while_it_is_being_sent(
    path: str, service: Service, provider: AssetProvider, *, announced: bool
) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield PNG[:100]
        await provider.begun.wait()
        yield PNG[100:]

    headers = {"content-type": "image/png"}
    if announced:
        headers["content-length"] = str(len(PNG))
    response = await upload(service, path, content=content(), headers=headers)

    assert response.status_code == 201
    assert provider.uploads[0].digest == hashlib.sha256(PNG).hexdigest()
    assert ("content-length" in provider.uploads[0].headers) is announced


async def test_the_file_of_a_url_is_streamed_to_the_provider(
    service: Service, provider: AssetProvider, provider_url: str
) -> None:
    path = provider.serve(
        "bell%20tower.png", PNG[:100], provider.begun, PNG[100:], content_type="image/png; a=b"
    )
    provider.files["bell tower.png"] = provider.files["bell%20tower.png"]

    response = await service.http.post(USEAPI, json={"url": provider_url + path})

    assert response.status_code == 201, response.text
    assert (response.json()["name"], response.json()["size"]) == ("bell tower.png", len(PNG))
    assert provider.uploads[0].digest == hashlib.sha256(PNG).hexdigest()


async def test_the_name_of_a_file_counts_if_its_host_gives_no_type(
    service: Service, provider: AssetProvider, provider_url: str
) -> None:
    path = provider.serve("a.webp", PNG, content_type="application/octet-stream")

    response = await service.http.post(RUNWARE, json={"url": provider_url + path})

    assert (response.status_code, response.json()["media_type"]) == (201, "image/webp")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "url"),
        ({"url": 1}, "url"),
        ({"url": "ftp://example.com/a.png"}, "url"),
        ({"url": "http://10.0.0.1/a.png"}, "url"),
        ({"url": "http://localtest.invalid/a.png"}, "url"),
        ({"url": "http://127.0.0.1:1/a.png"}, "url"),
        ({"url": "{host}/html"}, "url"),
        ({"url": "{host}/empty.png"}, "url"),
        ({"url": "{host}/large.png"}, "url"),
        ({"url": "{host}/endless.png"}, "url"),
        ({"url": "{host}/moved.png"}, "url"),
        ({"url": "{host}/cut.png"}, "url"),
        ({"url": "{host}/packed.png"}, "url"),
        ({"url": "{host}/a.png", "name": "x" * 256}, "name"),
        ({"url": "{host}/a.png", "name": "a\nb"}, "name"),
        ({"url": "{host}/a.png", "account": "x"}, "account"),
        ({"url": "{host}/a.png", "colour": 1}, "colour"),
    ],
    ids=str,
)
async def test_a_url_that_cannot_be_used_is_refused(
    given: Json, path: str, service: Service, provider: AssetProvider, provider_url: str
) -> None:
    many = [bytes(2**20)] * (RUNWARE_BYTES // 2**20 + 1)
    provider.serve("html", b"<p>", content_type="text/html")
    provider.serve("empty.png", content_type="image/png")
    provider.serve("large.png", PNG, content_type="image/png", content_length=str(2**40))
    provider.serve("endless.png", *many, content_type="image/png")
    provider.serve("moved.png", status=302, location="/files/a.png")
    provider.serve("cut.png", PNG, content_type="image/png", content_length=str(len(PNG) + 1))
    provider.serve("packed.png", PNG, content_type="image/png", content_encoding="gzip")
    if isinstance(given.get("url"), str):
        given = {**given, "url": given["url"].replace("{host}", f"{provider_url}/files")}

    response = await service.http.post(RUNWARE, json=given)

    assert problem_of(response)[0] == 422
    assert [error["path"] for error in response.json()["errors"]] == [path]
    assert (provider.uploads, await listed(service, RUNWARE)) == ([], [])


async def test_a_url_never_leads_to_a_private_address(
    provider: AssetProvider, provider_url: str
) -> None:
    port = provider_url.rpartition(":")[2]
    provider.serve("a.png", PNG, content_type="image/png")
    with sqlite_file() as database_url:
        env = {**providers_at(provider_url), "BELFRY_ALLOW_TARGETS": ""}
        async with running_service(database_url, **env) as service:
            url = f"http://localhost:{port}/files/a.png"
            response = await service.http.post(USEAPI, json={"url": url})

    (error,) = response.json()["errors"]
    assert (response.status_code, "not allowed" in error["message"]) == (422, True)
    assert "127.0.0.1" not in response.text
    assert provider.uploads == []


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (USEAPI, {"content-type": "text/plain"}, (415, "unsupported_media_type")),
        (USEAPI, {}, (415, "unsupported_media_type")),
        (RUNWARE, {"content-type": "image/gif"}, (415, "unsupported_media_type")),
        (
            USEAPI,
            {"content-type": "image/png", "content-encoding": "gzip"},
            (415, "unsupported_media_type"),
        ),
        (f"{USEAPI}?name=a%00b", {"content-type": "image/png"}, (422, "invalid_input")),
        (f"{USEAPI}?name={'a' * 256}", {"content-type": "image/png"}, (422, "invalid_input")),
        (f"{USEAPI}?account=x", {"content-type": "image/png"}, (422, "invalid_input")),
        (f"{RUNWARE}?account={EMAIL}", {"content-type": "image/png"}, (422, "invalid_input")),
        (f"{USEAPI}?colour=red", {"content-type": "image/png"}, (422, "invalid_input")),
        ("/v1/providers/runway_ai/assets", {"content-type": "image/png"}, (404, "not_found")),
        ("/v1/providers/none/assets", {"content-type": "image/png"}, (404, "not_found")),
    ],
)
async def test_what_the_provider_does_not_take_is_refused_before_it_is_sent(
    path: str,
    headers: dict[str, str],
    expected: tuple[int, str],
    service: Service,
    provider: AssetProvider,
) -> None:
    response = await service.http.post(path, content=PNG, headers=headers)

    assert problem_of(response) == expected
    assert (provider.uploads, await listed(service)) == ([], [])


async def test_a_file_that_is_announced_too_large_is_refused_before_it_is_sent(
    service: Service, provider: AssetProvider
) -> None:
    key = service.http.headers["authorization"]
    head = (
        f"POST {USEAPI} HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n"
        f"content-type: image/png\r\ncontent-length: {USEAPI_BYTES + 1}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.split(":")[-1]))
    writer.write(head.encode())

    line = await reader.readline()
    writer.close()

    assert line.startswith(b"HTTP/1.1 413")
    assert (provider.begun.is_set(), await listed(service)) == (False, [])


async def test_an_empty_file_is_refused(service: Service, provider: AssetProvider) -> None:
    responses = [await upload(service, content=b""), await upload(service, content=nothing())]

    assert [problem_of(response) for response in responses] == [(422, "invalid_input")] * 2
    assert (provider.uploads, await listed(service)) == ([], [])


async def nothing() -> AsyncIterator[bytes]:
    if PNG == b"":
        yield PNG


async def test_a_file_that_grows_too_large_on_its_way_is_refused(
    service: Service, provider: AssetProvider
) -> None:
    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(RUNWARE_BYTES // 2**18 + 1):
            yield bytes(2**18)

    with suppress(httpx.WriteError):
        response = await upload(service, RUNWARE, content=too_much())
        assert problem_of(response) == (413, "too_large")

    async def broken() -> bool:
        return provider.broken == 1

    await eventually(broken)
    assert (provider.uploads, await listed(service, RUNWARE)) == ([], [])


async def test_an_upload_that_its_client_breaks_off_leaves_nothing(
    service: Service, provider: AssetProvider
) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield PNG
        await provider.begun.wait()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await upload(service, content=half())

    async def gone() -> bool:
        return provider.broken == 1 and await listed(service) == []

    await eventually(gone)
    assert provider.uploads == []


ANSWERS: dict[str, tuple[Response, tuple[int, str], str | None]] = {
    "bad file": (
        JSONResponse({"error": "not an image of me@example.com", "code": 400}, 400),
        (422, "invalid_input"),
        None,
    ),
    "token": (
        JSONResponse({"error": "user:1-sandbox is wrong"}, 401),
        (502, "unauthorized"),
        None,
    ),
    "credits": (JSONResponse({"error": "pay"}, 402), (502, "insufficient_credits"), None),
    "busy": (
        JSONResponse({"error": "busy"}, 429, {"retry-after": "7"}),
        (503, "unavailable"),
        None,
    ),
    "broken": (Response("<html>", 500), (502, "provider_error"), None),
    "session": (JSONResponse({"error": "captcha"}, 596), (502, "provider_error"), None),
    "code in the body": (
        JSONResponse({"error": "no", "code": 400}),
        (422, "invalid_input"),
        None,
    ),
    "no id": (JSONResponse({"name": "x"}), (504, "submit_unknown"), "unknown"),
    "no JSON": (Response("<html>"), (504, "submit_unknown"), "unknown"),
    "null": (Response("null"), (504, "submit_unknown"), "unknown"),
    "list": (Response("[1, [], {}]"), (504, "submit_unknown"), "unknown"),
    "number as id": (JSONResponse({"assetId": [1]}), (504, "submit_unknown"), "unknown"),
    "relative id": (JSONResponse({"assetId": ".."}), (504, "submit_unknown"), "unknown"),
    "long id": (JSONResponse({"assetId": "a" * 2000}), (504, "submit_unknown"), "unknown"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_error_of_the_provider_is_a_problem(
    name: str, service: Service, provider: AssetProvider
) -> None:
    provider.answer, expected, status = ANSWERS[name]

    response = await upload(service)

    assert problem_of(response) == expected
    assert [one["status"] for one in await listed(service)] == ([status] if status else [])
    assert "sandbox" not in response.text
    assert EMAIL not in response.text
    assert response.headers.get("retry-after") == ("7" if name == "busy" else None)


async def test_a_provider_that_cannot_be_reached_is_503(clock: MovableClock) -> None:
    with sqlite_file() as database_url:
        async with running_service(database_url, 15.0, clock) as service:
            response = await upload(service)
            assets = await listed(service)

    assert (problem_of(response), assets) == ((503, "unavailable"), [])


async def test_a_provider_without_a_credential_is_named(provider_url: str) -> None:
    with sqlite_file() as database_url:
        env = {**providers_at(provider_url), "USEAPI_TOKEN": ""}
        async with running_service(database_url, **env) as service:
            response = await upload(service)
            everything = await service.http.get(USEAPI, params={"all": "true"})

    assert problem_of(response) == (422, "provider_not_configured")
    assert problem_of(everything) == (422, "provider_not_configured")


async def test_an_asset_whose_answer_was_lost_can_only_be_deleted(
    service: Service, provider: AssetProvider
) -> None:
    provider.answer = Response("<html>")
    await upload(service)
    (asset,) = await listed(service)

    response = await service.http.delete(f"{USEAPI}/{asset['id']}")

    assert (asset["status"], asset["provider_asset_id"]) == ("unknown", None)
    assert (response.status_code, await listed(service), provider.deleted) == (204, [], [])


async def test_an_upload_is_visible_until_its_end(
    service: Service, provider: AssetProvider, clock: MovableClock
) -> None:
    provider.gate.clear()
    task = asyncio.create_task(upload(service))
    await provider.read.wait()

    (begun,) = await listed(service)
    refused = await service.http.delete(f"{USEAPI}/{begun['id']}")
    clock.advance((UPLOAD_SECONDS + 61) * SECOND)
    (late,) = await listed(service)
    provider.gate.set()
    done = (await task).json()

    assert (begun["status"], late["status"], done["status"]) == ("uploading", "unknown", "ready")
    assert begun["id"] == done["id"]
    assert problem_of(refused) == (409, "conflict")


async def test_an_upload_survives_the_end_of_the_service_as_a_row(
    provider: AssetProvider, provider_url: str, tmp_path: Path
) -> None:
    provider.gate.clear()
    database_url = f"sqlite:///{tmp_path / 'belfry.db'}"
    async with a_process(database_url, tmp_path, **providers_at(provider_url)) as process:
        task = asyncio.create_task(upload(cast("Service", process)))
        await provider.read.wait()
        await process.kill()
        with pytest.raises(httpx.TransportError):
            await task
        await process.start()

        (asset,) = (await process.get(USEAPI))["data"]

    assert (asset["status"], asset["provider_asset_id"]) == ("uploading", None)


async def test_a_tenant_may_have_some_uploads_in_progress(
    service: Service, provider: AssetProvider
) -> None:
    provider.gate.clear()
    tasks = [asyncio.create_task(upload(service)) for _ in range(MAX_UPLOADS)]

    async def all_begun() -> bool:
        return len(provider.uploads) == MAX_UPLOADS

    await eventually(all_begun)
    refused = await upload(service)
    provider.gate.set()
    done = [await task for task in tasks]

    assert problem_of(refused) == (429, "too_many_uploads")
    assert refused.headers["retry-after"]
    assert [response.status_code for response in done] == [201] * MAX_UPLOADS
    assert (await upload(service)).status_code == 201


async def test_a_deleted_asset_is_gone_here_and_there(
    service: Service, provider: AssetProvider
) -> None:
    asset = (await upload(service)).json()
    path = f"{USEAPI}/{asset['id']}"

    first = await service.http.delete(path)
    second = await service.http.delete(path)

    assert (first.status_code, second.status_code) == (204, 404)
    assert provider.deleted == [asset["provider_asset_id"]]
    assert (await service.http.get(path)).status_code == 404


async def test_an_asset_that_is_gone_at_the_provider_counts_as_deleted(
    service: Service, provider: AssetProvider
) -> None:
    asset = (await upload(service)).json()
    provider.assets.clear()

    response = await service.http.delete(f"{USEAPI}/{asset['id']}")

    assert (response.status_code, await listed(service)) == (204, [])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (JSONResponse({"error": "busy"}, 503), (503, "unavailable")),
        (JSONResponse({"error": "x"}, 500), (502, "provider_error")),
        (JSONResponse({"error": "no", "code": 401}), (502, "unauthorized")),
    ],
    ids=["busy", "broken", "refused"],
)
async def test_an_asset_is_kept_if_the_provider_does_not_delete_it(
    answer: Response, expected: tuple[int, str], service: Service, provider: AssetProvider
) -> None:
    asset = (await upload(service)).json()
    provider.answer = answer

    response = await service.http.delete(f"{USEAPI}/{asset['id']}")

    assert problem_of(response) == expected
    assert [one["id"] for one in await listed(service)] == [asset["id"]]


async def test_an_asset_of_runware_is_only_forgotten(
    service: Service, provider: AssetProvider
) -> None:
    asset = (await upload(service, RUNWARE)).json()

    response = await service.http.delete(f"{RUNWARE}/{asset['id']}")

    assert (response.status_code, len(provider.uploads)) == (204, 1)
    assert await listed(service, RUNWARE) == []


async def test_a_file_that_two_assets_share_is_deleted_with_the_last(
    service: Service, provider: AssetProvider
) -> None:
    shared = provider.add("bell.png")
    provider.answer = JSONResponse(shared)
    first, second = (await upload(service)).json(), (await upload(service)).json()
    provider.answer = None

    await service.http.delete(f"{USEAPI}/{first['id']}")
    kept = list(provider.deleted)
    await service.http.delete(f"{USEAPI}/{second['id']}")

    assert (kept, provider.deleted) == ([], [shared["assetId"]])


async def test_assets_are_listed_page_by_page(service: Service) -> None:
    assets = [(await upload(service)).json() for _ in range(3)]
    await upload(service, RUNWARE)

    page = await service.get(USEAPI, limit=2)
    rest = await service.get(USEAPI, limit=2, cursor=page["next_cursor"])

    assert page["data"] + rest["data"] == assets[::-1]
    assert rest["next_cursor"] is None


async def test_a_tenant_reaches_only_its_own_assets(
    service: Service, provider: AssetProvider
) -> None:
    asset = (await upload(service)).json()
    path = f"{USEAPI}/{asset['id']}"
    async with await another(service, "jobs:read", "jobs:write") as other:
        responses = [await other.get(path), await other.delete(path)]
        found = (await other.get(USEAPI)).json()["data"]
        everything = await other.get(USEAPI, params={"all": "true"})
    wrong_provider = await service.http.get(f"{RUNWARE}/{asset['id']}")

    assert [response.status_code for response in responses] == [404, 404]
    assert (found, provider.deleted, wrong_provider.status_code) == ([], [], 404)
    assert problem_of(everything) == (403, "forbidden")


@pytest.mark.parametrize(
    ("scope", "method", "status"),
    [("jobs:read", "POST", 403), ("jobs:write", "POST", 201), ("jobs:write", "GET", 403)],
)
async def test_an_upload_needs_the_scope_to_write_jobs(
    scope: str, method: str, status: int, service: Service
) -> None:
    async with await another(service, scope) as client:
        headers = {"content-type": "image/png"}
        content = PNG if method == "POST" else None
        response = await client.request(method, USEAPI, content=content, headers=headers)

    assert response.status_code == status


async def test_an_admin_sees_all_assets_of_the_account(
    service: Service, provider: AssetProvider
) -> None:
    foreign = provider.add("theirs.png")
    async with await another(service, "jobs:write") as other:
        headers = {"content-type": "image/png"}
        mine = (await other.post(USEAPI, content=PNG, headers=headers)).json()

    page = await service.get(USEAPI, all="true", limit=1, account=EMAIL)
    rest = await service.get(USEAPI, all="true", limit=1, cursor=page["next_cursor"])
    last = await service.get(USEAPI, all="true", limit=1, cursor=2)

    (first,), (second,) = page["data"], rest["data"]
    assert (first["provider_asset_id"], first["asset"]) == (foreign["assetId"], None)
    assert (second["asset"], second["tenant"]) == (mine["id"], "other")
    assert (last["data"], last["next_cursor"]) == ([], None)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (RUNWARE, {"all": "true"}, (422, "invalid_input")),
        (USEAPI, {"all": "true", "cursor": "x"}, (422, "invalid_input")),
        (USEAPI, {"all": "true", "cursor": "9999"}, (422, "invalid_input")),
        (USEAPI, {"all": "false"}, (422, "invalid_input")),
        (USEAPI, {"account": EMAIL}, (422, "invalid_input")),
        (USEAPI, {"cursor": "7"}, (422, "invalid_input")),
        ("/v1/providers/runway_ai/assets", {}, (404, "not_found")),
        ("/v1/providers/none/assets", {}, (404, "not_found")),
        ("/v1/providers/runway_ai/assets/ast_1", {}, (404, "not_found")),
    ],
)
async def test_an_invalid_list_is_refused(
    path: str, query: dict[str, str], expected: tuple[int, str], service: Service
) -> None:
    assert problem_of(await service.http.get(path, params=query)) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (JSONResponse({"error": "x"}, 400), (422, "invalid_input")),
        (JSONResponse([{}] * 1001), (504, "submit_unknown")),
        (JSONResponse({"error": "x", "code": 429}), (503, "unavailable")),
    ],
    ids=["refused", "too many", "busy"],
)
async def test_a_list_that_the_provider_refuses_is_a_problem(
    answer: Response, expected: tuple[int, str], service: Service, provider: AssetProvider
) -> None:
    provider.answer = answer

    assert problem_of(await service.http.get(USEAPI, params={"all": "true"})) == expected


async def test_a_job_with_an_asset_of_another_tenant_is_refused(service: Service) -> None:
    theirs = (await upload(service)).json()["provider_asset_id"]
    image = (await upload(service, RUNWARE)).json()["provider_asset_id"]
    unknown = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
    describe: Json = {"provider": "useapi", "operation": "frames.describe"}
    caption: Json = {"provider": "runware", "operation": "imageCaption"}
    model = {"model": "runware:150@2"}
    async with await another(service, "jobs:read", "jobs:write") as other:

        async def submit(body: Any) -> Any:
            return await other.post("/v1/jobs", json=body)

        refused = [
            await submit({**describe, "input": {"image_assetId": theirs}}),
            await submit({**caption, "input": {"inputImage": image.upper(), **model}}),
            await submit(
                [
                    {**caption, "input": {"inputImage": unknown, **model}},
                    {**caption, "input": {"inputImage": image, **model}},
                ]
            ),
            await submit(
                {
                    "provider": "useapi",
                    "operation": "gen4.create",
                    "input": {"firstImage_assetId": theirs, "images": [{"id": theirs}]},
                }
            ),
        ]
        accepted = [
            await submit({**caption, "input": {"inputImage": unknown, **model}}),
            await submit({**describe, "input": {"image_assetId": "user:1-asset:theirs"}}),
        ]
        jobs = (await other.get("/v1/jobs")).json()["data"]

    paths = [[error["path"] for error in response.json()["errors"]] for response in refused]
    assert [response.status_code for response in refused] == [422] * 4
    assert paths == [
        ["input.image_assetId"],
        ["input.inputImage"],
        ["[1].input.inputImage"],
        ["input.firstImage_assetId", "input.images"],
    ]
    assert [response.status_code for response in accepted] == [202, 202]
    assert len(jobs) == 2


async def test_the_catalog_says_which_files_a_provider_takes(service: Service) -> None:
    catalog = {one["name"]: one for one in (await service.get("/v1/providers"))["data"]}

    assert catalog["runware"]["assets"] == {
        "max_bytes": RUNWARE_BYTES,
        "media_types": ["image/jpeg", "image/png", "image/webp"],
    }
    assert catalog["runway_ai"]["assets"] is None
