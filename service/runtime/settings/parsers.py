"""Parsers of the values of environment variables; each raises ValueError with the rule."""

import ipaddress
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from service.domain.security.address_policy import Network
from service.providers import registry

_MAX_PORT: Final = 65535
_MAX_DAYS: Final = 36_500
_MAX_COUNT: Final = 10_000
MIN_KEY: Final = 32
"""Characters of each secret key and of the admin key."""


def database_url(text: str) -> str:
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    if text.startswith(("postgresql://", "postgres://")):
        _check_is_encoded(text)
        return text
    raise ValueError("must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")


def _check_is_encoded(database_url: str) -> None:
    """Refuse reserved characters in user and password.

    They would end the password too early, and the driver's error message would show the rest of it
    as a host or a database name.
    """
    rule = "percent-encode all characters of user and password except letters and digits"
    try:
        parts = urlsplit(database_url)
        _ = parts.port
    except ValueError:
        raise ValueError(rule) from None
    if parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment:
        raise ValueError(rule)


def url(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError where it is not a number
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError(
            "must be an http or https URL without a user name, like https://belfry.example"
        )
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return text.rstrip("/")


def keys(text: str) -> tuple[str, ...]:
    keys = tuple(key(part.strip()) for part in text.split(",") if part.strip())
    return keys or (key(""),)


def key(text: str) -> str:
    if len(text) < MIN_KEY or not text.isascii() or not text.isprintable():
        raise ValueError(
            f"each key must have at least {MIN_KEY} printable ASCII characters; "
            "to make one: openssl rand -hex 32"
        )
    return text


def token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces")
    return text


def networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as exc:
        raise ValueError(f"must be networks like 10.1.0.0/16, separated by commas ({exc})") from exc


def switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("must be on or off")
    return text == "on"


def polled(text: str) -> frozenset[str]:
    """Read provider names; only those without callbacks may be polled."""
    pollable = {name for name, one in registry().items() if one.poll_seconds is not None}
    names = {part.strip() for part in text.split(",") if part.strip()}
    if not names <= pollable:
        known = ", ".join(sorted(pollable))
        raise ValueError(f"may only name providers without callbacks, separated by commas: {known}")
    return frozenset(names)


def share(text: str) -> float | None:
    """Read a share between 0 and 1; `off` is None."""
    if text == "off":
        return None
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise ValueError("must be a share between 0 and 1, such as 0.1, or off")


def days(text: str) -> int:
    return _integer(text, 1, _MAX_DAYS, "a number of days")


def port(text: str) -> int:
    return _integer(text, 0, _MAX_PORT, "a number")


def count(text: str) -> int:
    return _integer(text, 1, _MAX_COUNT, "a number")


def _integer(text: str, minimum: int, maximum: int, noun: str) -> int:
    if text.isascii() and text.isdigit() and minimum <= int(text) <= maximum:
        return int(text)
    raise ValueError(f"must be {noun} from {minimum} to {maximum}")
