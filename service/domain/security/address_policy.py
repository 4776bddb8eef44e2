"""Which addresses we never connect to for strangers, and which URLs we never take from them."""

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL: Final = 2048

# IANA special-purpose registries, and what `ipaddress.is_global` of Python 3.11 gets wrong.
_BLOCKED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32"),
            *("169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
            *("192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_BLOCKED_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


def is_blocked(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Say whether *address*, as a socket is about to dial it, is out of bounds for strangers."""
    ip = _plain(address)
    if ip is None:
        return True
    if any(ip in network for network in allowed if network.version == ip.version):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return any(ip in network for network in _BLOCKED_V4)
    return _is_blocked_v6(ip)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read *address*, a mapped one as IPv4; None for what is none, or bound to a zone."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    return None if ip.scope_id is not None else ip.ipv4_mapped or ip


def _is_blocked_v6(ip: ipaddress.IPv6Address) -> bool:
    isatap = int(ip) >> 32 & 0xFFFFFFFF in _ISATAP
    return isatap or ip not in _GLOBAL_V6 or any(ip in network for network in _BLOCKED_V6)


def url_error(url: str, allowed: Sequence[Network] = ()) -> str | None:
    """Say what is wrong with a receiver's URL, as far as can be told without looking it up."""
    if len(url) > MAX_URL:
        return f"may have at most {MAX_URL} characters"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "must be printable ASCII, with everything else percent-encoded"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.fragment:
        return "must be an http or https URL without user and fragment: https://example.com/hook"
    literal = _literal(host)
    if literal is not None and is_blocked(literal, allowed):
        return "must not be a private or reserved address; BELFRY_ALLOW_TARGETS may allow it"
    return None


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
