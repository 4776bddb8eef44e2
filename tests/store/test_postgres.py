"""What only a database that many processes share can get wrong."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE, DeliveryTask
from service.domain.jobs.job import Status
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.errors import Invalid, StartError, Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Snapshot
from service.transactions.slots import AccountQueue, Admission
from service.transactions.store_protocols import ChangeTopic, Idempotency, Store
from store import open_store
from store.receiver_leases import LEEWAY
from tests.support.databases import foreign_database
from tests.support.factories import (
    T0,
    a_claim,
    a_delivery,
    a_new_job,
    a_subscription,
    an_event,
)
from tests.support.service_harness import eventually
from tests.support.transactions import add_jobs, change

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two processes' stores on one database."""
    both = await asyncio.gather(*(open_store(postgres_url, T0) for _ in range(2)))
    yield both[0], both[1]
    await asyncio.gather(*(store.close() for store in both))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def in_time(*work: object) -> list[object]:
    """Wait for all of *work*, but not for ever: a deadlock or a lock that is kept fails here."""
    async with asyncio.timeout(15):
        return list(await asyncio.gather(*work))  # type: ignore[call-overload]


def nothing(_: Snapshot) -> ChangeSet:
    return ChangeSet()


def three_events(_: Snapshot) -> ChangeSet:
    return ChangeSet(events=[an_event(job_id=None) for _ in range(3)])


async def owed(store: Store, count: int, to: Subscription | None = None) -> list[str]:
    subscription, event = to or a_subscription(), an_event()
    await store.subscriptions.put(subscription)
    due = [
        a_delivery(event_id=event.id, subscription_id=subscription.id, job_id=f"job_{n}")
        for n in range(count)
    ]
    tasks = [DeliveryTask(delivery, subscription, event.payload) for delivery in due]
    await change(store, [], lambda _: ChangeSet(events=[event], delivery_tasks=tasks))
    return [delivery.id for delivery in due]


# Starting


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://belfry@127.0.0.1:1/belfry", "cannot use it (connection"),
        ("postgresql://belfry:%zz@127.0.0.1/belfry", "percent-encode"),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_as_a_setting(url: str, words: str) -> None:
    with pytest.raises(StartError, match=r"^BELFRY_DATABASE_URL: ") as told:
        await open_store(url, T0)

    assert words in str(told.value)
    assert "%zz" not in str(told.value)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("CREATE ROLE {role} LOGIN PASSWORD 'right'", "permission denied"),
        ("CREATE ROLE {role} NOLOGIN", "is not permitted to log in"),
        ("SELECT '{role}'", "does not exist"),
    ],
)
async def test_a_user_who_may_not_is_told_as_a_setting(
    role: str, words: str, postgres_url: str
) -> None:
    name = f"stranger_{abs(hash((role, postgres_url)))}"
    async with connected(postgres_url) as admin:
        await admin.execute(role.format(role=name).encode())
        await admin.execute(b"REVOKE CREATE ON SCHEMA public FROM public")
        try:
            with pytest.raises(StartError, match=r"^BELFRY_DATABASE_URL: ") as told:
                await open_store(as_user(postgres_url, f"{name}:wrong-secret"), T0)
        finally:
            await admin.execute(f"DROP ROLE IF EXISTS {name}".encode())

    assert words in str(told.value)
    assert "wrong-secret" not in str(told.value)


def as_user(url: str, user: str) -> str:
    scheme, rest = url.split("://")
    return f"{scheme}://{user}@{rest.split('@')[1]}"


async def test_a_read_only_server_is_refused(postgres_url: str) -> None:
    options = "options=-c%20default_transaction_read_only%3Don"
    joint = "&" if "?" in postgres_url else "?"

    with pytest.raises(StartError, match="BELFRY_DATABASE_URL: the server is read-only"):
        await open_store(f"{postgres_url}{joint}{options}", T0)


async def test_an_encoding_that_is_not_unicode_is_refused(postgres: str) -> None:
    with (
        foreign_database(postgres, "LATIN1") as url,
        pytest.raises(StartError, match="BELFRY_DATABASE_URL: the database's encoding is LATIN1"),
    ):
        await open_store(url, T0)


async def test_without_the_driver_the_extra_is_named(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "store.engine.postgres", None)

    with pytest.raises(StartError, match=r"pip install 'belfry\[postgres\]'"):
        await open_store(postgres_url, T0)


async def test_migrations_run_once_however_many_start_together(postgres_url: str) -> None:
    stores = await asyncio.gather(*(open_store(postgres_url, T0) for _ in range(6)))
    async with connected(postgres_url) as admin:
        rows = await (await admin.execute("SELECT name FROM migrations")).fetchall()
    await asyncio.gather(*(store.close() for store in stores))

    assert [name for (name,) in rows] == sorted({name for (name,) in rows})
    assert rows


async def test_a_schema_of_a_newer_version_is_refused(postgres_url: str) -> None:
    await (await open_store(postgres_url, T0)).close()
    async with connected(postgres_url) as admin:
        await admin.execute("INSERT INTO migrations (name) VALUES ('9999_later.sql')")

    with pytest.raises(StartError, match="newer than this Belfry"):
        await open_store(postgres_url, T0)


# Side by side


async def test_two_batches_in_opposite_order_do_not_deadlock(stores: tuple[Store, Store]) -> None:
    new = [a_new_job() for _ in range(20)]
    await add_jobs(stores[0], new, None, nothing)
    refs = [one.job.ref for one in new]

    def touch(found: Snapshot) -> ChangeSet:
        return ChangeSet(
            jobs={j.id: replace(j, version=j.version + 1) for j in found.jobs.values()}
        )

    orders = (refs, refs[::-1])
    await in_time(*(change(stores[n % 2], orders[n % 2], touch) for n in range(20)))
    job = await stores[0].jobs.get("acme", new[0].job.id)

    assert job.version == 21, "no change was lost"


async def test_a_reader_of_the_log_misses_nothing_that_commits_late(
    stores: tuple[Store, Store],
) -> None:
    writing = asyncio.Event()

    async def write(store: Store) -> None:
        for _ in range(60):
            await change(store, [], three_events)

    async def read() -> list[int]:
        seen: list[int] = []
        while True:
            over = writing.is_set()
            new = await stores[1].events.after("acme", seen[-1] if seen else 0, 50)
            seen += [event.seq for event in new]
            if over and not new:
                return seen

    reading = asyncio.create_task(read())
    await in_time(*(write(store) for store in stores))
    writing.set()
    seen = await asyncio.wait_for(reading, 15)

    assert len(seen) == 360


async def test_an_event_waits_for_one_that_was_numbered_before(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(7140002)")
        late = asyncio.create_task(change(stores[0], [], lambda _: ChangeSet(events=[an_event()])))
        done, _ = await asyncio.wait([late], timeout=0.3)
        assert not done
    await asyncio.wait_for(late, 10)


async def test_two_workers_never_claim_the_same_delivery(stores: tuple[Store, Store]) -> None:
    due = {delivery for _ in range(8) for delivery in await owed(stores[0], 20)}

    claims = await asyncio.gather(
        *(stores[n % 2].deliveries.claim(a_claim(limit=7)) for n in range(20))
    )
    claimed = [task.delivery.id for one in claims for task in one.tasks]

    assert len(claimed) == len(set(claimed)) > 20
    assert set(claimed) <= due


async def receivers_of(store: Store, at: int = T0, **claim: Any) -> set[str]:
    """Whom a process sends to after one more claim."""
    claimed = await store.deliveries.claim(a_claim(at, **claim))
    return {task.subscription.id for task in claimed.tasks}


async def test_a_receiver_is_sent_to_by_one_process_at_a_time(stores: tuple[Store, Store]) -> None:
    await owed(stores[0], 10)

    mine = await receivers_of(stores[0], limit=4)
    theirs = await receivers_of(stores[1])
    rest = await receivers_of(stores[0], queued_for=mine)

    assert (len(mine), theirs, rest) == (1, set(), mine)


async def test_what_runs_empty_is_free_for_the_others(stores: tuple[Store, Store]) -> None:
    await owed(stores[0], 10)
    mine = await receivers_of(stores[0], limit=4)

    await receivers_of(stores[0], queued_for=(), full=mine)

    assert await receivers_of(stores[1]) == mine


async def test_the_receivers_of_a_process_that_died_are_free_when_its_leases_end(
    stores: tuple[Store, Store],
) -> None:
    await owed(stores[0], 10)
    mine = await receivers_of(stores[0], limit=4)

    assert await receivers_of(stores[1], T0 + LEASE - 1) == set()
    assert await receivers_of(stores[1], T0 + LEASE) == mine
    assert await receivers_of(stores[0], T0 + LEASE, queued_for=mine) == set()


async def test_the_receivers_of_a_process_that_ended_are_free_at_once(
    stores: tuple[Store, Store],
) -> None:
    await owed(stores[0], 10)
    mine = await receivers_of(stores[0], limit=4)

    await stores[0].close()

    assert await receivers_of(stores[1]) == mine


async def test_busy_receivers_spread_over_the_processes(stores: tuple[Store, Store]) -> None:
    await receivers_of(stores[0])
    await receivers_of(stores[1])
    for _ in range(60):
        await owed(stores[0], 3)

    first = await receivers_of(stores[0], T0 + 1)
    second = await receivers_of(stores[1], T0 + 1)
    more = await receivers_of(stores[0], T0 + 2, queued_for=first)

    assert len(first) == LEEWAY, "none is busy yet"
    assert len(first | more) > LEEWAY, "the more are busy, the larger the share"
    assert second
    assert (first | more).isdisjoint(second)


async def test_the_only_process_takes_all_there_is(stores: tuple[Store, Store]) -> None:
    for _ in range(60):
        await owed(stores[0], 1)

    assert len(await receivers_of(stores[0])) == 60


async def test_what_a_process_has_above_its_share_is_left_to_run_empty(
    stores: tuple[Store, Store],
) -> None:
    hooks = [a_subscription() for _ in range(40)]
    for hook in hooks:
        await owed(stores[0], 1, to=hook)
    mine: set[str] = set()
    for turn in range(5):
        mine |= await receivers_of(stores[0], T0 + turn, queued_for=mine)
    await receivers_of(stores[1], T0 + 5)
    for hook in hooks:
        await owed(stores[0], 1, to=hook)

    again = await receivers_of(stores[0], T0 + 6, queued_for=mine)

    assert len(mine) == 40
    assert len(again) == 20 + LEEWAY, "half of all that are busy, and the leeway"


async def test_a_probe_a_backlog_and_a_turn_are_given_to_whoever_has_the_receiver(
    stores: tuple[Store, Store],
) -> None:
    rated = a_subscription(rate_limit=5)
    await owed(stores[0], 10, to=rated)
    mine = await receivers_of(stores[0])

    theirs = await receivers_of(stores[1], T0 + 10 * SECOND)

    assert (mine, theirs) == ({rated.id}, set())


async def test_a_claim_passes_over_what_another_has_locked(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    first, second = await owed(stores[0], 2)
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("SELECT id FROM deliveries WHERE id = %s FOR UPDATE", (first,))
        async with asyncio.timeout(5):
            claimed = await stores[1].deliveries.claim(a_claim())

    assert [task.delivery.id for task in claimed.tasks] == [second]


async def test_slots_hold_across_processes(stores: tuple[Store, Store]) -> None:
    await add_jobs(stores[0], [a_new_job() for _ in range(30)], None, nothing)

    def choose(queues: Sequence[AccountQueue]) -> Admission:
        jobs = [
            admitted(job, T0, T0 + LEASE)
            for queue in queues
            for job in queue.jobs[: min(2, 5 - queue.used)]
        ]
        return Admission(jobs=jobs, waiting=True, paused=frozenset())

    claims = await asyncio.gather(*(stores[n % 2].jobs.claim(T0, choose) for n in range(12)))
    sent = [job.id for claim in claims for job in claim.jobs]

    assert (len(sent), len(set(sent))) == (5, 5)


async def test_a_request_repeated_at_another_process_makes_no_second_job(
    stores: tuple[Store, Store],
) -> None:
    key = Idempotency(name="k", digest="d")

    made = await asyncio.gather(
        *(add_jobs(stores[n % 2], [a_new_job()], key, nothing) for n in range(6))
    )

    assert len({jobs[0].id for jobs, _ in made}) == 1
    assert sum(changes is not None for _, changes in made) == 1


async def test_a_task_uuid_is_given_to_one_job_whichever_process_takes_it(
    stores: tuple[Store, Store],
) -> None:
    new = [replace(a_new_job(), task_uuid="u1") for _ in range(6)]

    made = await asyncio.gather(
        *(add_jobs(stores[n % 2], [one], None, nothing) for n, one in enumerate(new)),
        return_exceptions=True,
    )

    assert [type(one) for one in made].count(Invalid) == 5
    assert [type(one) for one in made].count(tuple) == 1


async def test_jobs_with_one_reply_url_share_a_subscription_whoever_takes_them(
    stores: tuple[Store, Store],
) -> None:
    def reply() -> object:
        return a_subscription(kind="per_job", url="https://one.example/hook")

    made = await asyncio.gather(
        *(
            add_jobs(
                stores[n % 2], [replace(a_new_job(), reply_subscription=reply())], None, nothing
            )
            for n in range(6)
        )
    )

    assert len({jobs[0].reply_subscription_id for jobs, _ in made}) == 1


async def test_nothing_is_owed_to_a_subscription_that_was_deleted_meanwhile(
    stores: tuple[Store, Store],
) -> None:
    new = [a_new_job() for _ in range(20)]
    await add_jobs(stores[0], new, None, nothing)
    subscription = a_subscription()
    await stores[0].subscriptions.put(subscription)

    def owe(found: Snapshot) -> ChangeSet:
        event = an_event()
        tasks = [
            DeliveryTask(a_delivery(event_id=event.id, subscription_id=one.id), one, event.payload)
            for one in found.permanent.get("acme", ())
        ]
        return ChangeSet(events=[event], delivery_tasks=tasks)

    await in_time(
        *(change(stores[n % 2], [new[n].job.ref], owe) for n in range(10)),
        stores[1].subscriptions.delete("acme", subscription.id, T0),
        *(change(stores[n % 2], [new[n].job.ref], owe) for n in range(10, 20)),
    )

    assert await stores[0].deliveries.next_due() is None


# Hints


async def test_what_one_process_commits_the_others_hear_of(stores: tuple[Store, Store]) -> None:
    ours, theirs = Heard(), Heard()
    async with ours.listening(stores[0]), theirs.listening(stores[1]):
        await add_jobs(stores[0], [a_new_job()], None, with_an_event)
        await owed(stores[0], 1)
        await stores[0].subscriptions.put(changed := a_subscription())
        await stores[0].subscriptions.change("acme", changed.id, lambda before: before)

        await theirs.wait_for(set(ChangeTopic))
        await change(stores[1], [], lambda _: ChangeSet(events=[an_event()]))
        await ours.wait_for({ChangeTopic.EVENTS})

    assert ours.topics == [{ChangeTopic.EVENTS}], "nobody hears of their own"


async def test_whoever_lost_the_connection_looks_at_everything(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    heard = Heard()
    async with heard.listening(stores[0]):
        await cut_off(postgres_url)

        await heard.wait_for(set(ChangeTopic))


def with_an_event(found: Snapshot) -> ChangeSet:
    return ChangeSet(jobs={job.id: job for job in found.jobs.values()}, events=[an_event()])


class Heard:
    """Keeps the hints of one store."""

    def __init__(self) -> None:
        self.topics: list[frozenset[ChangeTopic]] = []

    @asynccontextmanager
    async def listening(self, store: Store) -> AsyncIterator[None]:
        """Listen until the block ends; it begins when the first word is heard."""
        task = asyncio.create_task(store.follow(self.topics.append))
        await self.wait_for(set(ChangeTopic))
        self.topics.clear()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_for(self, wanted: set[ChangeTopic]) -> None:
        async def all_heard() -> bool:
            return wanted <= {topic for topics in self.topics for topic in topics}

        await eventually(all_heard)


async def cut_off(url: str) -> None:
    """End every connection to the database, as a fail-over does."""
    async with connected(url) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


# Trouble


async def test_a_lost_connection_is_told_and_made_good(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    await cut_off(postgres_url)

    with pytest.raises(Unavailable):
        await stores[0].check()

    await eventually(lambda: is_well(stores[0]))


async def is_well(store: Store) -> bool:
    try:
        await store.check()
    except Unavailable:
        return False
    return True


async def test_a_server_that_does_not_answer_is_told_in_time(
    stores: tuple[Store, Store], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.engine.postgres.TRANSACTION_SECONDS", 0.3)
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("LOCK TABLE versions")
        with pytest.raises(Unavailable, match="does not answer"):
            await stores[0].check()

    assert await is_well(stores[0])


async def test_a_value_that_cannot_be_stored_is_no_fault_of_the_database(
    stores: tuple[Store, Store],
) -> None:
    long = "".join(sha256(bytes([n])).hexdigest() for n in range(200))

    with pytest.raises(Invalid):
        await add_jobs(stores[0], [a_new_job(tags=(long,))], None, nothing)


async def test_a_change_that_fails_leaves_nothing_behind(stores: tuple[Store, Store]) -> None:
    def broken(_: Snapshot) -> ChangeSet:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - our own, from the line above
        await add_jobs(stores[0], [new := a_new_job()], None, broken)
    jobs, _ = await add_jobs(stores[1], [new], None, nothing)

    assert jobs[0].status is Status.QUEUED
