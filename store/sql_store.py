"""The store: one method, one transaction, over either database."""

from contextlib import suppress

from service.domain.primitives.errors import Unavailable
from service.transactions.store_protocols import ChangeTopic, Heard
from store.engine.session import Database
from store.repositories.api_keys import ApiKeyRepository
from store.repositories.deliveries import DeliveryRepository
from store.repositories.event_log import EventLogRepository
from store.repositories.jobs import JobRepository
from store.repositories.recoveries import RecoveryRepository
from store.repositories.retention import RetentionRepository


class SqlStore(
    JobRepository,
    EventLogRepository,
    DeliveryRepository,
    RecoveryRepository,
    RetentionRepository,
    ApiKeyRepository,
):
    """All of it; each part is one file of its own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)

    async def broken(self) -> None:
        """Return when the database can no longer be trusted, so that the process must end."""
        await self._database.broken.wait()

    async def check(self) -> None:
        """Prove that the database can be written."""
        async with self._database.writing() as session:
            await session.queue("touch")

    async def void_leases(self, at: int) -> None:
        """Take over what a process left behind, if no other process can be at work on it."""
        if self._database.shared:
            return
        async with self._database.writing() as session:
            await session.queue("void_delivery_leases", at=at)
            await session.queue("void_job_leases", at=at)
            await session.queue("void_check_leases")

    async def follow(self, heard: Heard) -> None:
        """Hints of our own are left out; an empty one follows a gap, in which all may be lost."""

        def told(hint: str) -> None:
            origin, *words = hint.split()
            if origin != self._origin:
                heard(frozenset(map(ChangeTopic, words)))

        await self._database.listen(told)

    async def close(self) -> None:
        """Give up the lanes of this process, so that nobody waits for them, and let go."""
        if self._database.shared:
            with suppress(Unavailable):
                async with self._database.writing() as session:
                    await session.queue("leave_lanes", owner=self._origin, at=0, kept=[])
        await self._database.close()
