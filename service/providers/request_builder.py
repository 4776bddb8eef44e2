"""How a request is written down: JSON bodies, query strings, path segments."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from service.providers.protocol import Call


def get(path: str, fields: Mapping[str, Any]) -> Call:
    """Ask with *fields* in the query; what is no string stands there as JSON writes it."""
    query = urlencode({name: _word(value) for name, value in fields.items()}, quote_via=quote)
    return Call(method="GET", path=f"{path}?{query}" if query else path)


def send(method: str, path: str, body: Any) -> Call:
    return Call(method=method, path=path, body=msgspec.json.encode(body))


def segment(value: str) -> str:
    """Encode *value* so that it stays one path segment, `:` and `@` as they are (RFC 3986, 3.3)."""
    return quote(value, safe=":@")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
