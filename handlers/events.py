"""The log of events over HTTP."""

from typing import cast

import msgspec
from starlette.responses import Response

from handlers.doors import Nothing, Visit
from handlers.lists import Listed, Paged, listed
from service.events import TYPES, Body, Event
from service.ids import is_seq


class LogQuery(Paged, frozen=True, kw_only=True):
    """The log is paged by `seq`, not by id."""

    def is_cursor(self, text: str) -> bool:
        return is_seq(text)


class EventsQuery(LogQuery, frozen=True, kw_only=True):
    type: str | None = None
    job: str | None = None
    provider: str | None = None


class EventType(msgspec.Struct, frozen=True):
    type: str
    description: str


async def show(visit: Visit[Nothing]) -> Body:
    """Look at one event: the very bytes its subscribers get."""
    event = await visit.context.store.event(visit.tenant, visit.id("evt"))
    return cast("Body", Response(event.payload, media_type="application/json"))


async def listing(visit: Visit[EventsQuery]) -> Listed[Body]:
    """List the events of all your jobs, newest first."""
    query = visit.query
    found = await visit.context.store.events(visit.tenant, query.wanted(), query.page())
    return _listed(found, query.limit)


async def of_job(visit: Visit[LogQuery]) -> Listed[Body]:
    """List the events of one job, newest first."""
    job = await visit.context.store.job(visit.tenant, visit.id("job"))
    page = visit.query.page()
    found = await visit.context.store.events(visit.tenant, {"job": job.id}, page)
    return _listed(found, visit.query.limit)


async def types(visit: Visit[Nothing]) -> Listed[EventType]:
    """List the types of events there are."""
    del visit
    return Listed(data=[EventType(name, words) for name, words in TYPES.items()])


def _listed(found: list[Event], limit: int) -> Listed[Body]:
    """The payloads are bodies already, byte for byte as they were sent."""
    payloads = [msgspec.Raw(event.payload) for event in found]
    return listed(cast("list[Body]", payloads), limit, [event.seq for event in found])
