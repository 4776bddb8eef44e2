"""The store: one method, one transaction, over either database."""

from service.deliveries import LEASE
from store.database import Database
from store.sql_deliveries import DeliveryStore
from store.sql_doors import DoorStore
from store.sql_jobs import JobStore
from store.sql_log import LogStore


class SqlStore(JobStore, LogStore, DeliveryStore, DoorStore):
    """All of it; each part is one file of its own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)

    async def broken(self) -> None:
        """Return when the database can no longer be trusted, so that the process must end."""
        await self._database.broken.wait()

    async def check(self) -> None:
        """Prove that the database can be written."""
        async with self._database.writing() as session:
            await session.run("touch")

    async def void_leases(self, at: int) -> None:
        """Take over what a process left behind; only for one that knows it is alone."""
        async with self._database.writing() as session:
            await session.run("void_delivery_leases", at=at, horizon=at + LEASE)
            await session.run("void_job_leases", at=at)

    async def close(self) -> None:
        await self._database.close()
