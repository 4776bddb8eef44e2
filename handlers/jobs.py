"""Jobs over HTTP: submitted, looked at, listed."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from handlers.bodies import convert, read_json_body
from handlers.doors import Nothing, Visit
from handlers.lists import Listed, Paged, listed
from service.context import Context
from service.errors import Fault, Invalid
from service.job_view import JobView, view
from service.jobs import Job, Status
from service.orders import MAX_ORDERS, Order, idempotency
from service.redaction import redacted_json


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    expand: Literal["raw"] | None = None


class JobsQuery(Paged, frozen=True, kw_only=True):
    status: Status | None = None
    provider: str | None = None
    operation: str | None = None
    tag: str | None = None
    ref: str | None = None


async def submit(visit: Visit[Nothing]) -> JobView | Listed[JobView]:
    """Submit a job, or up to 100 in an array: all or none."""
    given = await read_json_body(visit.request)
    orders = _orders(given)
    key = idempotency(visit.request.headers.get("idempotency-key"), given)
    context = visit.context
    new = context.desk.take(visit.tenant, orders, context.clock())
    jobs, fresh = await context.mover.add(new, key)
    inputs = {one.job.id: one.input for one in new} if fresh else await _inputs(context, jobs)
    views = [_shown(job, inputs.get(job.id)) for job in jobs]
    headers = {} if fresh else {"idempotent-replayed": "true"}
    if isinstance(given, list):
        return visit.reply(Listed(data=views), 202, headers)
    return visit.reply(views[0], 202, {**headers, "location": f"/v1/jobs/{jobs[0].id}"})


def _orders(given: Any) -> list[Order]:
    if not isinstance(given, list):
        return [convert(given, Order)]
    if not 1 <= len(given) <= MAX_ORDERS:
        raise Invalid([Fault("", f"an array of jobs has 1 to {MAX_ORDERS} of them")])
    return [convert(one, Order, f"[{n}]") for n, one in enumerate(given)]


async def show(visit: Visit[JobQuery]) -> JobView:
    """Look at one job; `expand=raw` adds the provider's own last body."""
    context = visit.context
    job = await context.store.job(visit.tenant, visit.id("job"))
    shown = _shown(job, (await context.store.inputs([job.id])).get(job.id))
    if visit.query.expand == "raw":
        body = await context.store.last_body(job.id)
        shown = replace(shown, raw=msgspec.Raw(redacted_json(body)))
    return shown


async def listing(visit: Visit[JobsQuery]) -> Listed[JobView]:
    """List jobs; `ref` finds them by submission ref, task id or your own reference."""
    query = visit.query
    jobs = await visit.context.store.jobs(visit.tenant, query.wanted(), query.page())
    inputs = await _inputs(visit.context, jobs)
    views = [_shown(job, inputs.get(job.id)) for job in jobs]
    return listed(views, query.limit, [job.id for job in jobs])


async def _inputs(context: Context, jobs: Sequence[Job]) -> dict[str, bytes]:
    return await context.store.inputs([job.id for job in jobs])


def _shown(job: Job, given: bytes | None) -> JobView:
    return replace(view(job), input=msgspec.Raw(redacted_json(given)))
