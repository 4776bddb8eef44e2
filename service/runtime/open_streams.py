"""The open event streams of this process, by tenant and API key."""

from collections.abc import Collection
from typing import Final

from service.domain.primitives.errors import TooManyStreams
from service.domain.security.api_keys import Principal
from service.runtime.observability.metrics import STREAMS
from service.runtime.wakeups import Wakeups

HEARTBEAT_SECONDS: Final = 15.0
"""The interval of heartbeats: many proxies close a connection that is silent for 60 seconds."""


class OpenStream:
    """One open stream; *revoked* becomes True when its API key is deleted and it must end."""

    def __init__(self, caller: Principal) -> None:
        self.tenant, self.key_id = caller.tenant, caller.key_id
        self.revoked = False


class OpenStreams:
    """Counts the open streams of each tenant and allows at most *max_per_tenant*."""

    def __init__(self, wakeups: Wakeups, max_per_tenant: int) -> None:
        self._wakeups, self._max = wakeups, max_per_tenant
        self._by_tenant: dict[str, set[OpenStream]] = {}

    @property
    def tenants(self) -> Collection[str]:
        """The tenants that have a stream open."""
        return self._by_tenant.keys()

    def open(self, caller: Principal) -> OpenStream:
        """Register a stream until `close`; TooManyStreams when its tenant is at the limit."""
        streams = self._by_tenant.setdefault(caller.tenant, set())
        if len(streams) >= self._max:
            raise TooManyStreams(
                f"This tenant has {self._max} open streams, the maximum. Close one first."
            )
        stream = OpenStream(caller)
        streams.add(stream)
        STREAMS.inc()
        return stream

    def close(self, stream: OpenStream) -> None:
        streams = self._by_tenant[stream.tenant]
        streams.remove(stream)
        if not streams:
            del self._by_tenant[stream.tenant]
        STREAMS.dec()

    def revoke(self, key_id: str) -> None:
        """Mark the streams of this API key as revoked and wake them, so that they end."""
        for tenant, streams in self._by_tenant.items():
            revoked = [stream for stream in streams if stream.key_id == key_id]
            for stream in revoked:
                stream.revoked = True
            if revoked:
                self._wakeups.wake_tenants([tenant])
