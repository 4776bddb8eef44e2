"""Events of one job reach a subscription in their order, however fast they come."""

import asyncio
from collections import defaultdict

import aiohttp
import pytest

from tests.support.job_steps import DONE
from tests.support.receivers import Receiver, held_until, receiving
from tests.support.service_harness import Json, Service, running_service

pytestmark = pytest.mark.anyio
JOBS = 200
TYPES = ("job.submitted", "job.running", "job.progress", "job.succeeded")
"""Without `job.queued`: the first two events of a job are then often committed together."""
BEGUN = (
    {"status": "PENDING"},
    {"status": "RUNNING", "progressRatio": 0.2},
    {"status": "RUNNING", "progressRatio": 0.5},
)
ORDER = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


async def submitted(service: Service) -> list[Json]:
    jobs: list[Json] = []
    while len(jobs) < JOBS:
        jobs += (await service.post("/v1/jobs", [ORDER] * 100))["data"]
    return jobs


async def call_back(service: Service, jobs: list[Json], *bodies: Json) -> None:
    """Post *bodies* for each job, all at once: their events are committed in any groups."""
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as calls:
        for job in jobs:
            url = service.callback_url("useapi", job["ref"])
            for body in bodies:
                calls.create_task(client.post(url, json={"replyRef": job["ref"], **body}))


async def told(receiver: Receiver) -> dict[str, list[int]]:
    """Wait until the end of every job has arrived; the sequences of each, as they came."""
    sequences: defaultdict[str, list[int]] = defaultdict(list)
    count = ends = 0
    async with asyncio.timeout(60):
        while ends < JOBS:
            await receiver.wait(count + 1)
            for event in [one.event for one in receiver.received[count:]]:
                sequences[event["data"]["id"]].append(event["sequence"])
                ends += event["type"] == "job.succeeded"
                count += 1
    return sequences


async def test_no_event_of_two_hundred_jobs_overtakes_another(database_url: str) -> None:
    gate = asyncio.Event()
    async with (
        running_service(database_url, USEAPI_MAX_JOBS="1") as service,
        receiving() as latest,
        receiving() as every,
    ):
        latest.otherwise = every.otherwise = held_until(gate)
        await service.subscribe(latest.url, *TYPES, max_in_flight=100)
        await service.subscribe(every.url, *TYPES, max_in_flight=100, delivery="every")
        jobs = await submitted(service)

        await call_back(service, jobs, *BEGUN)
        opening = asyncio.get_running_loop().call_later(0.05, gate.set)
        await call_back(service, jobs, DONE)
        in_latest, in_every = await told(latest), await told(every)

    opening.cancel()
    assert all(seen == sorted(set(seen)) for seen in in_latest.values())
    assert all(seen == [2, 3, 4, 5] for seen in in_every.values())
