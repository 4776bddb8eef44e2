"""Jobs over HTTP: submitted, looked at, listed."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from handlers.http.bodies import convert, read_json_body
from handlers.http.conditional import entity_tag, is_known, preferred_wait, until_ended
from handlers.http.endpoint import Nothing, Reply, Visit
from handlers.http.pagination import Listed, Paged, listed
from service.context import Context
from service.domain.jobs.job import Job, Status
from service.domain.jobs.state_machine import RETRYABLE, canceled, retried
from service.domain.jobs.view import JobView, cancellation, view
from service.domain.primitives.errors import Conflict, Fault, Invalid
from service.domain.security.redaction import redacted_json
from service.runtime.tasks import LARGE, in_thread_if_large
from service.transactions.change_set import Submission
from service.transactions.job_request import MAX_ORDERS, Order, idempotency
from service.transactions.store_protocols import Idempotency, NewJob
from service.transactions.unit_of_work import Moves


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    expand: Literal["raw"] | None = None


class JobsQuery(Paged, frozen=True, kw_only=True):
    status: Status | None = None
    provider: str | None = None
    operation: str | None = None
    tag: str | None = None
    ref: str | None = None


async def submit(visit: Visit[Nothing]) -> Reply[JobView | Listed[JobView]]:
    """Submit a job, or up to 100 in an array: all or none."""
    given = await read_json_body(visit.request)
    context, headers = visit.context, visit.request.headers
    size = int(headers.get("content-length", LARGE))
    new, key = await in_thread_if_large(size, _taken, visit, given)
    jobs, fresh = await context.mover.add(new, key)
    inputs = {one.job.id: one.input for one in new} if fresh else await _inputs(context, jobs)
    told = {} if fresh else {"idempotent-replayed": "true"}
    if (seconds := preferred_wait(visit)) is not None:
        jobs = await until_ended(visit, jobs, seconds)
        told["preference-applied"] = f"wait={seconds}"
    status = 200 if seconds is not None and all(job.ended for job in jobs) else 202
    views = [await _shown(job, inputs.get(job.id)) for job in jobs]
    if isinstance(given, list):
        return Reply(Listed(data=views), status, told)
    return Reply(views[0], status, {**told, "location": f"/v1/jobs/{jobs[0].id}"})


def _taken(visit: Visit[Nothing], given: Any) -> tuple[list[NewJob], Idempotency | None]:
    """Check the whole body and make its jobs; nothing of it waits, so a thread may do it."""
    context, name = visit.context, visit.request.headers.get("idempotency-key")
    new = context.desk.take(visit.tenant, _orders(given), context.clock())
    return new, idempotency(name, given)


def _orders(given: Any) -> list[Order]:
    if not isinstance(given, list):
        return [convert(given, Order)]
    if not 1 <= len(given) <= MAX_ORDERS:
        raise Invalid([Fault("", f"an array of jobs has 1 to {MAX_ORDERS} of them")])
    return [convert(one, Order, f"[{n}]") for n, one in enumerate(given)]


async def show(visit: Visit[JobQuery]) -> Reply[JobView]:
    """Look at one job, or wait for its end; `expand=raw` adds the provider's own last body."""
    context, headers = visit.context, dict[str, str]()
    job = await context.store.job(visit.tenant, visit.id("job"))
    if (seconds := preferred_wait(visit)) is not None and not job.ended:
        (job,) = await until_ended(visit, [job], seconds)
        headers["preference-applied"] = f"wait={seconds}"
    if visit.query.expand == "raw":
        body = await context.store.last_body(job.id)
        raw = await _redacted(body)
        return Reply(replace(await _whole(context, job), raw=raw), headers=headers)
    headers["etag"] = entity_tag(job)
    if is_known(visit, headers["etag"]):
        return Reply(None, HTTPStatus.NOT_MODIFIED, headers)
    return Reply(await _whole(context, job), headers=headers)


async def cancel(visit: Visit[Nothing]) -> JobView:
    """Stop waiting for a job; `cancellation` says whether its provider was told."""
    job = await visit.context.store.job(visit.tenant, visit.id("job"))

    def act(moves: Moves) -> None:
        now = moves.job(job.ref)
        if now is None or now.ref != job.ref:
            raise Conflict("The job has just been submitted again; look at it once more.")
        if now.ended and now.status is not Status.CANCELED:
            raise Conflict(f"The job has ended: it is {now.status}.")
        if not now.ended:
            moves.move(now, canceled(now, moves.at))

    changes = await visit.context.mover.change([job.ref], act)
    after = changes.jobs.get(job.id) or await visit.context.store.job(visit.tenant, job.id)
    return replace(await _whole(visit.context, after), cancellation=cancellation(job))


async def retry(visit: Visit[Nothing]) -> JobView:
    """Submit a failed, expired or canceled job again, under a new ref."""
    context = visit.context
    job = await context.store.job(visit.tenant, visit.id("job"))
    ref = context.chance.new_ref()

    def act(moves: Moves) -> None:
        now = moves.job(job.ref)
        if now is None or now.ref != job.ref or now.status not in RETRYABLE:
            raise Conflict("Only a job that failed, expired or was canceled can be tried again.")
        moves.move(now, retried(now, ref, moves.at))
        moves.changes.submissions.append(Submission(ref=ref, job_id=now.id, created_at=moves.at))

    changes = await context.mover.change([job.ref], act)
    return await _whole(context, changes.jobs[job.id])


async def listing(visit: Visit[JobsQuery]) -> Listed[JobView]:
    """List jobs; `ref` finds them by submission ref, task id or your own reference."""
    query = visit.query
    jobs = await visit.context.store.jobs(visit.tenant, query.wanted(), query.page())
    inputs = await _inputs(visit.context, jobs)
    views = [await _shown(job, inputs.get(job.id)) for job in jobs]
    return listed(views, query.limit, [job.id for job in jobs])


async def _inputs(context: Context, jobs: Sequence[Job]) -> dict[str, bytes]:
    return await context.store.inputs([job.id for job in jobs])


async def _whole(context: Context, job: Job) -> JobView:
    return await _shown(job, (await context.store.inputs([job.id])).get(job.id))


async def _shown(job: Job, given: bytes | None) -> JobView:
    return replace(view(job), input=await _redacted(given))


async def _redacted(body: bytes | None) -> msgspec.Raw:
    return msgspec.Raw(await in_thread_if_large(len(body or b""), redacted_json, body))
