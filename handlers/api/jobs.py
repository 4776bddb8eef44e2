"""Endpoints for jobs: submit, list, get, cancel, retry."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from handlers.http.bodies import convert, is_form, read_form, read_json_body
from handlers.http.conditional import (
    entity_tag,
    matches_if_none_match,
    preferred_wait,
    wait_until_ended,
)
from handlers.http.endpoint import ApiRequest, NoQuery, Reply
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.job_form import job_from_form
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
    """Query parameters of one job."""

    expand: Literal["raw"] | None = None


class JobsQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list of jobs."""

    status: Status | None = None
    provider: str | None = None
    operation: str | None = None
    tag: str | None = None
    ref: str | None = None


async def submit(request: ApiRequest[NoQuery]) -> Reply[JobView | ListResponse[JobView]]:
    """Submit a job, or an array of up to 100 jobs: all are accepted, or none.

    The response has the signing secret of each reply URL that is new, as `reply_secret`.
    """
    context = request.context
    size = int(request.http_request.headers.get("content-length", LARGE_BYTES))
    if is_form(request.http_request):
        form = await read_form(request.http_request)
        body = await in_thread_if_large(size, job_from_form, form, context.providers)
    else:
        body = await read_json_body(request.http_request)
    new, key = await in_thread_if_large(size, _new_jobs, request, body)
    await context.assets.check_inputs(request.tenant, new)
    jobs, created = await context.transactions.add_jobs(new, key)
    inputs = {one.job.id: one.input for one in new} if created else await _inputs(context, jobs)
    headers = {} if created else {"idempotent-replayed": "true"}
    if (seconds := preferred_wait(request)) is not None:
        jobs = await wait_until_ended(request, jobs, seconds)
        headers["preference-applied"] = f"wait={seconds}"
    status = 200 if seconds is not None and all(job.ended for job in jobs) else 202
    secrets = await _reply_secrets(context, jobs)
    views = [
        replace(await _view(job, inputs.get(job.id)), reply_secret=secrets.get(job.id, UNSET))
        for job in jobs
    ]
    if isinstance(body, list):
        return Reply(ListResponse(data=views), status, headers)
    return Reply(views[0], status, {**headers, "location": f"/v1/jobs/{jobs[0].id}"})


def _new_jobs(request: ApiRequest[NoQuery], body: Any) -> tuple[list[NewJob], Idempotency | None]:
    """Validate *body* and build its jobs; synchronous, so that it can run in a thread."""
    job_requests = _job_requests(body)
    new = request.context.job_factory.create(request.tenant, job_requests, request.context.clock())
    return new, idempotency(request.http_request.headers.get("idempotency-key"), body)


def _job_requests(body: Any) -> list[JobRequest]:
    if not isinstance(body, list):
        return [convert(body, JobRequest)]
    if not 1 <= len(body) <= MAX_JOBS:
        raise Invalid([FieldError("", f"an array must have 1 to {MAX_JOBS} jobs")])
    return [convert(one, JobRequest, f"[{n}]") for n, one in enumerate(body)]


async def list_jobs(request: ApiRequest[JobsQuery]) -> ListResponse[JobView]:
    """List jobs, newest first. `ref` finds a submission ref, a task id or your own reference."""
    query = request.query
    jobs = await request.context.store.jobs.find(request.tenant, query.filters(), query.page())
    inputs = await _inputs(request.context, jobs)
    views = [await _view(job, inputs.get(job.id)) for job in jobs]
    return paginate(views, query.limit, [job.id for job in jobs])


async def get(request: ApiRequest[JobQuery]) -> Reply[JobView]:
    """Get a job, or wait for its end. `expand=raw` adds the last body from the provider."""
    context, headers = request.context, dict[str, str]()
    job = await context.store.jobs.get(request.tenant, request.id("job"))
    if (seconds := preferred_wait(request)) is not None and not job.ended:
        (job,) = await wait_until_ended(request, [job], seconds)
        headers["preference-applied"] = f"wait={seconds}"
    if request.query.expand == "raw":
        raw = await _redacted(await context.store.jobs.last_body(job.id))
        return Reply(replace(await _view_with_input(context, job), raw=raw), headers=headers)
    headers["etag"] = entity_tag(job)
    if matches_if_none_match(request, headers["etag"]):
        return Reply(None, HTTPStatus.NOT_MODIFIED, headers)
    return Reply(await _view_with_input(context, job), headers=headers)


async def cancel(request: ApiRequest[NoQuery]) -> JobView:
    """Cancel a job. The provider may still finish and bill it."""
    context = request.context
    job = await context.store.jobs.get(request.tenant, request.id("job"))
    canceled = await cancel_job(context.transactions, job)
    after = canceled or await context.store.jobs.get(request.tenant, job.id)
    return replace(await _view_with_input(context, after), cancellation=cancellation(job))


async def retry(request: ApiRequest[NoQuery]) -> JobView:
    """Submit a failed, expired or canceled job again, under a new ref."""
    context = request.context
    job = await context.store.jobs.get(request.tenant, request.id("job"))
    retried = await retry_job(context.transactions, job, context.ids.new_ref())
    return await _view_with_input(context, retried)


async def _reply_secrets(context: AppContext, jobs: Sequence[Job]) -> dict[str, str]:
    """Read the secrets of the reply subscriptions that the request of *jobs* created, by job id.

    Without those that were deleted or got a new secret since: it was not this request's to see.
    """
    creators = {
        job.reply_subscription_id: job
        for job in jobs
        if job.reply_subscription_id is not None and job.created_reply_subscription
    }
    if not creators:
        return {}
    found = await context.store.subscriptions.get_many(jobs[0].tenant, list(creators))
    return {
        creators[one.id].id: context.secret_box.open(one.secret)
        for one in found.values()
        if one.previous_secret is None
    }


async def _inputs(context: AppContext, jobs: Sequence[Job]) -> dict[str, bytes]:
    """Read the inputs of *jobs*, as JSON by job id."""
    return await context.store.jobs.inputs([job.id for job in jobs])


async def _view_with_input(context: AppContext, job: Job) -> JobView:
    inputs = await _inputs(context, [job])
    return await _view(job, inputs.get(job.id))


async def _view(job: Job, job_input: bytes | None) -> JobView:
    return replace(render_job(job), input=await _redacted(job_input))


async def _redacted(body: bytes | None) -> msgspec.Raw:
    """Redact the secrets in JSON; in a thread if it is large."""
    return msgspec.Raw(await in_thread_if_large(len(body or b""), redacted_json, body))
