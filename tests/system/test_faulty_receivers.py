"""Receivers with every fault at once: they must not delay webhooks to a working receiver."""

import asyncio
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

import pytest

from service.domain.security.callback_signer import CallbackSigner
from tests.support.faulty_receivers import run_faulty_receivers
from tests.support.job_steps import DONE
from tests.support.receivers import Conversation, Receiver, status
from tests.support.service_harness import (
    PATIENCE_SECONDS,
    SIGNING_KEY,
    ServiceProcess,
    a_process,
    plain_client,
)

pytestmark = pytest.mark.anyio

EVENTS = 100
MAX_RATIO = 1.5
SLACK_SECONDS = 0.01
"""Tolerance for processes that share the cores; `make bench` measures without it."""
ROUNDS = 5
MAX_ROUNDS = 16
"""Other load on the machine disturbs some rounds; faulty receivers would disturb all of them."""
HELD = {
    "is not listening": "ConnectionRefusedError",
    "resets the connection": "ServerDisconnectedError",
    "redirects": "answered 302",
    "answers 500": "answered 500",
    "answers 429": "answered 429",
    "has a bad certificate": "TLS: CERTIFICATE_VERIFY_FAILED",
}
"""The receivers held at the end, with their error; the others fail slowly or not at all."""


class ArrivalTimes:
    """When the event of each job arrived at the working receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._arrived: defaultdict[str, asyncio.Future[float]] = defaultdict(asyncio.Future)
        receiver.otherwise = self._answer

    async def _answer(self, conversation: Conversation) -> None:
        arrived = self._arrived[conversation.received.event["data"]["id"]]
        if not arrived.done():
            arrived.set_result(asyncio.get_running_loop().time())
        await status(200)(conversation)

    async def of(self, job_id: str) -> float:
        """Wait for the event of a job; returns its time by the clock of the event loop."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._arrived[job_id]


async def submit_jobs(service: ServiceProcess) -> dict[str, str]:
    """Submit jobs in one array; returns their refs by id."""
    request = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
    listed = await service.http.post("/v1/jobs", json=[request] * EVENTS)
    return {job["id"]: job["ref"] for job in listed.json()["data"]}


async def p99(service: ServiceProcess, arrivals: ArrivalTimes) -> float:
    """End jobs one after the other; returns the time from callback to webhook in seconds."""
    queue, times = list((await submit_jobs(service)).items()), list[float]()
    loop, tokens = asyncio.get_running_loop(), CallbackSigner([SIGNING_KEY])

    async with plain_client() as client:
        while queue:
            job_id, ref = queue.pop()
            url = f"{service.url}/callbacks/useapi/{ref}?t={tokens.sign('useapi', ref, 1)}"
            started = loop.time()
            answer = await client.post(url, json={"replyRef": ref, **DONE})
            assert answer.status_code == 204
            times.append(await arrivals.of(job_id) - started)
    return quantiles(times, n=100)[98]


async def test_faulty_receivers_do_not_delay_a_working_receiver(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    arrivals = ArrivalTimes(receiver)
    async with (
        a_process(database_url, tmp_path, USEAPI_MAX_JOBS="1") as service,
        run_faulty_receivers(tmp_path) as faulty,
    ):
        await service.subscribe(receiver.url)
        alone = median([await p99(service, arrivals) for _ in range(ROUNDS)])
        created = {name: await service.subscribe(url) for name, url in faulty.items()}
        among_faulty = [await p99(service, arrivals)]
        while min(among_faulty) > MAX_RATIO * alone + SLACK_SECONDS:
            assert len(among_faulty) < MAX_ROUNDS, (alone, among_faulty)
            among_faulty.append(await p99(service, arrivals))
        subscriptions = {
            name: await service.get(f"/v1/subscriptions/{one['id']}")
            for name, one in created.items()
        }
        ids = [webhook.headers["webhook-id"] for webhook in receiver.received]

    assert len(ids) == len(set(ids)), "the working receiver gets every event once"
    assert {subscriptions[name]["state"] for name in HELD} == {"held"}
    for name, error in HELD.items():
        assert subscriptions[name]["last_error"].startswith(error)
