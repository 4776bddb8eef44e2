"""Event streams: server-sent events from the log, resumed without gaps or repeats."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from handlers.api.events import parse_event_patterns
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
_MESSAGE: Final = b"id: %d\nevent: %s\ndata: %s\n\n"
_END_EVENTS: Final = frozenset(f"job.{status}" for status in ENDS)
Seq = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
"""The position of an event in the log, which is also the id of its message."""


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of the stream of all events."""

    event_types: str | None = None
    provider: str | None = None
    tag: str | None = None
    after: Seq | None = None


class JobStreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of the stream of one job."""

    after: Seq | None = None


StreamRequest = ApiRequest[StreamQuery] | ApiRequest[JobStreamQuery]


async def stream_all(request: ApiRequest[StreamQuery]) -> StreamingResponse:
    """Stream all your events, from now on, or after `Last-Event-ID` or `after`."""
    query = request.query
    patterns = parse_event_patterns(query.event_types or "*")

    def matches(event: Event) -> bool:
        return (
            matches_type(patterns, event.type)
            and query.provider in (None, event.provider)
            and (query.tag is None or query.tag in event.tags)
        )

    after = _resume_after(request, query.after)
    if after is None:
        after = await request.context.store.events.last_seq()
    return _open_stream(request, after, matches)


async def stream_job(request: ApiRequest[JobStreamQuery]) -> StreamingResponse:
    """Stream one job, from its first event to its end. Then the stream closes."""
    job = await request.context.store.jobs.get(request.tenant, request.id("job"))
    after = _resume_after(request, request.query.after)
    return _open_stream(request, after or 0, None, job)


def _resume_after(request: StreamRequest, after: int | None) -> int | None:
    """Return the `seq` of the last event that the client has; None if it has none.

    The header takes precedence over *after*, because browsers set it when they reconnect.
    """
    last_event_id = request.http_request.headers.get("last-event-id")
    if last_event_id is None:
        return after
    if not is_seq(last_event_id):
        raise Invalid([FieldError("Last-Event-ID", "must be the id of a message of this stream")])
    return int(last_event_id)


def _open_stream(
    request: StreamRequest,
    after: int,
    matches: Callable[[Event], bool] | None,
    job: Job | None = None,
) -> StreamingResponse:
    """Stream the events after the `seq` *after*; TooManyStreams at the limit of the tenant."""
    context, streams = request.context, request.context.streams
    reader = _LogReader(context.store, request.tenant, after, matches, job)
    stream = streams.open(request.principal)
    return _EventStream(_messages(context, stream, reader), stream, streams)


class _EventStream(StreamingResponse):
    """Sends *messages*, and closes *stream* however the response ends."""

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


async def _messages(
    context: AppContext, stream: OpenStream, reader: "_LogReader"
) -> AsyncGenerator[bytes]:
    """Yield the messages of *reader*, and a heartbeat each `heartbeat_seconds`.

    The wake-up is requested before the log is read, so that no commit in between is missed.
    Heartbeats have their own timer: events that the stream filters out do not delay them. Each
    heartbeat checks in the store that the API key still exists, because another process may have
    deleted it. The first one does so too: this process may have deleted it since authentication.
    """
    wakeups, clock = context.wakeups, asyncio.get_running_loop().time
    wakeup, comment, heartbeat_at = None, b": open\n\n", clock()
    while not (wakeups.closed or stream.revoked):
        if clock() >= heartbeat_at:
            if stream.key_id is not None and not await context.store.api_keys.exists(stream.key_id):
                return
            yield comment
            comment, heartbeat_at = b": still here\n\n", clock() + context.heartbeat_seconds
        elif reader.unsent:
            yield reader.unsent.popleft()
        elif wakeup is not None:
            if await wakeups.wait(wakeup, heartbeat_at - clock()):
                wakeup = None
        else:
            wakeup = wakeups.next_wakeup(stream.tenant)
            if await reader.read_page():
                wakeup = None
            elif reader.ended:
                return


class _LogReader:
    """Reads the log for one stream, page by page; *ended* once a job's last event was read.

    A message is referenced only by *unsent* until it is sent, so that a client that does not read
    holds at most one page in memory.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        after: int,
        matches: Callable[[Event], bool] | None,
        job: Job | None,
    ) -> None:
        self._store, self._tenant, self._seq, self._matches = store, tenant, after, matches
        self._job_id = None if job is None else job.id
        self.ended = job is not None and job.ended
        self.unsent: deque[bytes] = deque()

    async def read_page(self) -> bool:
        """Read the next page into *unsent*; False if there are no new events."""
        events = await self._store.events.after(self._tenant, self._seq, PAGE_EVENTS, self._job_id)
        for event in events:
            self._seq = event.seq
            self.ended = self._job_id is not None and event.type in _END_EVENTS
            if self._matches is None or self._matches(event):
                message = _MESSAGE % (event.seq, event.type.encode(), event.payload)
                self.unsent.append(message)
        return bool(events)
