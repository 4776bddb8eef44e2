"""Verifies the signatures of vendors; their keys are fetched, kept, and refreshed rarely."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import CallbackSignature, Reply
from service.runtime.clients.provider_client import ProviderClient
from service.runtime.clock import Clock
from service.runtime.settings import ProviderAccount

FRESH_SECONDS: Final = 3600
"""Keys that are older are fetched again, while they still verify."""
MAX_AGE_SECONDS: Final = 24 * 3600
"""Keys that are older verify nothing: the vendors say to keep them for 24 hours at most."""
RETRY_SECONDS: Final = 60
"""The shortest time between two requests for keys, whatever callbacks arrive."""
_TIMEOUT_SECONDS: Final = 5.0
log = structlog.get_logger()


class CallbackVerifier:
    """Verifies the callbacks of one provider by its vendor's *signature*."""

    def __init__(
        self,
        signature: CallbackSignature,
        account: ProviderAccount,
        client: ProviderClient,
        clock: Clock,
    ) -> None:
        self._signature, self._client, self._clock = signature, client, clock
        self._request = signature.keys_request(account.keys_url)
        self._secret = account.webhook_secret
        self._url = account.keys_url or account.base_url
        self._keys: Sequence[bytes] = ()
        self._fetched_at = 0
        self._asked_at = -RETRY_SECONDS * SECOND
        self._refresh: asyncio.Task[None] | None = None

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Tell whether the vendor sent this callback; header names are in lower case.

        Raises Unavailable while there are no keys to verify it with.
        """
        if self._request is None:
            secret = [self._secret.encode()] if self._secret else []
            return self._signature.is_valid(secret, headers, body, self._clock())
        keys = self._usable_keys()
        if keys and self._signature.is_valid(keys, headers, body, self._clock()):
            if self._clock() - self._fetched_at > FRESH_SECONDS * SECOND:
                self._start_refresh()
            return True
        # The vendor may have changed its keys.
        if refresh := self._start_refresh():
            await asyncio.shield(refresh)
        renewed = self._usable_keys()
        if not renewed:
            raise Unavailable("The keys of the provider's signatures cannot be fetched.")
        return renewed is not keys and self._signature.is_valid(
            renewed, headers, body, self._clock()
        )

    async def close(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    def _usable_keys(self) -> Sequence[bytes]:
        is_stale = self._clock() - self._fetched_at > MAX_AGE_SECONDS * SECOND
        return () if is_stale else self._keys

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """Return the request for keys in progress, or start one; None if the last was just now."""
        if self._refresh is not None and not self._refresh.done():
            return self._refresh
        if self._clock() - self._asked_at < RETRY_SECONDS * SECOND:
            return None
        self._asked_at = self._clock()
        self._refresh = asyncio.create_task(self._fetch(), name="callback keys")
        return self._refresh

    async def _fetch(self) -> None:
        """Replace the keys; on failure the old ones stay until they are too old."""
        if self._request is None:
            return
        reply = await self._client.send(self._request, _TIMEOUT_SECONDS)
        keys = self._signature.read_keys(reply) if isinstance(reply, Reply) else ()
        if keys:
            self._keys, self._fetched_at = keys, self._clock()
        else:
            problem = f"status {reply.status}" if isinstance(reply, Reply) else reply.message
            log.warning("callback_keys.not_fetched", url=self._url, problem=problem)
