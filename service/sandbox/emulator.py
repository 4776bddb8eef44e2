"""The stage on which the emulated providers act: their clock, their tasks, their callbacks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from service.sandbox.ledger import LedgerTask, TaskLedger
from service.sandbox.scenario import Callback, Scenario
from service.sandbox.sender import CallbackSender, open_client

EARLY_SECONDS: Final = 5.0
HANG_SECONDS: Final = 120.0

Playing = asyncio.Task[None]


class Emulator:
    """What all providers share; open it around everything else."""

    def __init__(self, pace: float) -> None:
        self.tasks = TaskLedger()
        self._pace = pace
        self._playing: set[Playing] = set()
        self._sender: CallbackSender | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with open_client() as client:
            self._sender = CallbackSender(client, self._pace)
            try:
                yield
            finally:
                for playing in self._playing:
                    playing.cancel()
                await asyncio.gather(*self._playing, return_exceptions=True)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._pace)

    def play(self, task: LedgerTask, script: Scenario, waits: Sequence[float]) -> Playing:
        """Begin *task* now; done when it has ended and its last callback was sent."""
        self.tasks.add(task)
        playing = asyncio.create_task(self._play(task, script, waits))
        self._playing.add(playing)
        playing.add_done_callback(self._playing.discard)
        return playing

    async def _play(self, task: LedgerTask, script: Scenario, waits: Sequence[float]) -> None:
        # A deaf receiver must not hold up the task itself, nor may callbacks overtake each other.
        outbox: asyncio.Queue[Callback | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._post_all(task, outbox, waits))
            for step in script:
                await self.pause(step.after)
                task.state = step.state
                if step is script[-1]:
                    self.tasks.end(task)
                for callback in step.callbacks:
                    outbox.put_nowait(callback)
            outbox.put_nowait(None)

    async def _post_all(
        self, task: LedgerTask, outbox: asyncio.Queue[Callback | None], waits: Sequence[float]
    ) -> None:
        sender = self._sender
        while sender is not None and (callback := await outbox.get()) is not None:
            await sender.send(task, callback, waits)


async def wait_early(playing: Playing) -> None:
    """Wait until the callbacks are out, but not for ever on a receiver that refuses them."""
    await asyncio.wait({playing}, timeout=EARLY_SECONDS)


async def wait_hung_up(request: Request) -> None:
    """Wait until the client has given up."""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
