from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import now
from tests.support.certificates import context_of, tls_server
from tests.support.receivers import Receiver, receiving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def posting() -> AsyncIterator[WebhookClient]:
    webhook_client = WebhookClient(now, [ip_network("127.0.0.0/8")], 100)
    yield webhook_client
    await webhook_client.close()


@asynccontextmanager
async def trusted(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver whose certificate is in the list of those that are trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with receiving(context_of(file)) as receiver:
        yield receiver


async def test_an_attempt_says_how_long_tcp_tls_and_the_first_byte_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trusted(tls_server(tmp_path), monkeypatch) as receiver, posting() as webhook_client:
        first = await webhook_client.post(receiver.url, b"{}", {})
        second = await webhook_client.post(receiver.url, b"{}", {})

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.connect_ms is not None
    assert first.tls_ms is not None
    assert first.first_byte_ms is not None
    assert 0 < first.connect_ms + first.tls_ms < first.first_byte_ms <= first.duration_ms
    assert (second.connect_ms, second.tls_ms) == (None, None), "the connection was open"


async def test_without_tls_there_is_no_time_of_it(receiver: Receiver) -> None:
    async with posting() as webhook_client:
        outcome = await webhook_client.post(receiver.url, b"{}", {})

    assert outcome.connect_ms is not None
    assert outcome.tls_ms is None


async def test_a_name_that_is_looked_up_takes_time_too(receiver: Receiver) -> None:
    async with posting() as webhook_client:
        outcome = await webhook_client.post(
            receiver.url.replace("127.0.0.1", "localhost"), b"{}", {}
        )

    assert outcome.dns_ms is not None


@pytest.mark.parametrize(
    ("made", "trust"),
    [({}, False), ({"expired": True}, True), ({"address": "192.0.2.1"}, True)],
    ids=["unknown", "expired", "of another"],
)
async def test_a_bad_certificate_is_a_failure_in_words_and_nothing_is_sent(
    made: dict[str, object], trust: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tls_server(tmp_path, **made)  # type: ignore[arg-type]
    if trust:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with receiving(context_of(file)) as receiver, posting() as webhook_client:
        outcome = await webhook_client.post(receiver.url, b"{}", {})

    assert outcome.error is not None
    assert outcome.error.startswith("TLS: ")
    assert outcome.connect_ms is not None
    assert outcome.tls_ms is None
    assert receiver.received == []
