"""The open streams of this process, by tenant."""

from collections.abc import Collection
from typing import Final

from service.errors import TooManyStreams
from service.metrics import STREAMS

HEARTBEAT_SECONDS: Final = 15.0
"""Proxies cut connections on which nothing is sent, many of them after 60 seconds."""


class OpenStream:
    """One open stream."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant


class OpenStreams:
    """Counts the open streams of each tenant, and refuses more than *max_per_tenant*."""

    def __init__(self, max_per_tenant: int) -> None:
        self._max = max_per_tenant
        self._by_tenant: dict[str, set[OpenStream]] = {}

    @property
    def tenants(self) -> Collection[str]:
        """Who has a stream open."""
        return self._by_tenant.keys()

    def open(self, tenant: str) -> OpenStream:
        """Count a new stream until it is closed; TooManyStreams when *tenant* has all it may."""
        streams = self._by_tenant.setdefault(tenant, set())
        if len(streams) >= self._max:
            raise TooManyStreams(
                f"This tenant has {self._max} streams open, the most it may have; close one first."
            )
        stream = OpenStream(tenant)
        streams.add(stream)
        STREAMS.inc()
        return stream

    def close(self, stream: OpenStream) -> None:
        streams = self._by_tenant[stream.tenant]
        streams.remove(stream)
        if not streams:
            del self._by_tenant[stream.tenant]
        STREAMS.dec()
