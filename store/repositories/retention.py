"""Upkeep of the store: what is outlived is forgotten, in small batches; how much is owed."""

from typing import Final

from service.domain.deliveries.delivery import BacklogStats
from service.domain.primitives import ids
from store.engine.session import Session
from store.repositories.repository import Repository

_OF_JOBS: Final = (
    *("forget_attempts", "forget_deliveries", "forget_events", "forget_callbacks"),
    *("forget_submissions", "forget_tags", "forget_task_uuids", "forget_inputs", "forget_jobs"),
)
_OF_NOTICES: Final = ("forget_notice_attempts", "forget_notice_deliveries", "forget_notices")


class RetentionRepository(Repository):
    async def forget(self, before: int, limit: int, after: str) -> tuple[int, str]:
        """Look at *limit* jobs made before that time, and forget what ended, with all of it.

        What is still owed to somebody is never forgotten. Returns how many jobs it were, and
        *after* which one to go on; that is empty at the end.
        """
        asked = {"after": after, "before": ids.new_id("job", before, 0), "limit": limit}
        async with self._database.reading() as session:
            rows = await session.fetch("old_jobs", **asked)
        jobs: list[str] = []
        if not after or any(row["outlived"] for row in rows):  # else nobody waits for the writer
            async with self._database.writing(long=True) as session:
                rows = await session.fetch("old_jobs", **asked)
                jobs = [row["id"] for row in rows if row["outlived"]]
                for query in _OF_JOBS if jobs else ():
                    await session.queue(query, jobs=jobs)
                if not after:
                    await _forget_the_rest(session, before, limit)
        return len(jobs), rows[-1]["id"] if len(rows) == limit else ""

    async def owed(self) -> BacklogStats:
        """How long somebody has waited for a delivery, and how the receivers stand."""
        async with self._database.reading() as session:
            oldest = (await session.fetch("oldest_owed"))[0]["id"]
            states = await session.fetch("receiver_states")
        return BacklogStats(
            oldest=None if oldest is None else ids.created_at_of(oldest),
            receivers={row["state"]: row["count"] for row in states},
        )


async def _forget_the_rest(session: Session, before: int, limit: int) -> None:
    await session.queue("forget_idempotency", at=before)
    await session.queue("forget_recoveries", before=ids.new_id("rec", before, 0))
    oldest = ids.new_id("evt", before, 0)
    rows = await session.fetch("notices_outlived", before=oldest, limit=limit)
    events = [row["id"] for row in rows]
    for query in _OF_NOTICES if events else ():
        await session.queue(query, events=events)
