"""Emulates the assets of providers, and a host of files; a test decides when it answers."""

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PREFIX = b'[{"taskType":"imageUpload","taskUUID":"'
EMAIL = "me@example.com"


class Uploaded(msgspec.Struct):
    """An upload as it arrived; of its bytes only the digest is kept."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    media_type: str = ""
    size: int = 0
    digest: str = ""


class AssetProvider:
    """Takes uploads like useapi.net and Runware; *answer* replaces its own response.

    *begun* is set when the first bytes of an upload are there, and *read* when all are; it answers
    when *gate* is set. *files* are served at `/files/{name}`.
    """

    def __init__(self) -> None:
        self.begun, self.read, self.gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.answer: Response | None = None
        self.uploads: list[Uploaded] = []
        self.broken = 0
        self.deleted: list[str] = []
        self.assets: dict[str, dict[str, Any]] = {}
        self.files: dict[str, tuple[dict[str, str], AsyncIterator[bytes], int]] = {}
        self.app = Starlette(
            routes=[
                Route("/v1", self._runware, methods=["POST"]),
                Route("/v1/runwayml/assets/", self._upload, methods=["POST"]),
                Route("/v1/runwayml/assets/", self._list, methods=["GET"]),
                Route("/v1/runwayml/assets/{id}", self._delete, methods=["DELETE"]),
                Route("/files/{name}", self._file),
            ]
        )

    def serve(
        self, name: str, *chunks: bytes | asyncio.Event, status: int = 200, **headers: str
    ) -> str:
        """Serve a file from *chunks*, with a wait for each event among them; returns its path."""

        async def content() -> AsyncIterator[bytes]:
            for chunk in chunks:
                if isinstance(chunk, bytes):
                    yield chunk
                else:
                    await chunk.wait()

        lines = {key.replace("_", "-"): value for key, value in headers.items()}
        self.files[name] = (lines, content(), status)
        return f"/files/{name}"

    async def _file(self, request: Request) -> Response:
        headers, content, status = self.files[request.path_params["name"]]
        return StreamingResponse(content, status, headers)

    async def _receive(self, request: Request) -> bytes:
        """Read a body; returns its first 200 bytes."""
        upload = Uploaded(request.url.path, dict(request.query_params), dict(request.headers))
        upload.media_type = upload.headers.get("content-type", "")
        digest, head, text = hashlib.sha256(), b"", b""
        try:
            async for chunk in request.stream():
                self.begun.set()
                upload.size += len(chunk)
                head = (head + chunk)[:200]
                digest.update(chunk)
                text = text + chunk if len(text) < 2**20 else text
        except ClientDisconnect:
            self.broken += 1
            raise
        if head.startswith(PREFIX):
            (task,) = msgspec.json.decode(text)
            upload.media_type, _, encoded = task["image"].partition(";base64,")
            digest = hashlib.sha256(b64decode(encoded, validate=True))
        upload.digest = digest.hexdigest()
        self.uploads.append(upload)
        self.read.set()
        await self.gate.wait()
        return head

    async def _upload(self, request: Request) -> Response:
        await self._receive(request)
        if self.answer is not None:
            return self.answer
        asset = self.add(request.query_params["name"])
        return JSONResponse({**asset, "size": self.uploads[-1].size})

    def add(self, name: str) -> dict[str, Any]:
        uuid = str(uuid4())
        asset_id = f"user:1-runwayml:{EMAIL}-asset:{uuid}"
        url = f"https://runway.example.com/{uuid}.png"
        self.assets[asset_id] = {"assetId": asset_id, "id": uuid, "name": name, "url": url}
        return self.assets[asset_id]

    async def _list(self, request: Request) -> Response:
        if self.answer is not None:
            return self.answer
        start, limit = int(request.query_params["offset"]), int(request.query_params["limit"])
        return JSONResponse(list(self.assets.values())[start : start + limit])

    async def _delete(self, request: Request) -> Response:
        if self.answer is not None:
            return self.answer
        asset_id = request.path_params["id"]
        self.deleted.append(asset_id)
        if self.assets.pop(asset_id, None) is None:
            return JSONResponse({"error": "Not found.", "code": 404}, 404)
        return JSONResponse({"success": True})

    async def _runware(self, request: Request) -> Response:
        await self._receive(request)
        if self.answer is not None:
            return self.answer
        item = {"taskType": "imageUpload", "imageUUID": str(uuid4())}
        return JSONResponse({"data": [item]})
