from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import now
from tests.support.certificates import server_context, write_certificate
from tests.support.receivers import Receiver, receiving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def posting() -> AsyncIterator[WebhookClient]:
    webhook_client = WebhookClient(now, [ip_network("127.0.0.0/8")], 100)
    yield webhook_client
    await webhook_client.close()


@asynccontextmanager
async def trusted(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver whose certificate the client trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with receiving(server_context(file)) as receiver:
        yield receiver


async def test_an_attempt_has_the_times_of_tcp_tls_and_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        trusted(write_certificate(tmp_path), monkeypatch) as receiver,
        posting() as webhook_client,
    ):
        first = await webhook_client.post(receiver.url, b"{}", {})
        second = await webhook_client.post(receiver.url, b"{}", {})

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.connect_ms is not None
    assert first.tls_ms is not None
    assert first.first_byte_ms is not None
    assert 0 < first.connect_ms + first.tls_ms < first.first_byte_ms <= first.duration_ms
    assert (second.connect_ms, second.tls_ms) == (None, None), "the open connection is reused"


async def test_without_tls_there_is_no_tls_time(receiver: Receiver) -> None:
    async with posting() as webhook_client:
        result = await webhook_client.post(receiver.url, b"{}", {})

    assert result.connect_ms is not None
    assert result.tls_ms is None


async def test_a_dns_lookup_has_a_time(receiver: Receiver) -> None:
    async with posting() as webhook_client:
        result = await webhook_client.post(
            receiver.url.replace("127.0.0.1", "localhost"), b"{}", {}
        )

    assert result.dns_ms is not None


@pytest.mark.parametrize(
    ("made", "trust"),
    [({}, False), ({"expired": True}, True), ({"address": "192.0.2.1"}, True)],
    ids=["unknown issuer", "expired", "another address"],
)
async def test_an_invalid_certificate_is_a_described_failure_and_nothing_is_sent(
    made: dict[str, object], trust: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_certificate(tmp_path, **made)  # type: ignore[arg-type]
    if trust:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with receiving(server_context(file)) as receiver, posting() as webhook_client:
        result = await webhook_client.post(receiver.url, b"{}", {})

    assert result.error is not None
    assert result.error.startswith("TLS: ")
    assert result.connect_ms is not None
    assert result.tls_ms is None
    assert receiver.received == []
