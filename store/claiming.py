"""Claiming deliveries: what is due, what was parked, whose turn it is, and who is to be probed."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from service.domain.deliveries.delivery import Delivery, DeliveryTask
from service.domain.primitives.timestamps import SECOND
from service.transactions.store_protocols import ClaimRequest, ClaimResult
from store.engine.session import Row, Session
from store.receiver_leases import ReceiverLeases
from store.rows import delivery_of, subscription_of

PARKED: Final = 200
"""How many deliveries that must wait are put out of the way at a time; intake waits meanwhile."""
BACKLOGS: Final = 20
PROBES: Final = 20
TURNS: Final = 50


async def claim(session: Session, wanted: ClaimRequest, lanes: ReceiverLeases) -> ClaimResult:
    """Lease what may be sent now, the oldest first, in order per job."""
    await lanes.open(session)
    await session.queue("share_subscriptions")
    for subscription, turn in sorted(wanted.next_sends.items()):
        await session.queue("put_off_turn", id=subscription, turn=turn)
    found = await _look(session, wanted, lanes.shut)
    for subscription in sorted({row["subscription_id"] for row in found.parked}):
        await session.queue("mark_backlog", id=subscription)
    due = await _due(session, wanted, lanes, found.due)
    probes = await _probes(session, wanted, lanes, found.probes)
    old = await _backlogs(session, wanted, lanes, found.backlogs)
    turns, slots = await _turns(session, wanted, lanes, found.rated)
    await lanes.close(session)
    leased = map(delivery_of, [*probes, *old, *turns, *due])
    tasks = await _parcels(session, sorted(leased, key=lambda d: d.id))
    probed = {row["id"] for row in probes}
    marked = [_marked(p, probe=p.delivery.id in probed, slots=slots) for p in tasks]
    full_page = len(found.due) == wanted.limit and len(due) > 0
    return ClaimResult(marked, more=bool(old) or full_page or len(found.parked) == PARKED)


class _Found(NamedTuple):
    """What one look at the store has found."""

    parked: Sequence[Row]
    probes: Sequence[Row]
    backlogs: Sequence[Row]
    rated: Sequence[Row]
    due: Sequence[Row]


async def _look(session: Session, wanted: ClaimRequest, shut: Sequence[str]) -> _Found:
    """Ask all there is to ask at once: each question is a way to the database and back."""
    at, closed = wanted.at, list(shut)
    turns = {"horizon": at + SECOND, "too_far": wanted.lease_until, "limit": TURNS}
    return _Found(
        *await session.fetch_all(
            (
                "park_deliveries",
                {"at": at, "full": list(wanted.full), "limit": PARKED},
            ),
            ("due_probes", {"at": at, "shut": closed, "limit": PROBES}),
            ("backlogs", {"shut": closed, "limit": BACKLOGS}),
            ("rated", {"at": at, "shut": closed, **turns}),
            ("due_deliveries", {"at": at, "shut": closed, "limit": wanted.limit}),
        )
    )


async def _lease(session: Session, wanted: ClaimRequest, due: Sequence[Row]) -> Sequence[Row]:
    if not due:
        return []
    ids = [row["id"] for row in due]
    return await session.fetch("lease_deliveries", ids=ids, lease_until=wanted.lease_until)


async def _due(
    session: Session, wanted: ClaimRequest, lanes: ReceiverLeases, due: Sequence[Row]
) -> Sequence[Row]:
    ours = lanes.take(row["subscription_id"] for row in due)
    return await _lease(session, wanted, [row for row in due if row["subscription_id"] in ours])


async def _of(
    session: Session, wanted: ClaimRequest, subscription: str, limit: int
) -> Sequence[Row]:
    due = await session.fetch("due_of", subscription=subscription, at=wanted.at, limit=limit)
    return await _lease(session, wanted, due)


async def _probes(
    session: Session, wanted: ClaimRequest, lanes: ReceiverLeases, probes: Sequence[Row]
) -> list[Row]:
    """One delivery for each receiver that is to be tried; with none it is asked for again."""
    found: list[Row] = []
    for subscription in sorted(lanes.take(row["subscription_id"] for row in probes)):
        await session.queue("put_off_probe", id=subscription, lease_until=wanted.lease_until)
        found += await _of(session, wanted, subscription, 1)
    return found


async def _backlogs(
    session: Session, wanted: ClaimRequest, lanes: ReceiverLeases, backlogs: Sequence[Row]
) -> list[Row]:
    ours = lanes.take(row["id"] for row in backlogs)
    found: list[Row] = []
    for row in backlogs:
        if row["id"] in ours:
            found += await _backlog(session, wanted, row)
    return found


async def _backlog(session: Session, wanted: ClaimRequest, row: Row) -> Sequence[Row]:
    old = await _of(session, wanted, row["id"], wanted.limit)
    if len(old) < wanted.limit:
        await session.queue("end_backlog", id=row["id"], backlog=row["backlog"])
    return old


async def _turns(
    session: Session, wanted: ClaimRequest, lanes: ReceiverLeases, rated: Sequence[Row]
) -> tuple[list[Row], dict[str, int]]:
    """Give out the turns of the next second; a rate holds whichever process sends."""
    found: list[Row] = []
    slots: dict[str, int] = {}
    ours = lanes.take(row["id"] for row in rated)
    for row in rated:
        if row["id"] not in ours:
            continue
        first, pause = max(row["rated_at"], wanted.at), SECOND // row["rate"]
        count = max(1, (wanted.at + SECOND - first) // pause)
        turn = await _of(session, wanted, row["id"], count)
        for n, one in enumerate(sorted(turn, key=lambda r: r["id"])):
            slots[one["id"]] = first + n * pause
        if turn:
            await session.queue("set_rated", id=row["id"], rated_at=first + len(turn) * pause)
        found += turn
    return found, slots


def _marked(task: DeliveryTask, *, probe: bool, slots: dict[str, int]) -> DeliveryTask:
    not_before = slots.get(task.delivery.id, 0)
    return msgspec.structs.replace(task, probe=probe, not_before=not_before, claimed=True)


async def _parcels(session: Session, claimed: Sequence[Delivery]) -> list[DeliveryTask]:
    if not claimed:
        return []
    ids = sorted({d.subscription_id for d in claimed})
    rows, events = await session.fetch_all(
        ("subscriptions_by_id", {"ids": ids}),
        ("payloads", {"ids": sorted({d.event_id for d in claimed})}),
    )
    receivers = {row["id"]: subscription_of(row) for row in rows}
    payloads = {row["id"]: bytes(row["payload"]) for row in events}
    return [
        DeliveryTask(d, receivers[d.subscription_id], payloads[d.event_id])
        for d in claimed
        if d.subscription_id in receivers
    ]
