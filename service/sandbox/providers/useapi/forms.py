"""Request bodies of useapi.net: JSON, or multipart/form-data with the same fields."""

from typing import Final

from starlette.requests import Request

from service.sandbox.web import read_form, read_json

_TEXT_FIELDS: Final = frozenset({"text_prompt", "replyRef", "replyUrl", "email", "voice_text"})
"""Fields that stay text in a form, whatever they look like."""


async def read_fields(request: Request) -> object:
    """Read the fields of the body; None if it is neither JSON nor a form."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await read_form(request)
        return None if form is None else {name: _value(name, text) for name, text in form.items()}
    return await read_json(request)


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
