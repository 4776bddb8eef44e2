"""The demo's webhook receiver: rejects the first requests, then verifies and counts webhooks."""

import base64
import hashlib
import hmac
import json
from collections import defaultdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

REJECTED_REQUESTS = 3


class DemoReceiver:
    """A webhook receiver that answers 503 at first, like a receiver during a deployment.

    *secret* is the subscription's secret (`whsec_…`); *events* lists event types by job id.
    """

    def __init__(self) -> None:
        self.secret = ""
        self.rejected = 0
        self.unverified = 0
        self.events: dict[str, list[str]] = defaultdict(list)
        self._ids: set[str] = set()
        self.app = Starlette(routes=[Route("/hook", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        if self.rejected < REJECTED_REQUESTS:
            self.rejected += 1
            return Response(status_code=503, headers={"retry-after": "1"})
        if not self._is_signed(request, body):
            self.unverified += 1
            return Response(status_code=401)
        message_id = request.headers["webhook-id"]
        if message_id not in self._ids:
            self._ids.add(message_id)
            event = json.loads(body)
            self.events[event["data"]["id"]].append(event["type"])
        return Response(status_code=204)

    def _is_signed(self, request: Request, body: bytes) -> bool:
        """Verify the signature by Standard Webhooks: HMAC over id, timestamp and raw body."""
        headers = request.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        signatures = headers["webhook-signature"].split()
        return any(hmac.compare_digest(f"v1,{expected}", given) for given in signatures)
