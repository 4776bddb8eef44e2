"""Deletes what is older than the retention period, in small batches."""

from typing import Final

from service.domain.primitives.ids import new_id
from store.engine.session import Session
from store.repositories.repository import Repository

_OF_JOBS: Final = (
    "delete_attempts",
    "delete_deliveries",
    "delete_events",
    "delete_callbacks",
    "delete_submissions",
    "delete_tags",
    "delete_task_uuids",
    "delete_inputs",
    "delete_jobs",
)
_OF_SYSTEM_EVENTS: Final = (
    "delete_system_event_attempts",
    "delete_system_event_deliveries",
    "delete_system_events",
)


class RetentionRepository(Repository):
    async def prune(self, before: int, limit: int, after: str) -> tuple[int, str]:
        bounds = {"after": after, "before": new_id("job", before, 0), "limit": limit}
        async with self._database.reading() as session:
            rows = await session.fetch("prunable_jobs", **bounds)
        jobs: list[str] = []
        if not after or any(row["prunable"] for row in rows):  # else leave the writer alone
            async with self._database.writing(long=True) as session:
                rows = await session.fetch("prunable_jobs", **bounds)
                jobs = [row["id"] for row in rows if row["prunable"]]
                for query in _OF_JOBS if jobs else ():
                    await session.queue(query, jobs=jobs)
                if not after:
                    await _prune_others(session, before, limit)
        return len(jobs), rows[-1]["id"] if len(rows) == limit else ""


async def _prune_others(session: Session, before: int, limit: int) -> None:
    """Delete what belongs to no job."""
    await session.queue("delete_idempotency_keys", at=before)
    await session.queue("delete_recoveries", before=new_id("rec", before, 0))
    oldest = new_id("evt", before, 0)
    rows = await session.fetch("prunable_system_events", before=oldest, limit=limit)
    events = [row["id"] for row in rows]
    for query in _OF_SYSTEM_EVENTS if events else ():
        await session.queue(query, events=events)
