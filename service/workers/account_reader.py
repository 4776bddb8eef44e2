"""The account reader: asks providers which accounts are linked, and how many jobs each may run."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.providers.protocol import LinkedAccounts, Reply
from service.runtime.clients.provider_client import ProviderChannel
from service.transactions.store_protocols import Store

INTERVAL_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 60.0
TIMEOUT_SECONDS: Final = 30.0
log = structlog.get_logger()


class AccountReader:
    """Reads the linked accounts of *channels* after the start and every ten minutes.

    What was read last stays valid while a provider does not answer. Log lines have no e-mail
    addresses.
    """

    def __init__(self, store: Store, channels: Sequence[ProviderChannel]) -> None:
        self._store, self._channels = store, channels

    async def run(self) -> None:
        while True:
            read = [await self.read(channel) for channel in self._channels]
            await asyncio.sleep(INTERVAL_SECONDS if all(read) else RETRY_SECONDS)

    async def read(self, channel: ProviderChannel) -> bool:
        """Read and store the accounts of one provider; returns whether that was possible."""
        linked = channel.provider.account.linked
        try:
            limits = None if linked is None else await _ask(channel, linked)
            if limits is not None:
                await self._store.jobs.put_linked_accounts(channel.provider.name, limits)
        except Unavailable as exc:
            log.warning("accounts.waiting", reason=str(exc))
            return False
        except Exception:
            log.exception("accounts.failed")
            return False
        count = None if limits is None else len(limits)
        log.info("accounts.read", provider=channel.provider.name, count=count)
        return limits is not None


async def _ask(channel: ProviderChannel, linked: LinkedAccounts) -> dict[str, int] | None:
    reply = await channel.client.send(linked.call, TIMEOUT_SECONDS)
    found = linked.read(reply) if isinstance(reply, Reply) else None
    return None if found is None else dict(found)
