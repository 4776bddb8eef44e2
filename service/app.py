"""The composition root: builds the parts of one service and runs them."""

import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette

from handlers import health_routes, routes
from handlers.http.errors import EXCEPTION_HANDLERS
from service.context import AppContext
from service.domain.deliveries.send_queue import SendQueues
from service.domain.jobs.moderation import is_moderated
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
from service.runtime.clients.callback_verifier import CallbackVerifier
from service.runtime.clients.provider_client import ProviderChannel, ProviderClient
from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import Clock, SystemIdSource, now
from service.runtime.http_server.file_limits import file_shares
from service.runtime.observability.metrics import EVENTS, MODERATED_JOBS
from service.runtime.observability.readiness import WriteCheck
from service.runtime.open_streams import OpenStreams
from service.runtime.secret_box import SecretBox
from service.runtime.settings import Role, Settings
from service.runtime.tasks import Run, Supervisor
from service.runtime.wakeups import Wakeups
from service.transactions.change_set import ChangeSet
from service.transactions.deadlines import DeadlineEstimator
from service.transactions.job_request import JobFactory
from service.transactions.store_protocols import ChangeTopic, Store
from service.transactions.unit_of_work import OnCommit, Transactions
from service.workers.account_reader import AccountReader
from service.workers.asset_manager import AssetManager
from service.workers.callback_intake import CallbackIntake
from service.workers.change_listener import ChangeListener
from service.workers.dispatcher import Dispatcher, DispatchInbox
from service.workers.pruner import Pruner
from service.workers.reconciler import CheckWakeup, Reconciler
from service.workers.recovery_worker import RecoveryWorker
from service.workers.submitter import Submitter, SubmitWakeup
from store import open_store


def create_app(context: AppContext) -> Starlette:
    """Create the application of a running service."""
    served = health_routes() if context.settings.role is Role.WORKER else routes()
    app = Starlette(routes=served, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    app.state.context = context
    return app


@asynccontextmanager
async def running(
    settings: Settings, wakeups: Wakeups, clock: Clock = now
) -> AsyncIterator[AppContext]:
    """Run one service, and close what was opened in reverse order; StartError if it cannot start.

    *clock* is the time of everything that is stored, due or signed.

    Build order: store and clients; the objects that a commit wakes; transactions with their commit
    hooks; and last the workers, which use all of these.
    """
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url, clock())
        stack.push_async_callback(store.close)
        await _create_first_key(settings, store, clock())
        shares = file_shares(settings.max_posts)
        webhook_client = WebhookClient(clock, settings.allow_targets, shares.webhook_sockets)
        stack.push_async_callback(webhook_client.close)
        channels = _open_channels(settings, clock, stack)
        verifiers = _open_verifiers(channels, settings, clock, stack)
        providers = {name: channel.provider for name, channel in channels.items()}
        secret_box, signer = SecretBox(settings.secret_keys), CallbackSigner(settings.secret_keys)
        ids = SystemIdSource()

        inbox = DispatchInbox(SendQueues(shares.posts, alone=settings.is_sqlite))
        submit_wakeup, check_wakeup = SubmitWakeup(), CheckWakeup()
        deadlines = DeadlineEstimator()
        on_commit: tuple[OnCommit, ...] = (
            deadlines.on_commit,  # learns durations
            inbox.on_commit,  # queues deliveries for the dispatcher
            submit_wakeup.on_commit,
            check_wakeup.on_commit,
            _wake_streams(wakeups),
            _count_events,
            _count_moderated_jobs,
        )
        transactions = Transactions(
            store,
            clock,
            ids.new_id,
            placement=inbox.queues,
            on_commit=on_commit,
            moderation_limit=settings.moderation_warning,
        )

        dispatcher = Dispatcher(store, transactions, inbox, webhook_client, secret_box)
        context = AppContext(
            settings=settings,
            store=store,
            providers=providers,
            job_factory=JobFactory(
                providers, settings, secret_box, ids, deadlines.deadline_seconds
            ),
            transactions=transactions,
            intake=CallbackIntake(store, transactions, providers, reconcile=settings.reconcile),
            verifiers=verifiers,
            assets=AssetManager(store, channels, settings, clock, ids),
            webhook_client=webhook_client,
            inbox=inbox,
            dispatcher=dispatcher,
            recovery_worker=RecoveryWorker(store, clock, ids.new_id, inbox.wake),
            wakeups=wakeups,
            streams=OpenStreams(wakeups, settings.max_streams),
            supervisor=Supervisor(),
            readiness=WriteCheck(store.check),
            signer=signer,
            secret_box=secret_box,
            clock=clock,
            ids=ids,
        )
        loops = _loops(context, channels, submit_wakeup, check_wakeup)
        stack.push_async_callback(context.supervisor.stop)
        for name, run in loops.items():
            context.supervisor.start(name, run)
        yield context


def _loops(
    context: AppContext,
    channels: Mapping[str, ProviderChannel],
    submit_wakeup: SubmitWakeup,
    check_wakeup: CheckWakeup,
) -> dict[str, Run]:
    """The loops of a process of this role, by the names that `/readyz` and the log show."""
    settings, store, transactions = context.settings, context.store, context.transactions
    loops: dict[str, Run] = {}
    if settings.role is not Role.WEB:
        submitter = Submitter(store, transactions, submit_wakeup, channels, context.signer)
        reconciler = Reconciler(
            store, transactions, check_wakeup, channels, lookups=settings.reconcile
        )
        loops |= {
            "dispatcher": context.dispatcher.run,
            "submitter": submitter.run,
            "reconciler": reconciler.run,
            "recovery": context.recovery_worker.run,
            "account reader": AccountReader(store, _with_linked_accounts(settings, channels)).run,
            "pruner": Pruner(store, context.clock, settings.retention_days).run,
        }
    if settings.role is not Role.WORKER:
        loops["intake"] = context.intake.run
    if not settings.is_sqlite:
        on_topic = {
            ChangeTopic.DELIVERIES: context.inbox.wake,
            ChangeTopic.JOBS: submit_wakeup.set,
            ChangeTopic.SUBSCRIPTIONS: context.inbox.release_queued,
        }
        listener = ChangeListener(store, context.wakeups, context.streams, on_topic)
        loops["change listener"] = listener.run
    return loops


def _with_linked_accounts(
    settings: Settings, channels: Mapping[str, ProviderChannel]
) -> list[ProviderChannel]:
    return [
        channel
        for name, channel in channels.items()
        if channel.provider.account.linked is not None and settings.accounts[name].token
    ]


async def _create_first_key(settings: Settings, store: Store, at: int) -> None:
    """Create the first admin key and print it once: there is no other way to get one."""
    if settings.admin_key is not None or not await store.api_keys.is_empty():
        return
    ids = SystemIdSource()
    plain = new_key(ids.random_bytes(RANDOM_BYTES))
    key = ApiKey(
        id=ids.new_id("key", at),
        hash=key_hash(plain),
        tenant=DEFAULT_TENANT,
        name="first admin key",
        scopes=(Scope.ADMIN,),
        created_at=at,
    )
    await store.api_keys.put(key)
    print(f"Your admin key, shown only this once: {plain}", file=sys.stderr)  # noqa: T201


def _open_channels(
    settings: Settings, clock: Clock, stack: AsyncExitStack
) -> Mapping[str, ProviderChannel]:
    """A client per provider; they share one TLS context, because creating it is slow."""
    tls, channels = ssl.create_default_context(), {}
    for name, provider in registry().items():
        account = settings.accounts[name]
        client = ProviderClient(account, tls, provider.account.credential, clock)
        stack.push_async_callback(client.close)
        channels[name] = ProviderChannel(
            provider=provider,
            client=client,
            max_jobs=account.max_jobs,
            is_max_jobs_set=account.is_max_jobs_set,
            callback_base=settings.callback_base,
        )
    return channels


def _open_verifiers(
    channels: Mapping[str, ProviderChannel],
    settings: Settings,
    clock: Clock,
    stack: AsyncExitStack,
) -> Mapping[str, CallbackVerifier]:
    """A verifier for each provider whose vendor signs its callbacks."""
    verifiers = {}
    for name, channel in channels.items():
        callbacks = channel.provider.callbacks
        if callbacks is not None and callbacks.signature is not None:
            account = settings.accounts[name]
            verifier = CallbackVerifier(callbacks.signature, account, channel.client, clock)
            stack.push_async_callback(verifier.close)
            verifiers[name] = verifier
    return verifiers


def _wake_streams(wakeups: Wakeups) -> OnCommit:
    def on_commit(changes: ChangeSet) -> None:
        if changes.events:
            wakeups.wake_tenants({event.tenant for event in changes.events})
        wakeups.wake_jobs(job.id for job in changes.jobs.values() if job.ended)

    return on_commit


def _count_events(changes: ChangeSet) -> None:
    for event in changes.events:
        EVENTS.labels(event.type).inc()


def _count_moderated_jobs(changes: ChangeSet) -> None:
    for job in filter(is_moderated, changes.ended_jobs):
        MODERATED_JOBS.labels(job.provider).inc()
