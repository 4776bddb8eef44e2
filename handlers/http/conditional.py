"""Request headers that save polling: `Prefer: wait` (RFC 7240) and entity tags (RFC 9110)."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from handlers.http.endpoint import ApiRequest
from service.domain.jobs.job import Job

MAX_WAIT_SECONDS: Final = 60
_WAIT: Final = re.compile(r"""(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?=$|[,;\s])""", re.IGNORECASE)


def preferred_wait(request: ApiRequest[Any]) -> int | None:
    """Return the wait of the `Prefer` header in seconds, 60 at most.

    None without the header. Invalid preferences are ignored, as RFC 7240 (section 2) requires.
    """
    values = request.http_request.headers.getlist("prefer")
    matches = (_WAIT.search(value) for value in values)
    wait = next((match for match in matches if match), None)
    return None if wait is None else min(int(wait[1]), MAX_WAIT_SECONDS)


async def wait_until_ended(
    request: ApiRequest[Any], jobs: Sequence[Job], seconds: int
) -> list[Job]:
    """Wait until all *jobs* have ended, at most *seconds*; returns their current state."""
    wakeups = request.context.wakeups
    with ExitStack() as stack:
        ends = {job.id: stack.enter_context(wakeups.watch_job_end(job.id)) for job in jobs}
        current = await _reload(request, jobs)
        waits = [ends[job.id].wait() for job in current if not job.ended]
        if not waits:
            return current
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)
    return await _reload(request, jobs)


async def _reload(request: ApiRequest[Any], jobs: Sequence[Job]) -> list[Job]:
    found = await request.context.store.jobs.get_many(request.tenant, [job.id for job in jobs])
    return [found.get(job.id, job) for job in jobs]


def entity_tag(job: Job) -> str:
    """Return a weak tag: it identifies the version of the job, not the bytes of the response."""
    return f'W/"{job.version}"'


def matches_if_none_match(request: ApiRequest[Any], tag: str) -> bool:
    """Compare `If-None-Match` with *tag* by weak comparison (RFC 9110, section 13.1.2)."""
    given = request.http_request.headers.get("if-none-match", "").split(",")
    return any(one.strip().removeprefix("W/") in ("*", tag.removeprefix("W/")) for one in given)
