"""Live streams: server-sent events from the log, resumed without gap or repeat."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

import msgspec
from starlette.responses import StreamingResponse

from handlers.doors import Visit
from service.context import Context
from service.errors import Fault, Invalid
from service.events import Event
from service.ids import is_seq
from service.jobs import ENDS, Job
from service.metrics import STREAMS
from service.subscriptions import covers, pattern_faults

HEARTBEAT_SECONDS: Final = 15.0
GROUP: Final = 200
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_LAST: Final = frozenset(f"job.{status}" for status in ENDS)


Place = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    types: str | None = None
    provider: str | None = None
    tag: str | None = None
    after: Place | None = None


class JobStreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    after: Place | None = None


async def everything(visit: Visit[StreamQuery]) -> StreamingResponse:
    """Follow the events of all your jobs; resumes after `Last-Event-ID` or `?after=`."""
    query = visit.query
    patterns = tuple(part.strip() for part in (query.types or "*").split(",") if part.strip())
    if faults := pattern_faults(patterns, "?types"):
        raise Invalid(faults)

    def wanted(event: Event) -> bool:
        return (
            covers(patterns, event.type)
            and query.provider in (None, event.provider)
            and (query.tag is None or query.tag in event.tags)
        )

    after = await _start(visit, query.after)
    return _streamed(_follow(visit.context, visit.tenant, after, wanted))


async def of_job(visit: Visit[JobStreamQuery]) -> StreamingResponse:
    """Follow one job from its first event until its end, then close."""
    job = await visit.context.store.job(visit.tenant, visit.id("job"))
    after = _asked(visit, visit.query.after)
    return _streamed(_follow(visit.context, visit.tenant, after or 0, None, job))


def _asked(visit: Visit[StreamQuery] | Visit[JobStreamQuery], after: int | None) -> int | None:
    """Where the client left off; the header wins, because browsers set it when they reconnect."""
    given = visit.request.headers.get("last-event-id")
    if given is None:
        return after
    if not is_seq(given):
        raise Invalid([Fault("Last-Event-ID", "must be the id of a message of this stream")])
    return int(given)


async def _start(visit: Visit[StreamQuery], after: int | None) -> int:
    asked = _asked(visit, after)
    return await visit.context.store.last_seq() if asked is None else asked


def _streamed(body: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(body, media_type="text/event-stream", headers=_HEADERS)


async def _follow(
    context: Context,
    tenant: str,
    seq: int,
    wanted: Callable[[Event], bool] | None,
    job: Job | None = None,
) -> AsyncIterator[bytes]:
    """Read on, then wait; the ticket comes first, so that no wake-up in between is lost."""
    job_id, ended = (None, False) if job is None else (job.id, job.ended)
    STREAMS.inc()
    try:
        yield b": open\n\n"
        while not context.feed.closed:
            ticket = context.feed.ticket()
            events = await context.store.events_after(tenant, seq, GROUP, job_id)
            for event in events:
                seq = event.seq
                if wanted is None or wanted(event):
                    yield _message(event)
            if job_id is not None and events and events[-1].type in _LAST:
                return
            if ended and not events:
                return
            if not events and not await context.feed.wait(ticket, HEARTBEAT_SECONDS):
                yield b": still here\n\n"
    finally:
        STREAMS.dec()


def _message(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), event.payload)
