"""Live streams: server-sent events from the log, resumed without gap or repeat."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from handlers.api.events import event_patterns
from handlers.http.endpoint import ApiRequest
from service.context import AppContext
from service.domain.events import Event
from service.domain.jobs.job import ENDS, Job
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.ids import is_seq
from service.domain.subscriptions.subscription import matches_type
from service.runtime.open_streams import OpenStream, OpenStreams
from service.transactions.store_protocols import Store

PAGE_EVENTS: Final = 100
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_LAST: Final = frozenset(f"job.{status}" for status in ENDS)


Place = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    event_types: str | None = None
    provider: str | None = None
    tag: str | None = None
    after: Place | None = None


class JobStreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    after: Place | None = None


async def stream_all(request: ApiRequest[StreamQuery]) -> StreamingResponse:
    """Follow the events of all your jobs; resumes after `Last-Event-ID` or `?after=`."""
    query = request.query
    patterns = event_patterns(query.event_types or "*")

    def wanted(event: Event) -> bool:
        return (
            matches_type(patterns, event.type)
            and query.provider in (None, event.provider)
            and (query.tag is None or query.tag in event.tags)
        )

    after = await _start(request, query.after)
    return _streamed(request, after, wanted)


async def stream_job(request: ApiRequest[JobStreamQuery]) -> StreamingResponse:
    """Follow one job from its first event until its end, then close."""
    job = await request.context.store.jobs.get(request.tenant, request.id("job"))
    after = _asked(request, request.query.after)
    return _streamed(request, after or 0, None, job)


def _asked(
    request: ApiRequest[StreamQuery] | ApiRequest[JobStreamQuery], after: int | None
) -> int | None:
    """Where the client left off; the header wins, because browsers set it when they reconnect."""
    given = request.request.headers.get("last-event-id")
    if given is None:
        return after
    if not is_seq(given):
        raise Invalid([FieldError("Last-Event-ID", "must be the id of a message of this stream")])
    return int(given)


async def _start(request: ApiRequest[StreamQuery], after: int | None) -> int:
    asked = _asked(request, after)
    return await request.context.store.events.last_seq() if asked is None else asked


class _EventStream(StreamingResponse):
    """Sends *messages*; *stream* is open until that ends, in whichever way."""

    def __init__(
        self, messages: AsyncGenerator[bytes], stream: OpenStream, streams: OpenStreams
    ) -> None:
        super().__init__(messages, media_type="text/event-stream", headers=_HEADERS)
        self._messages, self._stream, self._streams = messages, stream, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._messages):
                await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._stream)


def _streamed(
    request: ApiRequest[StreamQuery] | ApiRequest[JobStreamQuery],
    after: int,
    wanted: Callable[[Event], bool] | None,
    job: Job | None = None,
) -> StreamingResponse:
    """Stream what follows *after*; TooManyStreams when the tenant has all it may."""
    context, streams = request.context, request.context.streams
    reader = _LogReader(context.store, request.tenant, after, wanted, job)
    stream = streams.open(request.caller)
    return _EventStream(_follow(context, stream, reader), stream, streams)


async def _follow(
    context: AppContext, stream: OpenStream, reader: "_LogReader"
) -> AsyncGenerator[bytes]:
    """Read on, then wait; the ticket comes first, so that no wake-up in between is lost.

    Heartbeats have a clock of their own: wake-ups that bring nothing to send do not put them off.
    With each of them the key is looked up, because another process may have revoked it; and with
    the first, because this one may have done so since the request was let in.
    """
    wakeups, clock = context.wakeups, asyncio.get_running_loop().time
    ticket, comment, beat_at = None, b": open\n\n", clock()
    while not (wakeups.closed or stream.revoked):
        if clock() >= beat_at:
            if stream.key_id is not None and not await context.store.api_keys.exists(stream.key_id):
                return
            yield comment
            comment, beat_at = b": still here\n\n", clock() + context.heartbeat_seconds
        elif reader.unsent:
            yield reader.unsent.popleft()
        elif ticket is not None:
            if await wakeups.wait(ticket, beat_at - clock()):
                ticket = None
        else:
            ticket = wakeups.next_wakeup(stream.tenant)
            if await reader.read_page():
                ticket = None
            elif reader.ended:
                return


class _LogReader:
    """Reads the log for one stream, page by page; *ended* once a job's last event was read.

    Nothing else keeps a message that was taken from *unsent*: a client that does not read costs
    the rest of a page at most.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        after: int,
        wanted: Callable[[Event], bool] | None,
        job: Job | None,
    ) -> None:
        self._store, self._tenant, self._seq, self._wanted = store, tenant, after, wanted
        self._job_id = None if job is None else job.id
        self.ended = job is not None and job.ended
        self.unsent: deque[bytes] = deque()

    async def read_page(self) -> bool:
        """Read the next page; False when there is nothing new."""
        events = await self._store.events.after(self._tenant, self._seq, PAGE_EVENTS, self._job_id)
        for event in events:
            self._seq = event.seq
            self.ended = self._job_id is not None and event.type in _LAST
            if self._wanted is None or self._wanted(event):
                self.unsent.append(_message(event))
        return bool(events)


def _message(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), event.payload)
