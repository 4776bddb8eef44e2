"""Builds requests: JSON bodies, forms, query strings, path segments."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from service.providers.protocol import Call

_NAME_ESCAPES: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def get(path: str, fields: Mapping[str, Any]) -> Call:
    """Build a GET with *fields* in the query string; values other than strings become JSON."""
    return Call(method="GET", path=with_query(path, fields))


def send(method: str, path: str, body: Any) -> Call:
    """Build a request with a JSON body."""
    return Call(method=method, path=path, body=msgspec.json.encode(body))


def send_form(path: str, fields: Mapping[str, Any], boundary: str) -> Call:
    """Build a POST with *fields* as `multipart/form-data` (RFC 7578); None is left out.

    Values other than strings become JSON. *boundary* must not occur in any value.
    """
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name.translate(_NAME_ESCAPES)}"'
        f"\r\n\r\n{_as_text(value)}\r\n"
        for name, value in fields.items()
        if value is not None
    ]
    body = "".join(parts) + f"--{boundary}--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return Call(method="POST", path=path, body=body.encode(), headers=headers)


def with_query(path: str, fields: Mapping[str, Any]) -> str:
    """Append *fields* to *path* as its query string; values other than strings become JSON."""
    query = {name: _as_text(value) for name, value in fields.items()}
    encoded = urlencode(query, quote_via=quote)
    return f"{path}?{encoded}" if encoded else path


def segment(value: str) -> str:
    """Percent-encode *value* as one path segment; `:` and `@` stay as they are (RFC 3986, 3.3)."""
    return quote(value, safe=":@")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
