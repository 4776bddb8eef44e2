"""The demo's subscriber: down at first, then verifying and counting what it is sent."""

import base64
import hashlib
import hmac
import json
from collections import defaultdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DOWN_FOR = 3


class DemoReceiver:
    """Refuses the first requests as a receiver does that is being deployed."""

    def __init__(self) -> None:
        self.secret = ""
        self.refused = 0
        self.unverified = 0
        self.events: dict[str, list[str]] = defaultdict(list)
        self._ids: set[str] = set()
        self.app = Starlette(routes=[Route("/hook", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        if self.refused < DOWN_FOR:
            self.refused += 1
            return Response(status_code=503, headers={"retry-after": "1"})
        if not self._signed(request, body):
            self.unverified += 1
            return Response(status_code=401)
        message_id = request.headers["webhook-id"]
        if message_id not in self._ids:
            self._ids.add(message_id)
            event = json.loads(body)
            self.events[event["data"]["id"]].append(event["type"])
        return Response(status_code=204)

    def _signed(self, request: Request, body: bytes) -> bool:
        """Verify as Standard Webhooks says: HMAC over id, time and the bytes as they came."""
        given = request.headers
        signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        signatures = given["webhook-signature"].split()
        return any(hmac.compare_digest(f"v1,{expected}", one) for one in signatures)
