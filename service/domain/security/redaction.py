"""What providers and clients sent may bear secrets; what we show of it does not."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from service.domain.primitives.json_input import UnreadableJson, read_json

_SECRETS: Final = ("token", "secret", "password", "apikey", "api_key", "authorization")
_SLASH: Final = r"(?:\\{0,4}/|%(?:25){0,3}2[Ff]|\\{1,4}u002[Ff])"
_QUESTION: Final = r"(?:\?|%(?:25){0,3}3[Ff]|\\{1,4}u003[Ff])"
_PATH: Final = rf"[^\s\"?%\\]*+(?:(?!{_QUESTION})[%\\][^\s\"?%\\]*+){{0,64}}+"
_CALLBACK_QUERY: Final = re.compile(
    rf"(callbacks(?<=[/Ff]callbacks){_SLASH}{_PATH})({_QUESTION}[^\s\"]*+)?"
)
"""The URL of a callback, also inside another URL or inside JSON in a string.

Its query is optional here, so that every character is read once: were it required, the path would
be read again from every `callbacks/` in it.
"""
MAX_URLS: Final = 1000
"""Callback URLs in one body beyond which no text with one is shown."""
_HIDDEN: Final = "[redacted]"


def redacted_json(body: bytes | None) -> bytes:
    """Show JSON without secrets; what is not JSON is shown as a string, nothing as null."""
    if not body:
        return b"null"
    try:
        return msgspec.json.encode(_shown(read_json(body), body))
    except UnreadableJson:
        return msgspec.json.encode(_shown(body.decode("utf-8", "replace"), body))


def redacted_text(body: bytes) -> str:
    """Show a body as text: JSON without its secrets, anything else without our signatures."""
    try:
        return msgspec.json.encode(_shown(read_json(body), body)).decode()
    except UnreadableJson:
        return str(_shown(body.decode("utf-8", "replace").replace("\x00", "\ufffd"), body))


def _shown(value: Any, body: bytes) -> Any:
    """Redact *value*; the URLs are counted first, so that no body takes more than a moment."""
    plain = body if b"\\u00" not in body else msgspec.json.encode(value)
    urls = plain.count(b"callbacks")
    return _redacted(value, _without_queries if urls <= MAX_URLS else _without_urls)


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {redact(name): _field(name, item, redact) for name, item in value.items()}
    return value


def _field(name: str, value: Any, redact: Callable[[str], str]) -> Any:
    """Numbers under a secret name are counts (`max_tokens`); anything else is hidden."""
    if isinstance(value, str | list | dict):
        if any(map(name.casefold().__contains__, _SECRETS)):
            return _HIDDEN
        return _redacted(value, redact)
    return value


def _without_queries(text: str) -> str:
    """Hide each query whole: the signature may stand anywhere in it, in any encoding."""
    if "callbacks" not in text:
        return text
    return _CALLBACK_QUERY.sub(lambda url: f"{url[1]}?{_HIDDEN}" if url[2] else url[1], text)


def _without_urls(text: str) -> str:
    return _HIDDEN if "callbacks" in text else text
