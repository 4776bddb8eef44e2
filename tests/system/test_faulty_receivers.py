"""Every misbehaviour at once: the receivers that are well must not notice."""

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
MOST = 1.5
SLACK_SECONDS = 0.01
"""What processes on the same cores do to each other; `make bench` measures without it."""
ROUNDS = 5
PATIENCE_ROUNDS = 16
"""A machine with other things to do disturbs a round, and starvation every one of them."""
HELD = {
    "is not listening": "ConnectionRefusedError",
    "resets the connection": "ServerDisconnectedError",
    "redirects": "answered 302",
    "answers 500": "answered 500",
    "answers 429": "answered 429",
    "has a bad certificate": "TLS: CERTIFICATE_VERIFY_FAILED",
}
"""Those that are held by the end, and why; the others take long to fail, or do not."""


class Stopwatch:
    """When the event of each job came to the receiver that is well."""

    def __init__(self, receiver: Receiver) -> None:
        self._arrived: defaultdict[str, asyncio.Future[float]] = defaultdict(asyncio.Future)
        receiver.otherwise = self._answer

    async def _answer(self, conversation: Conversation) -> None:
        arrived = self._arrived[conversation.received.event["data"]["id"]]
        if not arrived.done():
            arrived.set_result(asyncio.get_running_loop().time())
        await status(200)(conversation)

    async def arrived(self, job_id: str) -> float:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._arrived[job_id]


async def some_jobs(service: ServiceProcess) -> dict[str, str]:
    """Submit jobs in one array; their refs by id."""
    order = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
    listed = await service.http.post("/v1/jobs", json=[order] * EVENTS)
    return {job["id"]: job["ref"] for job in listed.json()["data"]}


async def p99(service: ServiceProcess, watch: Stopwatch) -> float:
    """End jobs, one after the other, and measure from callback to webhook, in seconds."""
    queue, times = list((await some_jobs(service)).items()), list[float]()
    loop, tokens = asyncio.get_running_loop(), CallbackSigner([SIGNING_KEY])

    async with plain_client() as client:
        while queue:
            job_id, ref = queue.pop()
            url = f"{service.url}/callbacks/useapi/{ref}?t={tokens.sign('useapi', ref, 1)}"
            begun = loop.time()
            answer = await client.post(url, json={"replyRef": ref, **DONE})
            assert answer.status_code == 204
            times.append(await watch.arrived(job_id) - begun)
    return quantiles(times, n=100)[98]


async def test_receivers_that_are_well_do_not_notice_those_that_are_not(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    watch = Stopwatch(receiver)
    async with (
        a_process(database_url, tmp_path, USEAPI_MAX_JOBS="1") as service,
        run_faulty_receivers(tmp_path) as bad,
    ):
        await service.subscribe(receiver.url)
        without = median([await p99(service, watch) for _ in range(ROUNDS)])
        made = {name: await service.subscribe(url) for name, url in bad.items()}
        among = [await p99(service, watch)]
        while min(among) > MOST * without + SLACK_SECONDS:
            assert len(among) < PATIENCE_ROUNDS, (without, among)
            among.append(await p99(service, watch))
        shown = {name: await service.get(f"/v1/subscriptions/{made[name]['id']}") for name in made}
        told = [one.headers["webhook-id"] for one in receiver.received]

    assert len(told) == len(set(told)), "whoever is well is told once"
    assert {shown[name]["state"] for name in HELD} == {"held"}
    for name, error in HELD.items():
        assert shown[name]["last_error"].startswith(error)
