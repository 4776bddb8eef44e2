"""Removes secrets from the bodies of clients and providers before the API shows them."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from service.domain.primitives.json_input import UnreadableJson, read_json

_SECRET_NAMES: Final = ("token", "secret", "password", "apikey", "api_key", "authorization")
_SECRET_HEADERS: Final = (*_SECRET_NAMES, "api-key", "x-key", "cookie", "signature")
MAX_HEADERS_KEPT: Final = 8 * 1024
"""Characters of names and values of the headers that are stored with a callback."""
_SLASH: Final = r"(?:\\{0,4}/|%(?:25){0,3}2[Ff]|\\{1,4}u002[Ff])"
_QUESTION: Final = r"(?:\?|%(?:25){0,3}3[Ff]|\\{1,4}u003[Ff])"
_PATH: Final = rf"[^\s\"?%\\]*+(?:(?!{_QUESTION})[%\\][^\s\"?%\\]*+){{0,64}}+"
_CALLBACK_QUERY: Final = re.compile(
    rf"(callbacks(?<=[/Ff]callbacks){_SLASH}{_PATH})({_QUESTION}[^\s\"]*+)?"
)
"""The URL of a callback, also when it is encoded inside another URL or a JSON string.

The query is optional, so that each character is read once: if it were required, the path would be
read again from each `callbacks/` in it.
"""
MAX_URLS: Final = 1000
"""With more callback URLs than this in one body, all strings that contain one are hidden."""
_HIDDEN: Final = "[redacted]"


def redacted_json(body: bytes | None) -> bytes:
    """Render *body* as JSON without secrets; non-JSON becomes a string, no body becomes null."""
    if not body:
        return b"null"
    try:
        return msgspec.json.encode(_redact(read_json(body), body))
    except UnreadableJson:
        return msgspec.json.encode(_redact(body.decode("utf-8", "replace"), body))


def redacted_text(body: bytes) -> str:
    """Render *body* as text: JSON without secrets, other text without callback signatures."""
    try:
        return msgspec.json.encode(_redact(read_json(body), body)).decode()
    except UnreadableJson:
        return str(_redact(body.decode("utf-8", "replace").replace("\x00", "\ufffd"), body))


def public_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Select the headers that may be stored: none with a credential, at most 8 KiB together."""
    kept: dict[str, str] = {}
    size = 0
    for name, value in headers:
        lowered = name.lower()
        size += len(name) + len(value)
        if size > MAX_HEADERS_KEPT:
            break
        if not any(secret in lowered for secret in _SECRET_HEADERS):
            kept[lowered] = value
    return kept


def _redact(value: Any, body: bytes) -> Any:
    """Redact *value*; the callback URLs are counted first, to bound the time for one body."""
    unescaped = body if b"\\u00" not in body else msgspec.json.encode(value)
    urls = unescaped.count(b"callbacks")
    return _redact_value(value, _hide_queries if urls <= MAX_URLS else _hide_if_callback)


def _redact_value(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redact_value(item, redact) for item in value]
    if isinstance(value, dict):
        return {redact(name): _redact_field(name, item, redact) for name, item in value.items()}
    return value


def _redact_field(name: str, value: Any, redact: Callable[[str], str]) -> Any:
    """Hide a value under a secret name unless it is a number: `max_tokens` is a count."""
    if not isinstance(value, str | list | dict):
        return value
    folded = name.casefold()
    if any(secret in folded for secret in _SECRET_NAMES):
        return _HIDDEN
    return _redact_value(value, redact)


def _hide_queries(text: str) -> str:
    """Hide the whole query: the signature may be anywhere in it, in any encoding."""
    if "callbacks" not in text:
        return text
    return _CALLBACK_QUERY.sub(lambda url: f"{url[1]}?{_HIDDEN}" if url[2] else url[1], text)


def _hide_if_callback(text: str) -> str:
    return _HIDDEN if "callbacks" in text else text
