"""PostgreSQL: start-up checks, several processes on one database, notifications, failures."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE, DeliveryTask
from service.domain.jobs.job import Status
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.errors import Invalid, StartError, Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Snapshot
from service.transactions.slots import SlotRules
from service.transactions.store_protocols import ChangeTopic, Idempotency, Store
from store import open_store
from store.engine.postgres import open_postgres
from store.receiver_leases import LEEWAY
from store.sql_store import SqlStore
from tests.support.databases import connected, end_connections, foreign_database
from tests.support.factories import (
    T0,
    a_claim,
    a_delivery,
    a_new_job,
    a_subscription,
    an_event,
)
from tests.support.service_harness import eventually
from tests.support.store_steps import insert_jobs, put_subscription
from tests.support.transactions import add_jobs, change, no_changes, write

pytestmark = pytest.mark.anyio


async def gather_in_time(*work: object) -> list[object]:
    """Wait for all of *work*; a deadlock is a TimeoutError."""
    async with asyncio.timeout(15):
        return list(await asyncio.gather(*work))  # type: ignore[call-overload]


async def add_deliveries(store: Store, count: int, to: Subscription | None = None) -> list[str]:
    """Write one event and *count* deliveries of different jobs; returns the ids."""
    subscription, event = to or a_subscription(), an_event()
    await store.subscriptions.put(subscription)
    deliveries = [
        a_delivery(event_id=event.id, subscription_id=subscription.id, job_id=f"job_{n}")
        for n in range(count)
    ]
    tasks = [DeliveryTask(delivery, subscription, event.payload) for delivery in deliveries]
    await change(store, [], write(events=[event], delivery_tasks=tasks))
    return [delivery.id for delivery in deliveries]


# Starting


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://belfry@127.0.0.1:1/belfry", "the database cannot be used (connection"),
        ("postgresql://belfry:%zz@127.0.0.1/belfry", "percent-encode"),
    ],
)
async def test_an_unusable_url_is_an_error_of_the_setting(url: str, message: str) -> None:
    with pytest.raises(StartError, match=r"^BELFRY_DATABASE_URL: ") as raised:
        await open_store(url, T0)

    assert message in str(raised.value)
    assert "%zz" not in str(raised.value)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE ROLE {role} LOGIN PASSWORD 'right'", "permission denied"),
        ("CREATE ROLE {role} NOLOGIN", "is not permitted to log in"),
        ("SELECT '{role}'", "does not exist"),
    ],
)
async def test_a_user_without_access_is_an_error_of_the_setting(
    statement: str, message: str, postgres_url: str
) -> None:
    name = f"role_{abs(hash((statement, postgres_url)))}"
    async with connected(postgres_url) as admin:
        await admin.execute(statement.format(role=name).encode())
        await admin.execute(b"REVOKE CREATE ON SCHEMA public FROM public")
        try:
            with pytest.raises(StartError, match=r"^BELFRY_DATABASE_URL: ") as raised:
                await open_store(as_user(postgres_url, f"{name}:wrong-secret"), T0)
        finally:
            await admin.execute(f"DROP ROLE IF EXISTS {name}".encode())

    assert message in str(raised.value)
    assert "wrong-secret" not in str(raised.value)


def as_user(url: str, user: str) -> str:
    scheme, rest = url.split("://")
    return f"{scheme}://{user}@{rest.split('@')[1]}"


async def test_a_read_only_server_is_rejected(postgres_url: str) -> None:
    options = "options=-c%20default_transaction_read_only%3Don"
    separator = "&" if "?" in postgres_url else "?"

    with pytest.raises(StartError, match="BELFRY_DATABASE_URL: the server is read-only"):
        await open_store(f"{postgres_url}{separator}{options}", T0)


async def test_a_database_that_is_not_utf8_is_rejected(postgres: str) -> None:
    with (
        foreign_database(postgres, "LATIN1") as url,
        pytest.raises(StartError, match="BELFRY_DATABASE_URL: the database's encoding is LATIN1"),
    ):
        await open_store(url, T0)


async def test_a_missing_driver_is_reported_with_the_extra_to_install(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "store.engine.postgres", None)

    with pytest.raises(StartError, match=r"pip install 'belfry\[postgres\]'"):
        await open_store(postgres_url, T0)


async def test_migrations_run_once_when_several_processes_start_together(postgres_url: str) -> None:
    stores = await asyncio.gather(*(open_store(postgres_url, T0) for _ in range(6)))
    async with connected(postgres_url) as admin:
        rows = await (await admin.execute("SELECT name FROM migrations")).fetchall()
    await asyncio.gather(*(store.close() for store in stores))

    assert [name for (name,) in rows] == sorted({name for (name,) in rows})
    assert rows


async def test_a_schema_of_a_newer_version_is_rejected(postgres_url: str) -> None:
    await (await open_store(postgres_url, T0)).close()
    async with connected(postgres_url) as admin:
        await admin.execute("INSERT INTO migrations (name) VALUES ('9999_later.sql')")

    with pytest.raises(StartError, match="another version of Belfry"):
        await open_store(postgres_url, T0)


# Several processes


async def test_two_batches_in_opposite_order_do_not_deadlock(stores: tuple[Store, Store]) -> None:
    new = [a_new_job() for _ in range(20)]
    await insert_jobs(stores[0], *new)
    refs = [one.job.ref for one in new]

    def increment_versions(snapshot: Snapshot) -> ChangeSet:
        return ChangeSet(
            jobs={j.id: replace(j, version=j.version + 1) for j in snapshot.jobs.values()}
        )

    orders = (refs, refs[::-1])
    await gather_in_time(
        *(change(stores[n % 2], orders[n % 2], increment_versions) for n in range(20))
    )
    job = await stores[0].jobs.get("acme", new[0].job.id)

    assert job.version == 21, "no change was lost"


async def test_a_reader_of_the_log_misses_no_event_of_concurrent_writers(
    stores: tuple[Store, Store],
) -> None:
    all_written = asyncio.Event()

    async def write_events(store: Store) -> None:
        for _ in range(60):
            await change(store, [], write(events=[an_event(job_id=None) for _ in range(3)]))

    async def read() -> list[int]:
        seen: list[int] = []
        while True:
            is_last = all_written.is_set()
            new = await stores[1].events.after("acme", seen[-1] if seen else 0, 50)
            seen += [event.seq for event in new]
            if is_last and not new:
                return seen

    reading = asyncio.create_task(read())
    await gather_in_time(*(write_events(store) for store in stores))
    all_written.set()
    seen = await asyncio.wait_for(reading, 15)

    assert len(seen) == 360


async def test_an_event_waits_for_the_lock_of_the_event_log(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(7140002)")
        waiting = asyncio.create_task(change(stores[0], [], write(events=[an_event()])))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
    await asyncio.wait_for(waiting, 10)


async def test_two_processes_never_claim_the_same_delivery(stores: tuple[Store, Store]) -> None:
    due = {delivery for _ in range(8) for delivery in await add_deliveries(stores[0], 20)}

    claims = await asyncio.gather(
        *(stores[n % 2].deliveries.claim(a_claim(limit=7)) for n in range(20))
    )
    claimed = [task.delivery.id for one in claims for task in one.tasks]

    assert len(claimed) == len(set(claimed)) > 20
    assert set(claimed) <= due


async def claim_receivers(store: Store, at: int = T0, **claim: Any) -> set[str]:
    """The subscriptions of the tasks that one claim returns."""
    claimed = await store.deliveries.claim(a_claim(at, **claim))
    return {task.subscription.id for task in claimed.tasks}


async def test_a_receiver_is_sent_to_by_one_process_at_a_time(stores: tuple[Store, Store]) -> None:
    await add_deliveries(stores[0], 10)

    mine = await claim_receivers(stores[0], limit=4)
    others = await claim_receivers(stores[1])
    rest = await claim_receivers(stores[0], queued_for=mine)

    assert (len(mine), others, rest) == (1, set(), mine)


async def test_a_receiver_with_an_empty_queue_is_free_for_other_processes(
    stores: tuple[Store, Store],
) -> None:
    await add_deliveries(stores[0], 10)
    mine = await claim_receivers(stores[0], limit=4)

    await claim_receivers(stores[0], queued_for=(), full=mine)

    assert await claim_receivers(stores[1]) == mine


async def test_the_receivers_of_a_killed_process_are_free_when_its_leases_end(
    stores: tuple[Store, Store],
) -> None:
    await add_deliveries(stores[0], 10)
    mine = await claim_receivers(stores[0], limit=4)

    assert await claim_receivers(stores[1], T0 + LEASE - 1) == set()
    assert await claim_receivers(stores[1], T0 + LEASE) == mine
    assert await claim_receivers(stores[0], T0 + LEASE, queued_for=mine) == set()


async def test_the_receivers_of_a_stopped_process_are_free_at_once(
    stores: tuple[Store, Store],
) -> None:
    await add_deliveries(stores[0], 10)
    mine = await claim_receivers(stores[0], limit=4)

    await stores[0].close()

    assert await claim_receivers(stores[1]) == mine


async def test_busy_receivers_spread_over_the_processes(stores: tuple[Store, Store]) -> None:
    await claim_receivers(stores[0])
    await claim_receivers(stores[1])
    for _ in range(60):
        await add_deliveries(stores[0], 3)

    first = await claim_receivers(stores[0], T0 + 1)
    second = await claim_receivers(stores[1], T0 + 1)
    more = await claim_receivers(stores[0], T0 + 2, queued_for=first)

    assert len(first) == LEEWAY, "none is busy yet"
    assert len(first | more) > LEEWAY, "the share grows with the number of busy receivers"
    assert second
    assert (first | more).isdisjoint(second)


async def test_a_single_process_takes_all_receivers(stores: tuple[Store, Store]) -> None:
    for _ in range(60):
        await add_deliveries(stores[0], 1)

    assert len(await claim_receivers(stores[0])) == 60


async def test_a_process_claims_nothing_for_receivers_above_its_share(
    stores: tuple[Store, Store],
) -> None:
    subscriptions = [a_subscription() for _ in range(40)]
    for subscription in subscriptions:
        await add_deliveries(stores[0], 1, to=subscription)
    mine: set[str] = set()
    for n in range(5):
        mine |= await claim_receivers(stores[0], T0 + n, queued_for=mine)
    await claim_receivers(stores[1], T0 + 5)
    for subscription in subscriptions:
        await add_deliveries(stores[0], 1, to=subscription)

    claimed = await claim_receivers(stores[0], T0 + 6, queued_for=mine)

    assert len(mine) == 40
    assert len(claimed) == 20 + LEEWAY, "half of the busy receivers, and the leeway"


async def test_rate_limited_deliveries_go_to_the_process_that_has_the_receiver(
    stores: tuple[Store, Store],
) -> None:
    rate_limited = a_subscription(rate_limit=5)
    await add_deliveries(stores[0], 10, to=rate_limited)
    mine = await claim_receivers(stores[0])

    others = await claim_receivers(stores[1], T0 + 10 * SECOND)

    assert (mine, others) == ({rate_limited.id}, set())


async def test_a_claim_skips_deliveries_that_another_transaction_has_locked(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    first, second = await add_deliveries(stores[0], 2)
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("SELECT id FROM deliveries WHERE id = %s FOR UPDATE", (first,))
        async with asyncio.timeout(5):
            claimed = await stores[1].deliveries.claim(a_claim())

    assert [task.delivery.id for task in claimed.tasks] == [second]


async def test_slots_are_limited_over_all_processes(stores: tuple[Store, Store]) -> None:
    await insert_jobs(stores[0], *(a_new_job() for _ in range(30)))

    claims = await asyncio.gather(
        *(
            stores[n % 2].jobs.claim(
                T0, SlotRules(limits={"useapi": 5}), lambda job: admitted(job, T0, T0 + LEASE)
            )
            for n in range(12)
        )
    )
    sent = [job.id for claim in claims for job in claim.jobs]

    assert (len(sent), len(set(sent))) == (5, 5)


async def test_a_request_repeated_at_another_process_creates_no_second_job(
    stores: tuple[Store, Store],
) -> None:
    key = Idempotency(name="k", digest="d")

    results = await asyncio.gather(
        *(add_jobs(stores[n % 2], [a_new_job()], key, no_changes) for n in range(6))
    )

    assert len({jobs[0].id for jobs, _ in results}) == 1
    assert sum(changes is not None for _, changes in results) == 1


async def test_only_one_of_several_processes_can_use_a_task_uuid(
    stores: tuple[Store, Store],
) -> None:
    new = [replace(a_new_job(), task_uuid="u1") for _ in range(6)]

    results = await asyncio.gather(
        *(add_jobs(stores[n % 2], [one], None, no_changes) for n, one in enumerate(new)),
        return_exceptions=True,
    )

    assert [type(result) for result in results].count(Invalid) == 5
    assert [type(result) for result in results].count(tuple) == 1


async def test_jobs_of_two_processes_with_one_reply_url_share_a_subscription(
    stores: tuple[Store, Store],
) -> None:
    replies = [a_subscription(kind="per_job", url="https://one.example/hook") for _ in range(6)]

    results = await asyncio.gather(
        *(
            insert_jobs(stores[n % 2], replace(a_new_job(), reply_subscription=reply))
            for n, reply in enumerate(replies)
        )
    )

    assert len({job.reply_subscription_id for (job,) in results}) == 1
    assert [job.created_reply_subscription for (job,) in results].count(True) == 1


async def test_no_delivery_is_pending_for_a_subscription_that_is_deleted_during_fan_out(
    stores: tuple[Store, Store],
) -> None:
    new = [a_new_job() for _ in range(20)]
    await insert_jobs(stores[0], *new)
    subscription = a_subscription()
    await stores[0].subscriptions.put(subscription)

    def fan_out(snapshot: Snapshot) -> ChangeSet:
        event = an_event()
        tasks = [
            DeliveryTask(a_delivery(event_id=event.id, subscription_id=one.id), one, event.payload)
            for one in snapshot.permanent.get("acme", ())
        ]
        return ChangeSet(events=[event], delivery_tasks=tasks)

    await gather_in_time(
        *(change(stores[n % 2], [new[n].job.ref], fan_out) for n in range(10)),
        stores[1].subscriptions.delete("acme", subscription.id, T0),
        *(change(stores[n % 2], [new[n].job.ref], fan_out) for n in range(10, 20)),
    )

    assert await stores[0].deliveries.next_due() is None


# Notifications


async def test_a_process_is_notified_of_the_commits_of_others_but_not_of_its_own(
    stores: tuple[Store, Store],
) -> None:
    first, second = TopicRecorder(), TopicRecorder()
    async with first.following(stores[0]), second.following(stores[1]):
        await add_jobs(stores[0], [a_new_job()], None, add_an_event)
        await add_deliveries(stores[0], 1)
        subscription = await put_subscription(stores[0])
        await stores[0].subscriptions.change("acme", subscription.id, lambda before: before)

        await second.wait_for(set(ChangeTopic))
        await change(stores[1], [], write(events=[an_event()]))
        await first.wait_for({ChangeTopic.EVENTS})

    assert first.topics == [{ChangeTopic.EVENTS}]


async def test_a_process_that_lost_its_connection_is_notified_of_every_topic(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    recorder = TopicRecorder()
    async with recorder.following(stores[0]):
        await end_connections(postgres_url)

        await recorder.wait_for(set(ChangeTopic))


def add_an_event(snapshot: Snapshot) -> ChangeSet:
    return ChangeSet(jobs={job.id: job for job in snapshot.jobs.values()}, events=[an_event()])


class TopicRecorder:
    """Records the topics that one store reports."""

    def __init__(self) -> None:
        self.topics: list[frozenset[ChangeTopic]] = []

    @asynccontextmanager
    async def following(self, store: Store) -> AsyncIterator[None]:
        """Record during the block, which begins when the store is listening."""
        task = asyncio.create_task(store.follow(self.topics.append))
        await self.wait_for(set(ChangeTopic))
        self.topics.clear()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_for(self, expected: set[ChangeTopic]) -> None:
        async def all_reported() -> bool:
            return expected <= {topic for topics in self.topics for topic in topics}

        await eventually(all_reported)


# Failures


async def test_a_lost_connection_raises_unavailable_once_and_is_replaced(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    await end_connections(postgres_url)

    with pytest.raises(Unavailable):
        await stores[0].check()

    await eventually(lambda: is_available(stores[0]))


async def is_available(store: Store) -> bool:
    try:
        await store.check()
    except Unavailable:
        return False
    return True


async def test_a_server_that_does_not_answer_raises_unavailable_in_time(
    postgres_url: str,
) -> None:
    store = SqlStore(await open_postgres(postgres_url, transaction_seconds=0.3))
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("LOCK TABLE versions")
        with pytest.raises(Unavailable, match="does not answer"):
            await store.check()

    await eventually(lambda: is_available(store))
    await store.close()


async def test_a_value_that_cannot_be_stored_raises_invalid(
    stores: tuple[Store, Store],
) -> None:
    long = "".join(sha256(bytes([n])).hexdigest() for n in range(200))

    with pytest.raises(Invalid):
        await insert_jobs(stores[0], a_new_job(tags=(long,)))


async def test_a_failed_insertion_writes_nothing(stores: tuple[Store, Store]) -> None:
    def fail(_: Snapshot) -> ChangeSet:
        raise LookupError

    new = a_new_job()
    with pytest.raises(LookupError):
        await add_jobs(stores[0], [new], None, fail)
    (job,) = await insert_jobs(stores[1], new)

    assert job.status is Status.QUEUED
