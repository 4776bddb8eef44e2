"""Builds requests: JSON bodies, query strings, path segments."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from service.providers.protocol import Call


def get(path: str, fields: Mapping[str, Any]) -> Call:
    """Build a GET with *fields* in the query string; values other than strings become JSON."""
    query = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in fields.items()
    }
    encoded = urlencode(query, quote_via=quote)
    return Call(method="GET", path=f"{path}?{encoded}" if encoded else path)


def send(method: str, path: str, body: Any) -> Call:
    """Build a request with a JSON body."""
    return Call(method=method, path=path, body=msgspec.json.encode(body))


def segment(value: str) -> str:
    """Percent-encode *value* as one path segment; `:` and `@` stay as they are (RFC 3986, 3.3)."""
    return quote(value, safe=":@")
