"""Request bodies of useapi.net: JSON, or multipart/form-data with the same fields."""

import email.parser
import email.policy
from typing import Final

from starlette.requests import Request

from service.sandbox.ledger import Json
from service.sandbox.web import InvalidJson, read_json

_TEXT_FIELDS: Final = frozenset({"text_prompt", "replyRef", "replyUrl", "email", "voice_text"})
"""Fields that stay text in a form, whatever they look like."""


async def read_fields(request: Request) -> object:
    """Read the fields of the body; None if it is neither JSON nor a form."""
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return parse_form(content_type, await request.body())
    try:
        return await read_json(request)
    except InvalidJson:
        return None


def parse_form(content_type: str, body: bytes) -> Json | None:
    """Parse a form (RFC 7578); None if it is malformed. Files are not expected.

    The standard library's e-mail parser is enough here: `Request.form()` of Starlette needs one
    more package.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        return None
    fields: Json = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes):
            return None
        fields[name] = _value(name, payload.decode("utf-8", "replace"))
    return fields


def _value(name: str, text: str) -> str | int | float | bool | None:
    """Convert a form value to what the same field is in JSON; an empty one counts as absent."""
    if name in _TEXT_FIELDS:
        return text or None
    if text in ("true", "false"):
        return text == "true"
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 18:  # noqa: PLR2004 - 64 bits
        return int(text)
    whole, point, fraction = digits.partition(".")
    is_decimal = point and (whole + fraction).isascii() and (whole + fraction).isdigit()
    return float(text) if is_decimal else text or None
