"""Assets at the providers: requests as they are sent, and every answer that may come back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.jobs.results import ErrorCode, JobError
from service.providers import registry
from service.providers.assets import asset_apis
from service.providers.assets.protocol import AssetApi, NewAsset, ProviderAsset, Refusal
from service.providers.protocol import Inconclusive, Reply, RetryLater
from tests.support.factories import a_ref

APIS = asset_apis()
USEAPI, RUNWARE = APIS["useapi"], APIS["runware"]
UUID = a_ref(7)
ASSET_ID = f"user:1-runwayml:me+a@example.com-asset:{UUID}"
REF = a_ref(1)


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Reply(status=status, headers=headers, body=content)


def new_asset(**more: Any) -> NewAsset:
    fields: dict[str, Any] = {"ref": REF, "name": "a bell&more.png", "media_type": "image/png"}
    return NewAsset(**{**fields, **more})


def test_only_providers_that_exist_take_assets() -> None:
    assert APIS.keys() <= registry().keys()


def test_the_media_types_of_all_rules_are_in_lower_case() -> None:
    for api in APIS.values():
        assert all(kind == kind.lower() and "/" in kind for kind in api.rules.media_types)


def test_an_upload_to_useapi_is_raw() -> None:
    call = USEAPI.upload(new_asset(account="me+a@example.com"))

    assert call.path == "/assets/?name=a%20bell%26more.png&email=me%2Ba%40example.com"
    assert (call.media_type, call.before, call.after, call.in_base64) == (
        "image/png",
        b"",
        b"",
        False,
    )


def test_an_upload_to_runware_is_a_task_around_a_data_uri() -> None:
    call = RUNWARE.upload(new_asset(media_type="image/webp"))

    task = {
        "taskType": "imageUpload",
        "taskUUID": REF,
        "image": "data:image/webp;base64,aGVsbG8=",
    }
    assert msgspec.json.decode(call.before + b"aGVsbG8=" + call.after) == [task]
    assert (call.path, call.media_type, call.in_base64) == ("", "application/json", True)


@pytest.mark.parametrize(
    ("body", "size", "kind"),
    [
        ({"assetId": ASSET_ID, "name": "a.png", "size": 7}, 7, "image/png"),
        ({"assetId": ASSET_ID, "name": "a.png", "size": "7"}, 7, "image/png"),
        ({"assetId": ASSET_ID, "fileSize": 7, "fileExtStandardized": "mp4"}, 7, "video/mp4"),
        ({"assetId": ASSET_ID, "name": "a.b", "size": -1}, None, None),
        ({"assetId": ASSET_ID, "name": ["x"], "size": {}, "url": 5}, None, None),
    ],
)
def test_an_asset_of_useapi_is_read(body: Any, size: int | None, kind: str | None) -> None:
    found = USEAPI.read_upload(reply(body))

    assert isinstance(found, ProviderAsset)
    assert (found.id, found.size, found.media_type) == (ASSET_ID, size, kind)


def test_a_url_is_kept_if_it_is_one_and_not_too_long() -> None:
    urls = ["https://a.example/b", "javascript:alert(1)", "https://a.example/" + "b" * 9000]

    found = [USEAPI.read_upload(reply({"assetId": ASSET_ID, "url": url})) for url in urls]

    assert [one.url for one in found if isinstance(one, ProviderAsset)] == [urls[0], None, None]


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"taskType": "imageUpload", "taskUUID": REF, "imageUUID": UUID}]},
        {"data": {"taskType": "imageUpload", "taskUUID": REF, "imageUUID": UUID}},
        [{"imageUUID": UUID}],
        {"imageUUID": UUID},
        {"data": [{"imageUUID": UUID}], "errors": []},
    ],
)
def test_an_image_of_runware_is_read_in_every_envelope(body: Any) -> None:
    assert RUNWARE.read_upload(reply(body)) == ProviderAsset(id=UUID)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"errors": [{"code": "invalidImage", "message": "no"}]}, 400, ErrorCode.INVALID_INPUT),
        ({"errors": [{"code": "invalidApiKey", "message": "k"}]}, 401, ErrorCode.UNAUTHORIZED),
        ({"errors": [{"code": "odd", "message": "no"}]}, 200, ErrorCode.PROVIDER_ERROR),
        ({"errors": [{"code": "odd", "message": "no"}]}, 400, ErrorCode.INVALID_INPUT),
        ({"errors": [{"code": "imageBlocked", "message": "no"}]}, 200, ErrorCode.MODERATED),
        (b"<html>", 500, ErrorCode.PROVIDER_ERROR),
        ([{}] * 1001, 402, ErrorCode.INSUFFICIENT_CREDITS),
    ],
)
def test_an_error_of_runware_is_classified(body: Any, status: int, code: ErrorCode) -> None:
    error = RUNWARE.read_upload(reply(body, status))

    assert isinstance(error, JobError)
    assert error.code is code


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"errors": [{"code": "rateLimitExceeded", "message": "slow"}]}, 400),
        ({"errors": [{"code": "odd", "message": "slow"}]}, 503),
        (b"", 429),
    ],
)
def test_a_busy_runware_is_tried_later(body: Any, status: int) -> None:
    found = RUNWARE.read_upload(reply(body, status, **{"retry-after": "9"}))

    assert isinstance(found, RetryLater)
    assert found.retry_after_seconds == 9


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"data":[]}', b'{"assetId":" "}'])
@pytest.mark.parametrize("api", [USEAPI, RUNWARE], ids=["useapi", "runware"])
def test_an_answer_without_an_id_is_inconclusive(body: bytes, api: AssetApi) -> None:
    assert isinstance(api.read_upload(reply(body)), Inconclusive)


def test_an_asset_of_useapi_is_deleted_by_its_whole_id() -> None:
    call = USEAPI.delete(ASSET_ID)

    assert call is not None
    assert (call.method, call.path) == (
        "DELETE",
        f"/assets/user:1-runwayml:me%2Ba@example.com-asset:{UUID}",
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"success": True}),
        (204, b""),
        (404, {"error": "Not found.", "code": 404}),
        (410, b""),
        (200, {"error": "Not found.", "code": 404}),
    ],
)
def test_an_asset_that_is_gone_is_deleted(status: int, body: Any) -> None:
    assert USEAPI.read_delete(reply(body, status)) is None


def test_runware_neither_deletes_nor_lists() -> None:
    assert RUNWARE.delete(UUID) is None
    assert RUNWARE.page(None, 0, 10) is None
    assert RUNWARE.read_delete(reply({})) is None
    assert RUNWARE.read_page(reply({})) == []


def test_a_page_of_useapi_leaves_out_what_has_no_id() -> None:
    call = USEAPI.page("me@example.com", 50, 10)
    found = USEAPI.read_page(reply([{"assetId": ASSET_ID}, {}, None, 7, {"assetId": ""}]))

    assert call is not None
    assert call.path == "/assets/?offset=50&limit=10&email=me%40example.com"
    assert found == [ProviderAsset(id=ASSET_ID)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["assetId", "data", "errors", "error", "code", "imageUUID", "size"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True)
@given(body=JSON, status=st.sampled_from([200, 400, 401, 404, 422, 429, 500, 596]))
def test_no_answer_raises(body: Any, status: int) -> None:
    answer = reply(msgspec.json.encode(body), status)

    for api in APIS.values():
        assert isinstance(api.read_upload(answer), ProviderAsset | Refusal)
        assert isinstance(api.read_page(answer), list | Refusal)
        assert api.read_delete(answer) is None or isinstance(api.read_delete(answer), Refusal)
