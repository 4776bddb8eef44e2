from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.security.address_policy import MAX_URL, is_blocked, url_error

BLOCKED_V4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]
BLOCKED_V6 = [
    *("::/8", "64:ff9b::/96", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
    *("2620:4f:8000::/48", "3fff::/20", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
]


@pytest.mark.parametrize("network", [*BLOCKED_V4, *BLOCKED_V6])
def test_a_network_that_is_not_public_is_blocked_from_first_to_last_address(network: str) -> None:
    first, last = ip_network(network)[0], ip_network(network)[-1]

    assert is_blocked(str(first))
    assert is_blocked(str(last))


@pytest.mark.parametrize("network", BLOCKED_V4)
def test_a_mapped_address_is_treated_as_ipv4(network: str) -> None:
    assert is_blocked(f"::ffff:{ip_network(network)[0]}")


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255"),
        *("172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0"),
        *("198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8"),
        *("2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2620:4f:8001::1"),
    ],
)
def test_a_public_address_is_not_blocked(address: str) -> None:
    assert not is_blocked(address)


@pytest.mark.parametrize(
    "address",
    [
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "fec0::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:7f00:1",
        "",
        "localhost",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "①②⑦.⓪.⓪.①",
        "127.0.0.1\n",
    ],
)
def test_a_private_address_in_another_notation_is_blocked(address: str) -> None:
    assert is_blocked(address)


@given(st.ip_addresses(v=6))
def test_each_ipv6_address_outside_the_public_networks_is_blocked(address: object) -> None:
    ip = ip_address(str(address))

    assert is_blocked(str(ip)) or ip in ip_network("2000::/3") or ip in ip_network("::ffff:0:0/96")


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert is_blocked(text) in (True, False)
    assert url_error(text) is None or url_error(text) != ""


@pytest.mark.parametrize(
    ("allowed", "address", "blocked"),
    [
        ("10.1.0.0/16", "10.1.2.3", False),
        ("10.1.0.0/16", "10.2.0.0", True),
        ("10.1.0.0/16", "::ffff:10.1.2.3", False),
        ("10.1.0.0/16", "fd00::1", True),
        ("fd00::/8", "fd12::1", False),
        ("fd00::/8", "10.1.2.3", True),
        ("0.0.0.0/0", "127.0.0.1", False),
        ("::/0", "127.0.0.1", True),
    ],
)
def test_the_operator_can_allow_networks(allowed: str, address: str, *, blocked: bool) -> None:
    assert is_blocked(address, [ip_network(allowed)]) is blocked


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com:8080/hook?key=abc",
        "https://example.com/%C3%BC",
        "HTTPS://EXAMPLE.COM/",
        "https://8.8.8.8/hook",
        "https://[2606:4700::1111]:8443/hook",
        "https://xn--bcher-kva.example/",
    ],
)
def test_a_public_url_has_no_error(url: str) -> None:
    assert url_error(url) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "http or https"),
        ("example.com/hook", "http or https"),
        ("ftp://example.com", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("//example.com", "http or https"),
        ("http:///hook", "http or https"),
        ("https://user@example.com", "without user"),
        ("https://user:word@example.com", "without user"),
        ("https://@example.com", "without user"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com:99999", "is not a URL"),
        ("https://example.com:http", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://bücher.example", "ASCII"),
        ("http://①②⑦.⓪.⓪.①/", "ASCII"),
        ("https://example.com/a b", "ASCII"),
        ("https://example.com\\@10.0.0.1", "ASCII"),
        ("https://example.com/\r\nhost: x", "ASCII"),
        ("https://example.com/" + "a" * MAX_URL, "characters"),
        ("http://127.0.0.1/", "private"),
        ("http://169.254.169.254/latest/meta-data", "private"),
        ("http://[::1]/", "private"),
        ("http://[::ffff:10.0.0.1]/", "private"),
        ("http://[fe80::1%25eth0]/", "private"),
    ],
)
def test_an_invalid_url_has_an_error_that_says_why(url: str, expected: str) -> None:
    assert expected in (url_error(url) or "")


def test_a_private_url_is_valid_where_the_operator_allows_its_network() -> None:
    assert url_error("http://10.1.2.3/hook", [ip_network("10.1.0.0/16")]) is None
