"""The npm package of Standard Webhooks verifies webhooks: `make interop`; needs node."""

import asyncio
import json
import os

import pytest

from tests.support.paths import ROOT
from tests.support.receivers import Received, Receiver
from tests.support.service_harness import Service

pytestmark = pytest.mark.anyio

MODULES = ROOT / ".venv" / "npm" / "node_modules"
DONE = {"status": "SUCCEEDED", "artifacts": [{"id": "a", "url": "https://example.com/ü.png"}]}
SCRIPT = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""


async def verified_by_npm(webhook: Received, secret: str) -> str:
    """Return the type of the event, or the error message of the package."""
    stdin = {"secret": secret, "body": webhook.body.decode(), "headers": webhook.headers}
    pipe = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(
        "node",
        "-e",
        SCRIPT,
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES)},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    out, err = await node.communicate(json.dumps(stdin).encode())
    return str(json.loads(out)["type"]) if node.returncode == 0 else err.decode()


async def test_the_npm_package_verifies_webhooks_during_a_secret_rotation(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url)
    rotated = await service.post(f"/v1/subscriptions/{created['id']}/rotate-secret")
    job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
    await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE})
    (webhook,) = await receiver.wait()

    results = [await verified_by_npm(webhook, one["secret"]) for one in (created, rotated)]
    wrong_secret = await verified_by_npm(webhook, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    assert results == ["job.succeeded", "job.succeeded"]
    assert "No matching signature" in wrong_secret
