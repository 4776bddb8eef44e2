"""What was sent, judged by the npm package of Standard Webhooks: `make interop`, with node."""

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
JUDGE = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""


async def judged(told: Received, secret: str) -> str:
    """The type of the event, or what the package has against it."""
    given = {"secret": secret, "body": told.body.decode(), "headers": told.headers}
    pipe = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(
        *("node", "-e", JUDGE),
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES)},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    out, err = await node.communicate(json.dumps(given).encode())
    return str(json.loads(out)["type"]) if node.returncode == 0 else err.decode()


async def test_npm_verifies_what_was_sent_during_a_rotation_too(
    service: Service, receiver: Receiver
) -> None:
    made = await service.subscribe(receiver.url)
    rotated = await service.post(f"/v1/subscriptions/{made['id']}/rotate-secret")
    job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
    await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE})
    (told,) = await receiver.wait()

    verdicts = [await judged(told, one["secret"]) for one in (made, rotated)]
    stranger = await judged(told, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    assert verdicts == ["job.succeeded", "job.succeeded"]
    assert "No matching signature" in stranger
