"""Liveness, readiness and metrics."""

from collections import defaultdict
from collections.abc import Sequence
from typing import cast, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from handlers.http.endpoint import json_response
from service.context import AppContext
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND, rfc3339
from service.domain.subscriptions.subscription import State
from service.providers.refusals import RefusalScope
from service.runtime.observability.metrics import OLDEST_PENDING, SUBSCRIPTIONS, render_metrics
from service.transactions.slots import AccountPause


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The health of the process.

    *store* and *loops* are `ok` or describe the problem. *accounts* has the providers that refuse
    the service's account, with the reason; they do not affect *ready*.
    """

    ready: bool
    store: str
    loops: str
    accounts: dict[str, str] = {}


async def alive(_: Request) -> Response:
    """Return 200 while the process runs."""
    return json_response({"alive": True})


async def ready(request: Request) -> Response:
    """Return 503 while the store cannot be written or a background loop keeps failing."""
    context = cast("AppContext", request.app.state.context)
    accounts: dict[str, str] = {}
    problem = await context.readiness.problem()
    if problem is None:
        try:
            accounts = _paused_providers(await context.store.jobs.account_pauses())
        except Unavailable as exc:
            problem = str(exc)
    dead = ", ".join(sorted(context.supervisor.dead))
    readiness = Readiness(
        ready=problem is None and not dead,
        store=problem or "ok",
        loops=f"dead: {dead}" if dead else "ok",
        accounts=accounts,
    )
    return json_response(readiness, 200 if readiness.ready else 503)


def _paused_providers(pauses: Sequence[AccountPause]) -> dict[str, str]:
    """Describe paused accounts by provider only: an account's own name is an e-mail address."""
    described = defaultdict(list)
    for pause in pauses:
        jobs = "jobs that use credits are " if pause.scope is RefusalScope.CREDITS else ""
        described[pause.account.partition(":")[0]].append(
            f"{jobs}paused since {rfc3339(pause.paused_at)}: {pause.reason}"
        )
    return {provider: "; ".join(descriptions) for provider, descriptions in described.items()}


async def metrics(request: Request) -> Response:
    """Render the metrics. While the store is unavailable, the age of the backlog is NaN."""
    context = cast("AppContext", request.app.state.context)
    try:
        backlog = await context.store.deliveries.backlog()
        age = 0 if backlog.oldest is None else (context.clock() - backlog.oldest) / SECOND
        OLDEST_PENDING.set(max(0, age))
        for state in get_args(State):
            SUBSCRIPTIONS.labels(state).set(backlog.receivers.get(state, 0))
    except Unavailable:
        OLDEST_PENDING.set(float("nan"))
    return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
