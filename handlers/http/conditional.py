"""What HTTP offers to those who would else poll: `Prefer: wait`, and entity tags."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from handlers.http.endpoint import ApiRequest
from service.domain.jobs.job import Job

LONGEST_SECONDS: Final = 60
_WAIT: Final = re.compile(r"""(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?=$|[,;\s])""", re.IGNORECASE)


def preferred_wait(request: ApiRequest[Any]) -> int | None:
    """Read the wait of `Prefer` in seconds (RFC 7240); what is no wait is ignored, as it asks."""
    found = (_WAIT.search(value) for value in request.request.headers.getlist("prefer"))
    wait = next((match for match in found if match), None)
    return None if wait is None else min(int(wait[1]), LONGEST_SECONDS)


async def until_ended(request: ApiRequest[Any], jobs: Sequence[Job], seconds: int) -> list[Job]:
    """Wait until all *jobs* have ended, *seconds* at most; returns them as they then stand."""
    wakeups = request.context.wakeups
    with ExitStack() as bells:
        ends = {job.id: bells.enter_context(wakeups.watch_job_end(job.id)) for job in jobs}
        now = await _as_they_stand(request, jobs)
        waits = [ends[job.id].wait() for job in now if not job.ended]
        if not waits:
            return now
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)
    return await _as_they_stand(request, jobs)


async def _as_they_stand(request: ApiRequest[Any], jobs: Sequence[Job]) -> list[Job]:
    found = await request.context.store.jobs.get_many(request.tenant, [job.id for job in jobs])
    return [found.get(job.id, job) for job in jobs]


def entity_tag(job: Job) -> str:
    """Weak, because it names the version of the job and not the bytes that show it."""
    return f'W/"{job.version}"'


def is_known(request: ApiRequest[Any], tag: str) -> bool:
    """Compare `If-None-Match` with *tag*, weakly (RFC 9110, section 13.1.2)."""
    given = request.request.headers.get("if-none-match", "").split(",")
    return any(one.strip().removeprefix("W/") in ("*", tag.removeprefix("W/")) for one in given)
