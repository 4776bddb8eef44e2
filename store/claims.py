"""Claiming deliveries: what is due, what was parked, whose turn it is, and who is to be probed."""

from collections.abc import Sequence
from typing import Final

import msgspec

from service.deliveries import HELD, Delivery, Parcel
from service.ports import Claim, Claimed
from service.times import SECOND
from store.database import Row, Session
from store.lanes import Lanes
from store.rows import delivery_of, subscription_of

PARKED: Final = 1000
"""How many deliveries that must wait are put out of the way at a time."""
BACKLOGS: Final = 20
PROBES: Final = 20
TURNS: Final = 50


async def claim(session: Session, wanted: Claim, lanes: Lanes) -> Claimed:
    """Lease what may be sent now, the oldest first, in order per job."""
    await lanes.open(session)
    await session.run("share_subscriptions")
    for subscription, turn in sorted(wanted.turns.items()):
        await session.run("put_off_turn", id=subscription, turn=turn)
    probes = await _probes(session, wanted, lanes)
    old = await _backlogs(session, wanted, lanes)
    turns, slots = await _turns(session, wanted, lanes)
    due, more = await _due(session, wanted, lanes)
    parked = await _park(session, wanted)
    await lanes.close(session)
    found = map(delivery_of, [*probes, *old, *turns, *due])
    parcels = await _parcels(session, sorted(found, key=lambda d: d.id))
    probed = {row["id"] for row in probes}
    marked = [_marked(p, probe=p.delivery.id in probed, slots=slots) for p in parcels]
    return Claimed(marked, more=bool(old) or more or parked == PARKED)


async def _lease(session: Session, wanted: Claim, due: Sequence[Row]) -> Sequence[Row]:
    if not due:
        return []
    ids = [row["id"] for row in due]
    return await session.rows("lease_deliveries", ids=ids, lease_until=wanted.lease_until)


async def _due(session: Session, wanted: Claim, lanes: Lanes) -> tuple[Sequence[Row], bool]:
    """What is due at receivers that are ours, and whether there may be more of it."""
    due = await session.rows(
        "due_deliveries", at=wanted.at, shut=list(lanes.shut), limit=wanted.limit
    )
    ours = lanes.take(row["subscription_id"] for row in due)
    found = await _lease(session, wanted, [row for row in due if row["subscription_id"] in ours])
    return found, len(due) == wanted.limit and len(found) > 0


async def _of(session: Session, wanted: Claim, subscription: str, limit: int) -> Sequence[Row]:
    due = await session.rows(
        "due_of", subscription=subscription, at=wanted.at, held=HELD, limit=limit
    )
    return await _lease(session, wanted, due)


async def _probes(session: Session, wanted: Claim, lanes: Lanes) -> list[Row]:
    """One delivery for each receiver that is to be tried; with none it is asked for again."""
    due = await session.rows("due_probes", at=wanted.at, shut=list(lanes.shut), limit=PROBES)
    found: list[Row] = []
    for subscription in sorted(lanes.take(row["subscription_id"] for row in due)):
        await session.run("put_off_probe", id=subscription, lease_until=wanted.lease_until)
        found += await _of(session, wanted, subscription, 1)
    return found


async def _backlogs(session: Session, wanted: Claim, lanes: Lanes) -> list[Row]:
    rows = await session.rows("backlogs", shut=list(lanes.shut), limit=BACKLOGS)
    ours = lanes.take(row["id"] for row in rows)
    found: list[Row] = []
    for row in rows:
        if row["id"] in ours:
            found += await _backlog(session, wanted, row)
    return found


async def _backlog(session: Session, wanted: Claim, row: Row) -> Sequence[Row]:
    old = await _of(session, wanted, row["id"], wanted.limit)
    if len(old) < wanted.limit:
        await session.run("end_backlog", id=row["id"], backlog=row["backlog"], held=HELD)
    return old


async def _turns(session: Session, wanted: Claim, lanes: Lanes) -> tuple[list[Row], dict[str, int]]:
    """Give out the turns of the next second; a rate holds whichever process sends."""
    found: list[Row] = []
    slots: dict[str, int] = {}
    horizon = wanted.at + SECOND
    rated = await session.rows(
        "rated", at=wanted.at, held=HELD, horizon=horizon, shut=list(lanes.shut), limit=TURNS
    )
    ours = lanes.take(row["id"] for row in rated)
    for row in rated:
        if row["id"] not in ours:
            continue
        first, pause = max(row["rated_at"], wanted.at), SECOND // row["rate"]
        turn = await _of(session, wanted, row["id"], max(1, (horizon - first) // pause))
        for n, one in enumerate(sorted(turn, key=lambda r: r["id"])):
            slots[one["id"]] = first + n * pause
        if turn:
            await session.run("set_rated", id=row["id"], rated_at=first + len(turn) * pause)
        found += turn
    return found, slots


async def _park(session: Session, wanted: Claim) -> int:
    rows = await session.rows(
        "park_deliveries", at=wanted.at, full=list(wanted.full), held=HELD, limit=PARKED
    )
    for subscription in sorted({row["subscription_id"] for row in rows}):
        await session.run("mark_backlog", id=subscription)
    return len(rows)


def _marked(parcel: Parcel, *, probe: bool, slots: dict[str, int]) -> Parcel:
    not_before = slots.get(parcel.delivery.id, 0)
    if not probe and not not_before:
        return parcel
    return msgspec.structs.replace(parcel, probe=probe, not_before=not_before)


async def _parcels(session: Session, claimed: Sequence[Delivery]) -> list[Parcel]:
    if not claimed:
        return []
    ids = sorted({d.subscription_id for d in claimed})
    rows = await session.rows("subscriptions_by_id", ids=ids)
    receivers = {row["id"]: subscription_of(row) for row in rows}
    events = await session.rows("payloads", ids=sorted({d.event_id for d in claimed}))
    payloads = {row["id"]: bytes(row["payload"]) for row in events}
    return [
        Parcel(d, receivers[d.subscription_id], payloads[d.event_id])
        for d in claimed
        if d.subscription_id in receivers
    ]
