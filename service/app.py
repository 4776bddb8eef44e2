"""Where everything is put together: the one place, with the CLI, that knows all three words."""

import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette

from handlers import health_routes, routes
from handlers.http.errors import EXCEPTION_HANDLERS
from service.context import Context
from service.domain.deliveries.send_queue import SendQueues
from service.domain.security.api_keys import (
    DEFAULT_TENANT,
    NOISE_BYTES,
    Key,
    Scope,
    key_hash,
    new_key,
)
from service.domain.security.callback_signer import CallbackTokens
from service.providers import registry
from service.runtime.clients.provider_client import Line, ProviderClient
from service.runtime.clients.webhook_client import Poster
from service.runtime.clock import SystemChance, now
from service.runtime.http_server.file_limits import file_shares
from service.runtime.observability.metrics import EVENTS
from service.runtime.observability.readiness import WriteCheck
from service.runtime.open_streams import OpenStreams
from service.runtime.secret_box import Vault
from service.runtime.settings import Role, Settings
from service.runtime.tasks import Loops, Run
from service.runtime.wakeups import Feed
from service.transactions.change_set import Changes
from service.transactions.deadlines import Durations
from service.transactions.job_request import Desk
from service.transactions.receiver_health import judge
from service.transactions.store_protocols import Store, Topic
from service.transactions.unit_of_work import Mover
from service.workers.callback_intake import Intake
from service.workers.change_listener import Ears
from service.workers.dispatcher import Courier
from service.workers.pruner import Retention
from service.workers.reconciler import Reconciler
from service.workers.recovery_worker import RecoveryWorker
from service.workers.submitter import Submitter
from service.workers.sweeper import Sweeper
from store import open_store


def create_app(context: Context) -> Starlette:
    """Make the application of a running service."""
    doors = health_routes() if context.settings.role is Role.WORKER else routes()
    app = Starlette(routes=doors, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    app.state.context = context
    return app


@asynccontextmanager
async def running(settings: Settings, feed: Feed) -> AsyncIterator[Context]:
    """Run one service and close in the reverse order what was opened; StartError if it cannot."""
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url, now())
        stack.push_async_callback(store.close)
        await _first_key(settings, store)
        sockets = file_shares(settings.max_posts).webhook_sockets
        poster = Poster(now, settings.allow_targets, sockets)
        stack.push_async_callback(poster.close)
        lines = _lines(settings, stack)
        context, submitter = _build(settings, feed, store, poster, lines)
        stack.push_async_callback(context.loops.stop)
        for name, run in _loops(context, lines, submitter).items():
            context.loops.start(name, run)
        yield context


def _build(
    settings: Settings, feed: Feed, store: Store, poster: Poster, lines: dict[str, Line]
) -> tuple[Context, Submitter]:
    """Put the parts together; what runs of them is started once all of them are there."""
    vault, tokens = Vault(settings.secret_keys), CallbackTokens(settings.secret_keys)
    chance, providers = SystemChance(), {name: line.provider for name, line in lines.items()}
    queues = SendQueues(file_shares(settings.max_posts).posts, alone=settings.is_sqlite)
    courier = Courier(store, poster, vault, now, queues)
    mover = Mover(store, now, chance.new_id, queues)
    courier.settle = partial(mover.settle, judge=judge)
    submitter, durations = Submitter(store, mover, lines, tokens), Durations()
    mover.listeners += [
        durations.committed,
        courier.committed,
        submitter.committed,
        _wake(feed),
        _count,
    ]
    context = Context(
        settings=settings,
        store=store,
        providers=providers,
        desk=Desk(providers, settings, vault, chance, durations.deadline_seconds),
        mover=mover,
        intake=Intake(mover, providers, reconcile=settings.reconcile),
        courier=courier,
        recovery=RecoveryWorker(store, now, chance.new_id, courier.look),
        feed=feed,
        streams=OpenStreams(feed, settings.max_streams),
        loops=Loops(),
        readiness=WriteCheck(store.check),
        tokens=tokens,
        vault=vault,
        clock=now,
        chance=chance,
    )
    return context, submitter


def _loops(context: Context, lines: dict[str, Line], submitter: Submitter) -> dict[str, Run]:
    """What runs beside the requests in a process of this role."""
    settings = context.settings
    loops: dict[str, Run] = {}
    if settings.role is not Role.WEB:
        loops |= _work(context, lines, submitter)
    if settings.role is not Role.WORKER:
        loops["intake"] = context.intake.run
    if not settings.is_sqlite:
        concerned = {
            Topic.DELIVERIES: context.courier.look,
            Topic.JOBS: submitter.look,
            Topic.SUBSCRIPTIONS: context.courier.withdraw,
        }
        loops["ears"] = Ears(context.store, context.feed, context.streams, concerned).run
    return loops


def _work(context: Context, lines: dict[str, Line], submitter: Submitter) -> Mapping[str, Run]:
    settings, store, mover = context.settings, context.store, context.mover
    sweeper = Sweeper(store, Reconciler(mover, lines, enabled=settings.reconcile), now)
    mover.listeners.append(_check(sweeper))
    return {
        "retention": Retention(store, now, settings.retention_days).run,
        "recovery": context.recovery.run,
        "courier": context.courier.run,
        "submitter": submitter.run,
        "sweeper": sweeper.run,
    }


async def _first_key(settings: Settings, store: Store) -> None:
    """Make the first admin key and print it, once: nobody could ever come in without it."""
    if settings.admin_key is not None or await store.has_keys():
        return
    shown = new_key(SystemChance().noise(NOISE_BYTES))
    key = Key(
        id=SystemChance().new_id("key", now()),
        hash=key_hash(shown),
        tenant=DEFAULT_TENANT,
        name="first admin key",
        scopes=(Scope.ADMIN,),
        created_at=now(),
    )
    await store.put_key(key)
    print(f"Your admin key, shown only this once: {shown}", file=sys.stderr)  # noqa: T201


def _lines(settings: Settings, stack: AsyncExitStack) -> dict[str, Line]:
    """Open a small pool to each provider; they share one TLS context, which is dear to make."""
    context, lines = ssl.create_default_context(), {}
    for name, provider in registry().items():
        account = settings.accounts[name]
        client = ProviderClient(account, context)
        stack.push_async_callback(client.close)
        lines[name] = Line(
            provider=provider,
            client=client,
            max_jobs=account.max_jobs,
            callback_base=settings.callback_base,
        )
    return lines


def _check(sweeper: Sweeper) -> Callable[[Changes], None]:
    def told(changes: Changes) -> None:
        if any(job.doubt for job in changes.jobs.values()):
            sweeper.look()

    return told


def _wake(feed: Feed) -> Callable[[Changes], None]:
    def told(changes: Changes) -> None:
        if changes.events:
            feed.wake({event.tenant for event in changes.events})
        feed.ring(job.id for job in changes.jobs.values() if job.ended)

    return told


def _count(changes: Changes) -> None:
    for event in changes.events:
        EVENTS.labels(event.type).inc()
