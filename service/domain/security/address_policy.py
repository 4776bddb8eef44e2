"""The addresses that webhooks are never sent to, and the check of a receiver's URL.

Tenants choose these URLs, so private and reserved addresses are blocked unless the operator allows
them.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL: Final = 2048
"""Characters of a receiver's URL."""

# The IANA special-purpose address registries. `ipaddress.is_global` of Python 3.11 misses some;
# 168.63.129.16 is Azure's internal platform service.
_BLOCKED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_BLOCKED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""Bits 32 to 63 of an address that tunnels IPv4 (RFC 5214, section 6.1)."""


def is_blocked(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether no connection to *address* is allowed; anything that is not an IP address is blocked.

    *allowed* are the networks that the operator permits in spite of the rules.
    """
    ip = _parse(address)
    if ip is None:
        return True
    if any(ip in network for network in allowed if network.version == ip.version):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return any(ip in network for network in _BLOCKED_V4)
    return _is_blocked_v6(ip)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read *address*, a mapped one as IPv4; None when it is invalid or has a zone."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.scope_id is not None:
        return None
    return ip.ipv4_mapped or ip


def _is_blocked_v6(ip: ipaddress.IPv6Address) -> bool:
    isatap = int(ip) >> 32 & 0xFFFFFFFF in _ISATAP
    return isatap or ip not in _GLOBAL_V6 or any(ip in network for network in _BLOCKED_V6)


def url_error(url: str, allowed: Sequence[Network] = ()) -> str | None:
    """Describe what is wrong with a receiver's URL, without a DNS lookup; None when it is valid."""
    if len(url) > MAX_URL:
        return f"may have at most {MAX_URL} characters"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "must be printable ASCII; percent-encode all other characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.fragment:
        return (
            "must be an http or https URL without user and fragment, like https://example.com/hook"
        )
    if _is_address(host) and is_blocked(host, allowed):
        return "must not be a private or reserved address; BELFRY_ALLOW_TARGETS may allow it"
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
