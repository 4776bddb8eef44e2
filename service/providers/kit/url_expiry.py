"""When a signed URL ends, as far as the URL itself says so."""

import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.providers.kit.coercion import as_dict, count, json_or_none

_MAX_URL_LENGTH: Final = 8192
_MAX_FIELDS: Final = 50
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_SIGNING_TIME: Final = re.compile("[0-9]{8}T[0-9]{6}Z")


def url_expiry(url: str) -> str | None:
    """Return the end of a signed URL as RFC 3339 in UTC; None if the URL does not tell it.

    Five forms are certain: `Expires` beside `Signature` (Amazon CloudFront and S3 version 2: in
    seconds since 1970), `exp` beside `sig` (the same at Ideogram), `X-Amz-Date` and `X-Amz-Expires`
    (S3 version 4), the same with `X-Goog-` (Google Cloud Storage), and the claim `exp` of a `_jwt`
    (RFC 7519, the files of Runway). The signatures are not verified.
    """
    if len(url) > _MAX_URL_LENGTH:
        return None
    try:
        fields = parse_qs(urlsplit(url).query, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    query = {name: values[0] for name, values in fields.items()}
    end = (
        _plain_end(query)
        or _signed_end(query, "X-Amz-")
        or _signed_end(query, "X-Goog-")
        or _token_end(query.get("_jwt", ""))
    )
    return rfc3339(end * SECOND) if end is not None and 0 < end <= _LAST_SECOND else None


def _plain_end(query: dict[str, str]) -> int | None:
    if "sig" in query:
        return count(query.get("exp"))
    return count(query.get("Expires")) if "Signature" in query else None


def _signed_end(query: dict[str, str], prefix: str) -> int | None:
    """Add the lifetime in seconds to the time of the signature."""
    signed_at, lifetime = query.get(f"{prefix}Date", ""), count(query.get(f"{prefix}Expires"))
    if lifetime is None or not _SIGNING_TIME.fullmatch(signed_at):
        return None
    try:
        start = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(start.timestamp()) + lifetime


def _token_end(token: str) -> int | None:
    """Read the claim `exp` of a JSON web token."""
    match token.split("."):
        case [_, claims, _]:
            pass
        case _:
            return None
    try:
        decoded = urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    except ValueError:
        return None
    return count(as_dict(json_or_none(decoded)).get("exp"))
