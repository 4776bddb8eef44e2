"""Where everything is put together: the one place, with the CLI, that knows all three words."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette

from handlers import routes
from handlers.errors import EXCEPTION_HANDLERS
from service.chance import SystemChance, now
from service.context import Context
from service.courier import Courier
from service.feed import Feed
from service.intake import Intake
from service.loops import Loops
from service.metrics import EVENTS
from service.moves import Mover
from service.orders import Desk
from service.outbound import Poster, ProviderClient
from service.ports import Changes
from service.providers import registry
from service.settings import Settings
from service.signing import CallbackTokens, Vault
from service.submitter import Line, Submitter
from service.sweeper import Sweeper
from store import open_store


class State(TypedDict):
    """What the lifespan hands to every request."""

    context: Context


def create_app(settings: Settings, feed: Feed) -> Starlette:
    """Make the application; closing *feed* ends its streams, so that it can stop."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with running(settings, feed) as context:
            yield {"context": context}

    app = Starlette(routes=routes(), lifespan=lifespan, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def running(settings: Settings, feed: Feed) -> AsyncIterator[Context]:
    """Run one service: what is opened here is closed in the reverse order."""
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url, now())
        stack.push_async_callback(store.close)
        poster = Poster(now, settings.allow_targets)
        stack.push_async_callback(poster.close)
        vault, tokens = Vault(settings.secret_keys), CallbackTokens(settings.secret_keys)
        courier = Courier(store, poster, vault, now)
        mover = Mover(store, now, SystemChance().new_id, courier.takes)
        lines = _lines(settings, stack)
        providers = {name: line.provider for name, line in lines.items()}
        submitter = Submitter(store, mover, lines, tokens)
        intake, loops = Intake(mover, providers), Loops()
        mover.listeners += [courier.committed, submitter.committed, _wake(feed), _count]
        stack.push_async_callback(loops.stop)
        loops.start("courier", courier.run)
        loops.start("submitter", submitter.run)
        loops.start("sweeper", Sweeper(store, mover, now).run)
        loops.start("intake", intake.run)
        yield Context(
            settings=settings,
            store=store,
            providers=providers,
            desk=Desk(providers, settings, vault, SystemChance()),
            mover=mover,
            intake=intake,
            courier=courier,
            feed=feed,
            loops=loops,
            tokens=tokens,
            vault=vault,
            clock=now,
            chance=SystemChance(),
        )


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


def _wake(feed: Feed) -> Callable[[Changes], None]:
    def told(changes: Changes) -> None:
        if changes.events:
            feed.wake()

    return told


def _count(changes: Changes) -> None:
    for event in changes.events:
        EVENTS.labels(event.type).inc()
