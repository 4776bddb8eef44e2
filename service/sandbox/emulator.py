"""The emulator: runs the scenarios of accepted tasks and sends their callbacks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from service.sandbox.ledger import LedgerTask, TaskLedger
from service.sandbox.scenario import Callback, Scenario
from service.sandbox.sender import CallbackSender, DeliveryRules, open_client

EARLY_TIMEOUT_SECONDS: Final = 5.0
HANG_TIMEOUT_SECONDS: Final = 120.0
_COMMON_RULES: Final = DeliveryRules()

TaskRun = asyncio.Task[None]


class Emulator:
    """State that the emulated providers share: the ledger and the running tasks.

    *pace* multiplies every delay. Use `open()` around the application's lifetime.
    """

    def __init__(self, pace: float) -> None:
        self.ledger = TaskLedger()
        self._pace = pace
        self._runs: set[TaskRun] = set()
        self._sender: CallbackSender | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the HTTP client for callbacks; on exit cancel all running tasks."""
        async with open_client() as client:
            self._sender = CallbackSender(client, self._pace)
            try:
                yield
            finally:
                for run in self._runs:
                    run.cancel()
                await asyncio.gather(*self._runs, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds* multiplied by the pace."""
        await asyncio.sleep(seconds * self._pace)

    def start(
        self,
        task: LedgerTask,
        scenario: Scenario,
        retry_delays: Sequence[float],
        rules: DeliveryRules = _COMMON_RULES,
    ) -> TaskRun:
        """Start *task*; the returned run is done after the last callback was sent.

        *retry_delays* are the seconds between the attempts of one callback.
        """
        self.ledger.add(task)
        run = asyncio.create_task(self._run(task, scenario, retry_delays, rules))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return run

    async def _run(
        self,
        task: LedgerTask,
        scenario: Scenario,
        retry_delays: Sequence[float],
        rules: DeliveryRules,
    ) -> None:
        # One sender per task keeps its callbacks in order, and a receiver that does not answer
        # does not delay the steps of the task.
        outbox: asyncio.Queue[Callback | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_callbacks(task, outbox, retry_delays, rules))
            for step in scenario:
                await self.sleep(step.delay)
                task.state = step.state
                if step is scenario[-1]:
                    self.ledger.end(task)
                for callback in step.callbacks:
                    outbox.put_nowait(callback)
            outbox.put_nowait(None)

    async def _send_callbacks(
        self,
        task: LedgerTask,
        outbox: asyncio.Queue[Callback | None],
        retry_delays: Sequence[float],
        rules: DeliveryRules,
    ) -> None:
        sender = self._sender
        while sender is not None and (callback := await outbox.get()) is not None:
            await sender.send(task, callback, retry_delays, rules)


async def wait_for_callbacks(run: TaskRun) -> None:
    """Wait until *run* has sent all callbacks, at most EARLY_TIMEOUT_SECONDS."""
    await asyncio.wait({run}, timeout=EARLY_TIMEOUT_SECONDS)


async def delay_answer(request: Request, task: LedgerTask, run: TaskRun) -> bool:
    """Delay the answer to a submit as `[early]` and `[hang]` demand.

    Returns whether the client was kept waiting in vain, so that the answer is an error.
    """
    if task.directives.early:
        await wait_for_callbacks(run)
    if task.directives.hang:
        await wait_for_disconnect(request)
    return task.directives.hang


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the client disconnects, at most HANG_TIMEOUT_SECONDS."""
    try:
        async with asyncio.timeout(HANG_TIMEOUT_SECONDS):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
