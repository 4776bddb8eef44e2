"""One transaction: its transitions, the events they cause, and the deliveries of these events."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec.structs import replace

from service.domain.deliveries.delivery import (
    LEASE,
    Delivery,
    DeliveryTask,
    Placement,
    new_delivery,
    recipients,
)
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.events import (
    Event,
    ModerationData,
    ProviderData,
    SystemData,
    event_type_of,
    job_event,
    system_event,
)
from service.domain.jobs.job import Job
from service.domain.jobs.moderation import ModerationHistory, add_end, is_moderated
from service.domain.primitives.ids import IdFactory
from service.domain.security.api_keys import DEFAULT_TENANT
from service.domain.subscriptions.subscription import Subscription, is_subscribed
from service.runtime.clock import Clock
from service.transactions.change_set import (
    ChangeSet,
    JobTransaction,
    OpenTransaction,
    PauseKey,
    Snapshot,
    SupersedeRange,
)
from service.transactions.slots import AccountPause
from service.transactions.store_protocols import Idempotency, NewJob, Store

OnCommit = Callable[[ChangeSet], None]
"""Called after each commit with what was committed; it only changes memory and sets wake-ups."""


class PlacementPolicy(Protocol):
    """Decides who sends a delivery that is being committed; implemented by `SendQueues`."""

    def place(
        self, subscription: Subscription, job_id: str | None, earlier_pending: int
    ) -> Placement:
        """Decide without changing anything.

        *earlier_pending* is the sequence of the newest earlier event of the job that is pending
        and not placed here by the same transaction; 0 if there is none.
        """

    def waiting_progress(self, subscription_id: str, job_id: str) -> list[Delivery]:
        """The job's progress deliveries that wait in this process behind another event of it."""


class UnitOfWork:
    """Collects what one transaction changes; a job may have several transitions in it."""

    def __init__(
        self,
        opened: OpenTransaction,
        at: int,
        new_id: IdFactory,
        placement: PlacementPolicy,
    ) -> None:
        self.changes, self.at = opened.changes, at
        self.snapshot: Snapshot = opened.snapshot
        self._new_id, self._placement = new_id, placement
        self._pending = dict(opened.snapshot.pending)
        self._placed_here: dict[tuple[str, str], int] = {}

    def new_id(self, prefix: str) -> str:
        return self._new_id(prefix, self.at)

    def job(self, ref: str) -> Job | None:
        """The job of submission *ref*, with the transitions of this transaction."""
        job = self.snapshot.jobs.get(ref)
        return None if job is None else self.changes.jobs.get(job.id, job)

    def transition(self, before: Job | None, after: Job) -> Job:
        """Record the transition from *before* (None: new job) to *after*, and its event."""
        kind = event_type_of(before, after)
        if kind is not None:
            after = replace(after, sequence=after.sequence + 1)
            event = job_event(before, after, kind, self.new_id("evt"), self.at)
            permanent = self.snapshot.permanent.get(after.tenant, ())
            per_job = self.snapshot.per_job.get(after.reply_subscription_id or "")
            self._add_event(event, recipients(event, after, permanent, per_job))
        self.changes.jobs[after.id] = after
        for key, pause in self.snapshot.pauses.items():
            if key not in self.changes.pauses and pause.is_ended_by(after):
                self._resume_account(key, pause, after)
        return after

    def transition_step(self, before: Job, after: Job) -> Job:
        """Record one of several steps that were computed in advance.

        Such a step lacks the event numbers given since; it takes them from *before*.
        """
        return self.transition(before, replace(after, sequence=before.sequence))

    def save_silently(self, job: Job) -> None:
        """Record a change that subscribers are not told about."""
        self.changes.jobs[job.id] = job

    def emit_system_event(self, kind: str, tenant: str, data: SystemData) -> None:
        """Record an event about no job."""
        event = system_event(kind, tenant, data, self.new_id("evt"), self.at)
        permanent = self.snapshot.permanent.get(tenant, ())
        self._add_event(event, [one for one in permanent if is_subscribed(one, event)])

    def pause(self, key: PauseKey) -> AccountPause | None:
        """The pause of an account, with the changes of this transaction."""
        return self.changes.pauses.get(key, self.snapshot.pauses.get(key))

    def _resume_account(self, key: PauseKey, pause: AccountPause, proof: Job) -> None:
        """End *pause* and tell its tenant; the id of another tenant's job is not shown."""
        self.changes.pauses[key] = None
        job_id = proof.id if proof.tenant == pause.tenant else None
        data = ProviderData(
            provider=proof.provider, scope=pause.scope.value, reason=None, job=job_id
        )
        self.emit_system_event("provider.resumed", pause.tenant, data)

    def warn_of_moderation(self, histories: dict[str, ModerationHistory], limit: float) -> None:
        """Add the jobs that ended to *histories* by account, and warn about a share above *limit*.

        The operator's tenant is told, and no other: the account is the operator's, and all tenants
        share it.
        """
        for job in self.changes.ended_jobs:
            if job.account not in histories:
                continue
            history, share = add_end(
                histories[job.account], moderated=is_moderated(job), limit=limit
            )
            histories[job.account] = history
            self.changes.moderation_warned[job.account] = history.warned
            if share is not None:
                data = ModerationData(
                    provider=job.provider, share=share, window=len(history.ended), job=job.id
                )
                self.emit_system_event("provider.moderation_warning", DEFAULT_TENANT, data)

    def _add_event(self, event: Event, receivers: Sequence[Subscription]) -> None:
        self.changes.events.append(event)
        for subscription in receivers:
            self.changes.delivery_tasks.append(self._deliver(event, subscription))

    def _deliver(self, event: Event, subscription: Subscription) -> DeliveryTask:
        """Create the delivery of *event*, and decide who sends it.

        It is not placed here if that would overtake an earlier event that is pending elsewhere.
        """
        pair = (event.job_id or event.id, subscription.id)
        earlier = self._pending.get(pair, 0)
        self._pending[pair] = event.sequence
        if earlier and subscription.delivery == "latest":
            self._supersede_progress(event, *pair)
        newest_here = self._placed_here.get(pair, 0)
        pending_elsewhere = 0 if newest_here == earlier else earlier
        placement = self._placement.place(subscription, event.job_id, pending_elsewhere)
        delivery = new_delivery(event, subscription, self.new_id("dlv"))
        match placement:
            case Placement.LOCAL:
                self._placed_here[pair] = event.sequence
                delivery = replace(delivery, lease_version=1, due_at=self.at + LEASE)
            case Placement.PARKED | Placement.OVERFLOW:
                delivery = replace(delivery, due_at=None)
        if placement is Placement.OVERFLOW:
            self.changes.overflowed.add(subscription.id)
        return DeliveryTask(delivery, subscription, event.payload, earlier)

    def _supersede_progress(self, event: Event, job_id: str, subscription_id: str) -> None:
        """End the progress deliveries of the job that are not sent yet: *event* is newer."""
        self.changes.supersede_ranges.append(
            SupersedeRange(
                job_id=job_id,
                subscription_id=subscription_id,
                sequence=event.sequence,
                at=self.at,
            )
        )
        waiting = self._placement.waiting_progress(subscription_id, job_id)
        self.changes.superseded += [replace(one, settled_at=self.at) for one in waiting]


class Transactions:
    """Opens transactions, and calls the hooks *on_commit* in their order after each commit.

    The operator is warned of an account whose share of moderated jobs is above *moderation_limit*
    (BELFRY_MODERATION_WARNING); None: never.

    A block of `begin`, `add_jobs` and `record_attempts` awaits nothing. If it raises, nothing of it
    is written, and no hook is called. Every method raises Unavailable if the store cannot commit.
    """

    def __init__(  # noqa: PLR0913 - each is another part of the service
        self,
        store: Store,
        clock: Clock,
        new_id: IdFactory,
        placement: PlacementPolicy,
        on_commit: tuple[OnCommit, ...],
        *,
        moderation_limit: float | None = None,
    ) -> None:
        self._store, self.clock, self._new_id = store, clock, new_id
        self._placement, self._on_commit = placement, on_commit
        self._moderation_limit = moderation_limit

    @asynccontextmanager
    async def begin(
        self, refs: Sequence[str], *, accounts: bool = False
    ) -> AsyncIterator[UnitOfWork]:
        """Change the jobs of the submissions *refs*; *accounts* also reads and locks accounts."""
        async with self._store.transaction(refs, accounts=accounts) as opened:
            uow = self._unit_of_work(opened)
            yield uow
            await self._watch_moderation(uow, opened)
        self._committed(uow.changes)

    async def add_jobs(
        self, new: Sequence[NewJob], key: Idempotency | None
    ) -> tuple[Sequence[Job], bool]:
        """Insert jobs; returns them and True, or the jobs of *key*'s first request and False."""
        async with self._store.insert_jobs(new, key) as opened:
            if opened.replayed:
                return opened.jobs, False
            uow = self._unit_of_work(opened)
            jobs = [uow.transition(None, job) for job in opened.jobs]
        self._committed(uow.changes)
        return jobs, True

    @asynccontextmanager
    async def record_attempts(self, updates: Sequence[DeliveryUpdate]) -> AsyncIterator[UnitOfWork]:
        """Write *updates*, and what the block makes of the health of their receivers."""
        async with self._store.record_attempts(updates) as opened:
            uow = self._unit_of_work(opened)
            yield uow
        self._committed(uow.changes)

    async def _watch_moderation(self, uow: UnitOfWork, opened: JobTransaction) -> None:
        """Count the accounts' moderated jobs, in the store and only if one has just ended."""
        ended = uow.changes.ended_jobs
        accounts = sorted({job.account for job in ended if is_moderated(job)})
        if self._moderation_limit is not None and accounts:
            histories = await opened.read_moderation(accounts, [job.id for job in ended])
            uow.warn_of_moderation(histories, self._moderation_limit)

    def _unit_of_work(self, opened: OpenTransaction) -> UnitOfWork:
        return UnitOfWork(opened, self.clock(), self._new_id, self._placement)

    def _committed(self, changes: ChangeSet) -> None:
        for hook in self._on_commit:
            hook(changes)
