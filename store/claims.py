"""Claiming deliveries: what is due, what was parked, whose turn it is, and who is to be probed."""

from collections.abc import Sequence
from typing import Final

import msgspec

from service.deliveries import HELD, Delivery, Parcel
from service.ports import Claimed
from service.times import SECOND
from store.database import Row, Session
from store.rows import delivery_of, subscription_of

PARKED: Final = 1000
"""How many deliveries that must wait are put out of the way at a time."""
BACKLOGS: Final = 20
PROBES: Final = 20
TURNS: Final = 50


class Claim(msgspec.Struct, frozen=True):
    """When, until when, how many at most, and which subscriptions have enough in hand."""

    at: int
    lease_until: int
    limit: int
    full: Sequence[str]


async def claim(session: Session, wanted: Claim) -> Claimed:
    """Lease what may be sent now, the oldest first, in order per job."""
    await session.run("share_subscriptions")
    probes = await _probes(session, wanted)
    old = await _backlogs(session, wanted)
    turns, slots = await _turns(session, wanted)
    due = await session.rows(
        "claim_deliveries",
        at=wanted.at,
        lease_until=wanted.lease_until,
        limit=wanted.limit,
        full=list(wanted.full),
    )
    parked = await _park(session, wanted)
    found = [*map(delivery_of, probes), *map(delivery_of, [*old, *turns, *due])]
    parcels = await _parcels(session, sorted(found, key=lambda d: d.id))
    probed = {row["id"] for row in probes}
    marked = [_marked(p, probe=p.delivery.id in probed, slots=slots) for p in parcels]
    return Claimed(marked, more=bool(old) or len(due) == wanted.limit or parked == PARKED)


async def _of(session: Session, wanted: Claim, subscription: str, limit: int) -> Sequence[Row]:
    return await session.rows(
        "claim_of",
        subscription=subscription,
        at=wanted.at,
        held=HELD,
        lease_until=wanted.lease_until,
        limit=limit,
    )


async def _probes(session: Session, wanted: Claim) -> list[Row]:
    """One delivery for each receiver that is to be tried; with none it is asked for again."""
    due = await session.rows(
        "claim_probes", at=wanted.at, lease_until=wanted.lease_until, limit=PROBES
    )
    found: list[Row] = []
    for row in due:
        found += await _of(session, wanted, row["subscription_id"], 1)
    return found


async def _backlogs(session: Session, wanted: Claim) -> list[Row]:
    found: list[Row] = []
    full = list(wanted.full)
    for row in await session.rows("backlogs", full=full, limit=BACKLOGS):
        old = await _of(session, wanted, row["id"], wanted.limit)
        found += old
        if len(old) < wanted.limit:
            await session.run("end_backlog", id=row["id"], backlog=row["backlog"], held=HELD)
    return found


async def _turns(session: Session, wanted: Claim) -> tuple[list[Row], dict[str, int]]:
    """Give out the turns of the next second; a rate holds however many processes send."""
    found: list[Row] = []
    slots: dict[str, int] = {}
    horizon = wanted.at + SECOND
    rated = await session.rows(
        "rated", at=wanted.at, held=HELD, horizon=horizon, full=list(wanted.full), limit=TURNS
    )
    for row in rated:
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
