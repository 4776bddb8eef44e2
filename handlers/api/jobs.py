"""Jobs over HTTP: submitted, looked at, listed."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from handlers.http.bodies import convert, read_json_body
from handlers.http.conditional import entity_tag, is_known, preferred_wait, until_ended
from handlers.http.endpoint import ApiRequest, NoQuery, Reply
from handlers.http.pagination import ListResponse, PageQuery, paginate
from service.context import AppContext
from service.domain.jobs.job import Job, Status
from service.domain.jobs.view import JobView, cancellation, render_job
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.security.redaction import redacted_json
from service.runtime.tasks import LARGE_BYTES, in_thread_if_large
from service.transactions.job_commands import cancel_job, retry_job
from service.transactions.job_request import MAX_JOBS, JobRequest, idempotency
from service.transactions.store_protocols import Idempotency, NewJob


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    expand: Literal["raw"] | None = None


class JobsQuery(PageQuery, frozen=True, kw_only=True):
    status: Status | None = None
    provider: str | None = None
    operation: str | None = None
    tag: str | None = None
    ref: str | None = None


async def submit(request: ApiRequest[NoQuery]) -> Reply[JobView | ListResponse[JobView]]:
    """Submit a job, or up to 100 in an array: all or none."""
    given = await read_json_body(request.request)
    context, headers = request.context, request.request.headers
    size = int(headers.get("content-length", LARGE_BYTES))
    new, key = await in_thread_if_large(size, _taken, request, given)
    jobs, fresh = await context.transactions.add_jobs(new, key)
    inputs = {one.job.id: one.input for one in new} if fresh else await _inputs(context, jobs)
    told = {} if fresh else {"idempotent-replayed": "true"}
    if (seconds := preferred_wait(request)) is not None:
        jobs = await until_ended(request, jobs, seconds)
        told["preference-applied"] = f"wait={seconds}"
    status = 200 if seconds is not None and all(job.ended for job in jobs) else 202
    views = [await _shown(job, inputs.get(job.id)) for job in jobs]
    if isinstance(given, list):
        return Reply(ListResponse(data=views), status, told)
    return Reply(views[0], status, {**told, "location": f"/v1/jobs/{jobs[0].id}"})


def _taken(request: ApiRequest[NoQuery], given: Any) -> tuple[list[NewJob], Idempotency | None]:
    """Check the whole body and make its jobs; nothing of it waits, so a thread may do it."""
    context, name = request.context, request.request.headers.get("idempotency-key")
    new = context.job_factory.create(request.tenant, _orders(given), context.clock())
    return new, idempotency(name, given)


def _orders(given: Any) -> list[JobRequest]:
    if not isinstance(given, list):
        return [convert(given, JobRequest)]
    if not 1 <= len(given) <= MAX_JOBS:
        raise Invalid([FieldError("", f"an array of jobs has 1 to {MAX_JOBS} of them")])
    return [convert(one, JobRequest, f"[{n}]") for n, one in enumerate(given)]


async def show(request: ApiRequest[JobQuery]) -> Reply[JobView]:
    """Look at one job, or wait for its end; `expand=raw` adds the provider's own last body."""
    context, headers = request.context, dict[str, str]()
    job = await context.store.jobs.get(request.tenant, request.id("job"))
    if (seconds := preferred_wait(request)) is not None and not job.ended:
        (job,) = await until_ended(request, [job], seconds)
        headers["preference-applied"] = f"wait={seconds}"
    if request.query.expand == "raw":
        body = await context.store.jobs.last_body(job.id)
        raw = await _redacted(body)
        return Reply(replace(await _whole(context, job), raw=raw), headers=headers)
    headers["etag"] = entity_tag(job)
    if is_known(request, headers["etag"]):
        return Reply(None, HTTPStatus.NOT_MODIFIED, headers)
    return Reply(await _whole(context, job), headers=headers)


async def cancel(request: ApiRequest[NoQuery]) -> JobView:
    """Stop waiting for a job; `cancellation` says whether its provider was told."""
    job = await request.context.store.jobs.get(request.tenant, request.id("job"))

    context = request.context
    after = await cancel_job(context.transactions, job)
    after = after or await context.store.jobs.get(request.tenant, job.id)
    return replace(await _whole(context, after), cancellation=cancellation(job))


async def retry(request: ApiRequest[NoQuery]) -> JobView:
    """Submit a failed, expired or canceled job again, under a new ref."""
    context = request.context
    job = await context.store.jobs.get(request.tenant, request.id("job"))
    retried = await retry_job(context.transactions, job, context.ids.new_ref())
    return await _whole(context, retried)


async def listing(request: ApiRequest[JobsQuery]) -> ListResponse[JobView]:
    """List jobs; `ref` finds them by submission ref, task id or your own reference."""
    query = request.query
    jobs = await request.context.store.jobs.find(request.tenant, query.filters(), query.page())
    inputs = await _inputs(request.context, jobs)
    views = [await _shown(job, inputs.get(job.id)) for job in jobs]
    return paginate(views, query.limit, [job.id for job in jobs])


async def _inputs(context: AppContext, jobs: Sequence[Job]) -> dict[str, bytes]:
    return await context.store.jobs.inputs([job.id for job in jobs])


async def _whole(context: AppContext, job: Job) -> JobView:
    return await _shown(job, (await context.store.jobs.inputs([job.id])).get(job.id))


async def _shown(job: Job, given: bytes | None) -> JobView:
    return replace(render_job(job), input=await _redacted(given))


async def _redacted(body: bytes | None) -> msgspec.Raw:
    return msgspec.Raw(await in_thread_if_large(len(body or b""), redacted_json, body))
