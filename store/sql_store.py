"""The store: repositories and transactions over either database."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.primitives.errors import Unavailable
from service.transactions.change_set import (
    ChangeSet,
    JobInsertion,
    JobTransaction,
    OpenTransaction,
    Snapshot,
)
from service.transactions.store_protocols import ChangeTopic, Idempotency, NewJob
from store.engine.session import Database
from store.repositories.api_keys import ApiKeyRepository
from store.repositories.assets import AssetRepository
from store.repositories.callbacks import CallbackRepository
from store.repositories.deliveries import DeliveryRepository
from store.repositories.events import EventRepository
from store.repositories.jobs import JobRepository
from store.repositories.recoveries import RecoveryRepository
from store.repositories.repository import StoreParts, notify
from store.repositories.retention import RetentionRepository
from store.repositories.subscriptions import SubscriptionRepository
from store.transaction.changes import (
    read_jobs,
    read_moderation,
    read_receivers,
    read_reply_subscriptions,
    topics_of,
    write_attempts,
    write_changes,
    write_events,
)
from store.transaction.job_insertion import (
    claim_key,
    claim_task_uuids,
    with_reply_subscription,
    write_new_jobs,
)


class SqlStore:
    """Implements `service.transactions.store_protocols.Store`."""

    def __init__(self, database: Database) -> None:
        self._database, self._parts = database, StoreParts(database)
        self.jobs = JobRepository(self._parts)
        self.callbacks = CallbackRepository(self._parts)
        self.events = EventRepository(self._parts)
        self.subscriptions = SubscriptionRepository(self._parts)
        self.deliveries = DeliveryRepository(self._parts)
        self.recoveries = RecoveryRepository(self._parts)
        self.retention = RetentionRepository(self._parts)
        self.api_keys = ApiKeyRepository(self._parts)
        self.assets = AssetRepository(self._parts)

    @asynccontextmanager
    async def transaction(
        self, refs: Sequence[str], *, accounts: bool = False
    ) -> AsyncIterator[JobTransaction]:
        async with self._database.writing() as session:
            cache = self._parts.subscription_cache
            snapshot = await read_jobs(session, cache, refs, accounts=accounts)
            opened = JobTransaction(
                snapshot=snapshot,
                changes=ChangeSet(),
                read_moderation=partial(read_moderation, session),
            )
            yield opened
            await write_changes(session, opened.changes)
            await notify(session, self._parts.origin, topics_of(opened.changes))

    @asynccontextmanager
    async def insert_jobs(
        self, new: Sequence[NewJob], key: Idempotency | None
    ) -> AsyncIterator[JobInsertion]:
        async with self._database.writing() as session:
            changes = ChangeSet()
            if key is not None and (first := await claim_key(session, key, new)) is not None:
                empty = Snapshot(jobs={}, permanent={})
                yield JobInsertion(snapshot=empty, changes=changes, jobs=first, replayed=True)
                return
            await claim_task_uuids(session, new)
            await session.queue("share_subscriptions")
            jobs = [await with_reply_subscription(session, one) for one in new]
            version = (await session.fetch("subscriptions_version"))[0]["version"]
            snapshot = Snapshot(
                jobs={job.ref: job for job in jobs},
                permanent=await self._parts.subscription_cache.at(session, version),
                per_job=await read_reply_subscriptions(session, jobs),
            )
            yield JobInsertion(snapshot=snapshot, changes=changes, jobs=jobs)
            await write_new_jobs(session, [changes.jobs.get(job.id, job) for job in jobs], new)
            await write_events(session, changes)
            await notify(session, self._parts.origin, topics_of(changes))

    @asynccontextmanager
    async def record_attempts(
        self, updates: Sequence[DeliveryUpdate]
    ) -> AsyncIterator[OpenTransaction]:
        async with self._database.writing() as session:
            snapshot = await read_receivers(session, self._parts.subscription_cache, updates)
            opened = OpenTransaction(snapshot=snapshot, changes=ChangeSet())
            yield opened
            await write_attempts(session, updates, opened.changes)
            await notify(session, self._parts.origin, topics_of(opened.changes))

    async def check(self) -> None:
        async with self._database.writing() as session:
            await session.queue("check_writable")

    async def broken(self) -> None:
        await self._database.broken.wait()

    async def expire_leases(self, at: int) -> None:
        """End the leases of an earlier process, if no other process can use the database."""
        if self._database.multi_process:
            return
        async with self._database.writing() as session:
            await session.queue("expire_delivery_leases", at=at)
            await session.queue("expire_job_leases", at=at)
            await session.queue("expire_check_leases")

    async def follow(self, on_change: Callable[[frozenset[ChangeTopic]], None]) -> None:
        """This process's own messages are left out; after a gap all topics are reported."""

        def on_message(message: str) -> None:
            origin, *topics = message.split()
            if origin != self._parts.origin:
                on_change(frozenset(map(ChangeTopic, topics)))

        await self._database.listen(on_message)

    async def close(self) -> None:
        """Release the receivers of this process, so that others need not wait, and close."""
        if self._database.multi_process:
            with suppress(Unavailable):
                async with self._database.writing() as session:
                    await session.queue(
                        "release_receiver_leases", owner=self._parts.origin, at=0, kept=[]
                    )
        await self._database.close()
