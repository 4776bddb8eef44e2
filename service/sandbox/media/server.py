"""Serves the media files, without credentials, and knows which were deleted."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.media import glb, mp4, png, wav
from service.sandbox.media.files import FORMATS, MediaFile, read_path
from service.sandbox.media.scenery import Scenery

MAX_DELETED: Final = 10_000
_RANGE: Final = re.compile(r"bytes=(\d{0,10})-(\d{0,10})")


@lru_cache(maxsize=64)
def render(file: MediaFile) -> bytes:
    """Make the bytes of *file*, always the same; this takes some milliseconds."""
    if file.kind == "video":
        return mp4.encode(file)
    if file.kind == "audio":
        return wav.encode(file)
    if file.kind == "model":
        return glb.encode(file)
    scenery = Scenery(file, file.width, file.height)
    return png.encode(file.width, file.height, scenery.palette, scenery.draw())


class MediaServer:
    """Serves the files that the sandbox made: each exists from its URL on, until it is deleted.

    The newest *max_deleted* deletions are remembered.
    """

    def __init__(self, max_deleted: int = MAX_DELETED) -> None:
        self._max_deleted = max_deleted
        self._deleted: dict[str, None] = {}

    def routes(self) -> list[Route]:
        return [Route("/media/{kind}/{name}", self._get)]

    def find(self, url: str, base_url: str) -> MediaFile | None:
        """Find the file at *url*; None unless it is one of this sandbox, at *base_url*.

        The query and the fragment of *url* have no meaning.
        """
        try:
            parts, base = urlsplit(url), urlsplit(base_url)
        except ValueError:
            return None
        file = read_path(parts.path)
        is_here = (parts.scheme, parts.netloc) == (base.scheme, base.netloc)
        return None if file is None or not is_here or file.path in self._deleted else file

    def delete(self, file: MediaFile) -> bool:
        """Delete *file*; return False if it was deleted before."""
        if file.path in self._deleted:
            return False
        self._deleted[file.path] = None
        if len(self._deleted) > self._max_deleted:
            del self._deleted[next(iter(self._deleted))]
        return True

    async def _get(self, request: Request) -> Response:
        file = self.find(str(request.url), str(request.base_url))
        if file is None:
            raise HTTPException(404)
        content = await run_in_threadpool(render, file)
        etag = f'"{file.path}"'
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "X-Content-Type-Options": "nosniff"}
        status, part = 200, content
        if request.headers.get("if-range", etag) == etag:
            status, part = _select(request.headers.get("range", ""), content, headers)
        return Response(part, status, headers, media_type=FORMATS[file.kind][1])


def _select(header: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Answer the Range *header* (RFC 9110, 14.2), with Content-Range added to *headers*.

    Anything but one range of bytes is ignored: the whole content is sent.
    """
    size, match = len(content), _RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return 200, content
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last or size), size - 1)
    else:
        start, end = max(0, size - int(last)), size - 1
    if first and last and int(last) < start:
        return 200, content
    if start >= size:
        headers["Content-Range"] = f"bytes */{size}"
        return 416, b""
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return 206, content[start : end + 1]
