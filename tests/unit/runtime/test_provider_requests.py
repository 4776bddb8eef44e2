"""What a provider gets on the wire: URL, headers and body as its document asks for."""

import json
import ssl

import pytest

from service.providers import registry
from service.providers.protocol import ProviderTask, Reply
from service.runtime.clients.provider_client import ProviderClient
from service.runtime.settings import ProviderAccount
from tests.support.receivers import Receiver

pytestmark = pytest.mark.anyio

REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
IMAGE = "https://example.com/a.jpg"


@pytest.mark.parametrize(
    ("provider", "operation", "given", "path"),
    [
        ("useapi", "frames.create", {"text_prompt": "x"}, "/frames/create"),
        ("useapi", "frames.describe", {"image_assetId": "a1"}, "/frames/describe/a1"),
        ("runware", "imageCaption", {"inputImage": IMAGE, "model": "runware:150@2"}, ""),
        ("runway_ai", "generate-image", {"prompt": "x"}, "/v1/generate-image"),
        ("runway_ai", "delete-media", {"media_url": IMAGE, "auth_token": "t"}, "/v1/delete-media"),
    ],
)
async def test_a_request_has_the_bearer_token_and_its_body_is_json(
    provider: str, operation: str, given: dict[str, str], path: str, receiver: Receiver
) -> None:
    account = ProviderAccount(base_url=receiver.url, token="user:1-secret", max_jobs=1)  # noqa: S106
    client = ProviderClient(account, ssl.create_default_context())
    task = ProviderTask(ref=REF, operation=operation, input=given)

    reply = await client.send(registry()[provider].submit([task]), 5)
    await client.close()
    (sent,) = receiver.received

    assert isinstance(reply, Reply)
    assert sent.path == receiver.path + path
    assert sent.headers["authorization"] == "Bearer user:1-secret"
    assert sent.headers["accept"] == "application/json"
    if operation == "frames.describe":
        assert (sent.body, "content-type" in sent.headers) == (b"", False)
    else:
        body = json.loads(sent.body)
        assert sent.headers["content-type"] == "application/json"
        assert given.items() <= (body[0] if provider == "runware" else body).items()
