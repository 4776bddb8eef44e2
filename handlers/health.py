"""Liveness, readiness and metrics."""

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
from service.runtime.observability.metrics import OLDEST_PENDING, SUBSCRIPTIONS, render_metrics
from service.transactions.store_protocols import PausedAccount


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """*store* and *loops* say what is wrong, or `ok`; *accounts* which providers refuse us."""

    ready: bool
    store: str
    loops: str
    accounts: dict[str, str] = {}


async def alive(_: Request) -> Response:
    return json_response({"alive": True})


async def ready(request: Request) -> Response:
    """503 while the store cannot be written or a loop is dead."""
    context = cast("AppContext", request.app.state.context)
    accounts: dict[str, str] = {}
    problem = await context.readiness.problem()
    if problem is None:
        try:
            accounts = _refusals(await context.store.jobs.paused_accounts())
        except Unavailable as exc:
            problem = str(exc)
    dead = ", ".join(sorted(context.supervisor.dead))
    answer = Readiness(
        ready=problem is None and not dead,
        store=problem or "ok",
        loops=f"dead: {dead}" if dead else "ok",
        accounts=accounts,
    )
    return json_response(answer, 200 if answer.ready else 503)


def _refusals(paused: Sequence[PausedAccount]) -> dict[str, str]:
    """By provider: an account's own name is an e-mail address."""
    return {
        one.account.partition(":")[0]: f"paused since {rfc3339(one.paused_at)}: {one.paused_for}"
        for one in paused
    }


async def metrics(request: Request) -> Response:
    """What is counted, and what is owed just now; of the latter nothing while the store is away."""
    context = cast("AppContext", request.app.state.context)
    try:
        owed = await context.store.deliveries.backlog()
        waited = 0 if owed.oldest is None else (context.clock() - owed.oldest) / SECOND
        OLDEST_PENDING.set(max(0, waited))
        for state in get_args(State):
            SUBSCRIPTIONS.labels(state).set(owed.receivers.get(state, 0))
    except Unavailable:
        OLDEST_PENDING.set(float("nan"))
    return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
