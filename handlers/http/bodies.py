"""Bodies: read within a size and a time, decoded with every fault named by its path."""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.runtime.tasks import in_thread_if_large

MAX_BODY: Final = 8 * 1024 * 1024
BODY_SECONDS: Final = 10.0
_PLACE: Final = " - at `"
_FIELD: Final = "field `"
MAX_SAID: Final = 200
"""Characters of a fault; msgspec repeats the names and values it was given."""
T = TypeVar("T")


async def read_body(request: Request) -> bytes:
    """Read the whole body: 413 over 8 MiB, 408 after 10 s, 415 when it is compressed."""
    headers = request.headers
    if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise HTTPException(415, "Compressed bodies are not taken; send it as it is.")
    length = headers.get("content-length")
    if length is not None and "transfer-encoding" in headers:
        raise HTTPException(400, "Content-Length and Transfer-Encoding exclude each other.")
    if length is not None and int(length) > MAX_BODY:
        raise HTTPException(413, f"A body may have at most {MAX_BODY} bytes.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request)
    except TimeoutError:
        raise HTTPException(
            408, f"The body was not in within {BODY_SECONDS:.0f} s.", {"connection": "close"}
        ) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body ended too soon.") from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(
                413, f"A body may have at most {MAX_BODY} bytes.", {"connection": "close"}
            )
    return bytes(body)


async def read_json_body(request: Request) -> Any:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "Send JSON, with Content-Type: application/json.")
    body = await read_body(request)
    try:
        return await in_thread_if_large(len(body), read_json, body)
    except UnreadableJson as exc:
        raise Invalid(
            [FieldError("", str(exc))], "The body is not readable.", "invalid_json"
        ) from exc


def convert(value: Any, kind: type[T], prefix: str = "", *, strict: bool = True) -> T:
    """Read *value* as *kind*; Invalid names the place, below *prefix*, and what belongs there."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        raise Invalid([_fault(str(exc), prefix)]) from exc


def _fault(text: str, prefix: str) -> FieldError:
    """Split msgspec's words at the last place in them: a field's name may look like another."""
    message, _, place = text.rpartition(_PLACE) if _PLACE in text else (text, "", "")
    path = place.removeprefix("key` in `").removeprefix("$").removesuffix("`")
    _, named, field = message.partition(_FIELD)
    if named:
        path = f"{path}.{field.removesuffix('`')[:MAX_SAID]}"
        message = "is not known here" if "unknown" in message else "is required"
    path = path.lstrip(".")
    between = "" if prefix in ("", "?") or not path else "."
    return FieldError(f"{prefix}{between}{path}", message[:MAX_SAID])
