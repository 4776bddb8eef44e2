"""Where everything is put together: the one place, with the CLI, that knows all three words."""

import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette

from handlers import health_routes, routes
from handlers.http.errors import EXCEPTION_HANDLERS
from service.context import AppContext
from service.domain.deliveries.send_queue import SendQueues
from service.domain.security.api_keys import (
    DEFAULT_TENANT,
    RANDOM_BYTES,
    ApiKey,
    Scope,
    key_hash,
    new_key,
)
from service.domain.security.callback_signer import CallbackSigner
from service.providers import registry
from service.runtime.clients.provider_client import ProviderChannel, ProviderClient
from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import SystemIdSource, now
from service.runtime.http_server.file_limits import file_shares
from service.runtime.observability.metrics import EVENTS
from service.runtime.observability.readiness import WriteCheck
from service.runtime.open_streams import OpenStreams
from service.runtime.secret_box import SecretBox
from service.runtime.settings import Role, Settings
from service.runtime.tasks import Run, Supervisor
from service.runtime.wakeups import Wakeups
from service.transactions.change_set import ChangeSet
from service.transactions.deadlines import DeadlineEstimator
from service.transactions.job_request import JobFactory
from service.transactions.receiver_health import update_health
from service.transactions.store_protocols import ChangeTopic, Store
from service.transactions.unit_of_work import Transactions
from service.workers.callback_intake import CallbackIntake
from service.workers.change_listener import ChangeListener
from service.workers.dispatcher import Dispatcher
from service.workers.pruner import Pruner
from service.workers.reconciler import Reconciler
from service.workers.recovery_worker import RecoveryWorker
from service.workers.submitter import Submitter
from service.workers.sweeper import Sweeper
from store import open_store


def create_app(context: AppContext) -> Starlette:
    """Make the application of a running service."""
    doors = health_routes() if context.settings.role is Role.WORKER else routes()
    app = Starlette(routes=doors, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    app.state.context = context
    return app


@asynccontextmanager
async def running(settings: Settings, wakeups: Wakeups) -> AsyncIterator[AppContext]:
    """Run one service and close in the reverse order what was opened; StartError if it cannot."""
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url, now())
        stack.push_async_callback(store.close)
        await _first_key(settings, store)
        sockets = file_shares(settings.max_posts).webhook_sockets
        webhook_client = WebhookClient(now, settings.allow_targets, sockets)
        stack.push_async_callback(webhook_client.close)
        channels = _channels(settings, stack)
        context, submitter = _build(settings, wakeups, store, webhook_client, channels)
        stack.push_async_callback(context.loops.stop)
        for name, run in _loops(context, channels, submitter).items():
            context.loops.start(name, run)
        yield context


def _build(
    settings: Settings,
    wakeups: Wakeups,
    store: Store,
    webhook_client: WebhookClient,
    channels: dict[str, ProviderChannel],
) -> tuple[AppContext, Submitter]:
    """Put the parts together; what runs of them is started once all of them are there."""
    secret_box, tokens = SecretBox(settings.secret_keys), CallbackSigner(settings.secret_keys)
    ids, providers = (
        SystemIdSource(),
        {name: channel.provider for name, channel in channels.items()},
    )
    queues = SendQueues(file_shares(settings.max_posts).posts, alone=settings.is_sqlite)
    dispatcher = Dispatcher(store, webhook_client, secret_box, now, queues)
    transactions = Transactions(store, now, ids.new_id, queues)
    dispatcher.settle = partial(transactions.settle, judge=update_health)
    submitter, durations = Submitter(store, transactions, channels, tokens), DeadlineEstimator()
    transactions.on_commit += [
        durations.on_commit,
        dispatcher.on_commit,
        submitter.on_commit,
        _wake(wakeups),
        _count,
    ]
    context = AppContext(
        settings=settings,
        store=store,
        providers=providers,
        job_factory=JobFactory(providers, settings, secret_box, ids, durations.deadline_seconds),
        transactions=transactions,
        intake=CallbackIntake(transactions, providers, reconcile=settings.reconcile),
        dispatcher=dispatcher,
        recovery=RecoveryWorker(store, now, ids.new_id, dispatcher.wake),
        wakeups=wakeups,
        streams=OpenStreams(wakeups, settings.max_streams),
        loops=Supervisor(),
        readiness=WriteCheck(store.check),
        tokens=tokens,
        secret_box=secret_box,
        clock=now,
        ids=ids,
    )
    return context, submitter


def _loops(
    context: AppContext, channels: dict[str, ProviderChannel], submitter: Submitter
) -> dict[str, Run]:
    """What runs beside the requests in a process of this role."""
    settings = context.settings
    loops: dict[str, Run] = {}
    if settings.role is not Role.WEB:
        loops |= _work(context, channels, submitter)
    if settings.role is not Role.WORKER:
        loops["intake"] = context.intake.run
    if not settings.is_sqlite:
        concerned = {
            ChangeTopic.DELIVERIES: context.dispatcher.wake,
            ChangeTopic.JOBS: submitter.wake,
            ChangeTopic.SUBSCRIPTIONS: context.dispatcher.release_queued,
        }
        loops["ears"] = ChangeListener(
            context.store, context.wakeups, context.streams, concerned
        ).run
    return loops


def _work(
    context: AppContext, channels: dict[str, ProviderChannel], submitter: Submitter
) -> Mapping[str, Run]:
    settings, store, transactions = context.settings, context.store, context.transactions
    sweeper = Sweeper(store, Reconciler(transactions, channels, enabled=settings.reconcile), now)
    transactions.on_commit.append(_check(sweeper))
    return {
        "retention": Pruner(store, now, settings.retention_days).run,
        "recovery": context.recovery.run,
        "courier": context.dispatcher.run,
        "submitter": submitter.run,
        "sweeper": sweeper.run,
    }


async def _first_key(settings: Settings, store: Store) -> None:
    """Make the first admin key and print it, once: nobody could ever come in without it."""
    if settings.admin_key is not None or await store.has_keys():
        return
    shown = new_key(SystemIdSource().random_bytes(RANDOM_BYTES))
    key = ApiKey(
        id=SystemIdSource().new_id("key", now()),
        hash=key_hash(shown),
        tenant=DEFAULT_TENANT,
        name="first admin key",
        scopes=(Scope.ADMIN,),
        created_at=now(),
    )
    await store.put_key(key)
    print(f"Your admin key, shown only this once: {shown}", file=sys.stderr)  # noqa: T201


def _channels(settings: Settings, stack: AsyncExitStack) -> dict[str, ProviderChannel]:
    """Open a small pool to each provider; they share one TLS context, which is dear to make."""
    context, channels = ssl.create_default_context(), {}
    for name, provider in registry().items():
        account = settings.accounts[name]
        client = ProviderClient(account, context)
        stack.push_async_callback(client.close)
        channels[name] = ProviderChannel(
            provider=provider,
            client=client,
            max_jobs=account.max_jobs,
            callback_base=settings.callback_base,
        )
    return channels


def _check(sweeper: Sweeper) -> Callable[[ChangeSet], None]:
    def told(changes: ChangeSet) -> None:
        if any(job.doubt for job in changes.jobs.values()):
            sweeper.wake()

    return told


def _wake(wakeups: Wakeups) -> Callable[[ChangeSet], None]:
    def told(changes: ChangeSet) -> None:
        if changes.events:
            wakeups.wake_tenants({event.tenant for event in changes.events})
        wakeups.wake_jobs(job.id for job in changes.jobs.values() if job.ended)

    return told


def _count(changes: ChangeSet) -> None:
    for event in changes.events:
        EVENTS.labels(event.type).inc()
