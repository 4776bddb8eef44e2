"""What HTTP offers to those who would else poll: `Prefer: wait`, and entity tags."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from handlers.doors import Visit
from service.jobs import Job

LONGEST_SECONDS: Final = 60
_WAIT: Final = re.compile(r"""(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?=$|[,;\s])""", re.IGNORECASE)


def preferred_wait(visit: Visit[Any]) -> int | None:
    """Read the wait of `Prefer` in seconds (RFC 7240); what is no wait is ignored, as it asks."""
    found = (_WAIT.search(value) for value in visit.request.headers.getlist("prefer"))
    wait = next((match for match in found if match), None)
    return None if wait is None else min(int(wait[1]), LONGEST_SECONDS)


async def until_ended(visit: Visit[Any], jobs: Sequence[Job], seconds: int) -> list[Job]:
    """Wait for the end of all *jobs*, but no longer than *seconds*; woken by their events."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    return list(await asyncio.gather(*(_until_ended(visit, job, deadline) for job in jobs)))


async def _until_ended(visit: Visit[Any], job: Job, deadline: float) -> Job:
    feed, store = visit.context.feed, visit.context.store
    with feed.bell(job.id) as bell:
        job = await store.job(visit.tenant, job.id)
        if job.ended:
            return job
        try:
            async with asyncio.timeout_at(deadline):
                await bell.wait()
        except TimeoutError:
            return job
    return await store.job(visit.tenant, job.id)


def entity_tag(job: Job) -> str:
    """Weak, because it names the version of the job and not the bytes that show it."""
    return f'W/"{job.version}"'


def is_known(visit: Visit[Any], tag: str) -> bool:
    """Compare `If-None-Match` with *tag*, weakly (RFC 9110, section 13.1.2)."""
    given = visit.request.headers.get("if-none-match", "").split(",")
    return any(one.strip().removeprefix("W/") in ("*", tag.removeprefix("W/")) for one in given)
