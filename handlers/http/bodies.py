"""Request bodies: read with limits on size and time, decoded with a path for each error."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from handlers.http.multipart import FormPart, read_parts
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.runtime.tasks import in_thread_if_large

MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes of a request body."""
BODY_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 20.0
"""The time for each part of a body that is streamed."""
_PATH_MARK: Final = " - at `"
_FIELD_MARK: Final = "field `"
MAX_MESSAGE: Final = 200
"""Characters of an error message or field name; msgspec repeats names and values it was given."""
T = TypeVar("T")


async def read_body(request: Request) -> bytes:
    """Read the whole body, or raise an HTTPException.

    Status 400: contradictory length headers or an incomplete body. 408: not complete after 10 s.
    413: over 8 MiB. 415: compressed.
    """
    announced_size(request, MAX_BODY)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request)
    except TimeoutError:
        raise HTTPException(
            408,
            f"The body was not complete after {BODY_SECONDS:.0f} s.",
            {"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise HTTPException(400, "The connection closed before the body was complete.") from None


def announced_size(request: Request, max_bytes: int) -> int | None:
    """Check the headers about the body, and return its size in bytes; None if it is not announced.

    HTTPException 400: contradictory length headers. 413: too large. 415: compressed.
    """
    headers = request.headers
    if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise HTTPException(415, "Compressed bodies are not supported; send it uncompressed.")
    length = headers.get("content-length")
    if length is None:
        return None
    if "transfer-encoding" in headers:
        raise HTTPException(400, "Send either Content-Length or Transfer-Encoding, not both.")
    if int(length) > max_bytes:
        raise HTTPException(413, f"The body may have at most {max_bytes} bytes.")
    return int(length)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large(MAX_BODY)
    return bytes(body)


async def read_chunks(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    HTTPException 400: the body is incomplete. 408: nothing came for 20 s. 413: too large.
    """
    stream, size = request.stream(), 0
    try:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(stream, b"")
            if not chunk:
                return
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            yield chunk
    except TimeoutError:
        detail = f"Nothing of the body came for {IDLE_SECONDS:.0f} s."
        raise HTTPException(408, detail, {"connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "The connection closed before the body was complete.") from None


def _too_large(max_bytes: int) -> HTTPException:
    detail = f"The body may have at most {max_bytes} bytes."
    return HTTPException(413, detail, {"connection": "close"})


async def read_json_body(request: Request) -> Any:
    """Read and decode a JSON body; HTTPException 415 for other media types, Invalid if malformed.

    Large bodies are decoded in a thread.
    """
    media_type = media_type_of(request) or "application/json"
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "Send JSON with Content-Type: application/json.")
    body = await read_body(request)
    try:
        return await in_thread_if_large(len(body), read_json, body)
    except UnreadableJson as exc:
        raise Invalid(
            [FieldError("", str(exc))], "The body cannot be read as JSON.", "invalid_json"
        ) from exc


async def read_form(request: Request) -> list[FormPart]:
    """Read a multipart form; HTTPException 400 if it is malformed. Large ones use a thread."""
    body = await read_body(request)
    return await in_thread_if_large(len(body), read_parts, body, request.headers["content-type"])


def is_form(request: Request) -> bool:
    return media_type_of(request) == "multipart/form-data"


def media_type_of(request: Request) -> str:
    """Return the media type of the body in lower case, without parameters; may be empty."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def convert(value: Any, kind: type[T], prefix: str = "", *, strict: bool = True) -> T:
    """Convert *value* to *kind*; Invalid gives the path of the error, which begins with *prefix*.

    Without *strict*, strings are converted to numbers and other types, as query values need.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        raise Invalid([_field_error(str(exc), prefix)]) from exc


def _field_error(text: str, prefix: str) -> FieldError:
    """Split the message of msgspec into path and message.

    It splits at the last path mark, because a field's name may contain one.
    """
    message, _, location = text.rpartition(_PATH_MARK) if _PATH_MARK in text else (text, "", "")
    path = location.removeprefix("key` in `").removeprefix("$").removesuffix("`")
    _, has_field, field = message.partition(_FIELD_MARK)
    if has_field:
        path = f"{path}.{field.removesuffix('`')[:MAX_MESSAGE]}"
        message = "unknown field" if "unknown" in message else "is required"
    path = path.lstrip(".")
    separator = "" if prefix in ("", "?") or not path else "."
    return FieldError(f"{prefix}{separator}{path}", message[:MAX_MESSAGE])
