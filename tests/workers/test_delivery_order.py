"""The events of one job reach a subscription in order, however fast they follow each other."""

import asyncio
from collections import defaultdict

import aiohttp
import pytest

from tests.support.job_steps import DONE, JOB_REQUEST
from tests.support.receivers import Receiver, held_until, receiving
from tests.support.service_harness import Json, Service, running_service

pytestmark = pytest.mark.anyio
JOBS = 200
TYPES = ("job.submitted", "job.running", "job.progress", "job.succeeded")
"""Without `job.queued`: the first two events of a job are then often committed together."""
PROGRESS = (
    {"status": "PENDING"},
    {"status": "RUNNING", "progressRatio": 0.2},
    {"status": "RUNNING", "progressRatio": 0.5},
)


async def submit_jobs(service: Service) -> list[Json]:
    jobs: list[Json] = []
    while len(jobs) < JOBS:
        jobs += (await service.post("/v1/jobs", [JOB_REQUEST] * 100))["data"]
    return jobs


async def call_back(service: Service, jobs: list[Json], *bodies: Json) -> None:
    """Post *bodies* for each job concurrently, so that their events are committed in any groups."""
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as calls:
        for job in jobs:
            url = service.callback_url("useapi", job["ref"])
            for body in bodies:
                calls.create_task(client.post(url, json={"replyRef": job["ref"], **body}))


async def received_sequences(receiver: Receiver) -> dict[str, list[int]]:
    """Wait for the last event of every job; returns the sequences by job, in order of arrival."""
    sequences: defaultdict[str, list[int]] = defaultdict(list)
    count = ended = 0
    async with asyncio.timeout(60):
        while ended < JOBS:
            await receiver.wait(count + 1)
            for event in [one.event for one in receiver.received[count:]]:
                sequences[event["data"]["id"]].append(event["sequence"])
                ended += event["type"] == "job.succeeded"
                count += 1
    return sequences


async def test_the_events_of_two_hundred_jobs_arrive_in_order(database_url: str) -> None:
    gate = asyncio.Event()
    async with (
        running_service(database_url, USEAPI_MAX_JOBS="1") as service,
        receiving() as latest,
        receiving() as every,
    ):
        latest.otherwise = every.otherwise = held_until(gate)
        await service.subscribe(latest.url, *TYPES, max_in_flight=100)
        await service.subscribe(every.url, *TYPES, max_in_flight=100, delivery="every")
        jobs = await submit_jobs(service)

        await call_back(service, jobs, *PROGRESS)
        opening = asyncio.get_running_loop().call_later(0.05, gate.set)
        await call_back(service, jobs, DONE)
        in_latest = await received_sequences(latest)
        in_every = await received_sequences(every)

    opening.cancel()
    assert all(sequences == sorted(set(sequences)) for sequences in in_latest.values())
    assert all(sequences == [2, 3, 4, 5] for sequences in in_every.values())
