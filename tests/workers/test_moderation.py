"""The share of moderated jobs is watched: a metric, and a warning to the operator."""

import re

import pytest

from tests.support.job_steps import JOB_REQUEST, an_ended_job
from tests.support.receivers import Receiver
from tests.support.service_harness import SandboxedService, Service

pytestmark = pytest.mark.anyio
MODERATED = {"status": "FAILED", "error": {"reason": "SAFETY.INPUT.TEXT", "message": "no"}}


async def moderated_count(service: Service) -> float:
    text = (await service.http.get("/metrics")).text
    found = re.search(r'belfry_jobs_moderated_total\{provider="useapi"\} (\S+)', text)
    return float(found[1]) if found else 0.0


async def test_the_operator_is_warned_of_many_moderated_jobs(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url, "provider.*")
    for _ in range(17):
        await an_ended_job(service)
    jobs = (await service.post("/v1/jobs", [JOB_REQUEST] * 3))["data"]
    for job in jobs:
        await service.call_back("useapi", job["ref"], MODERATED)
    webhook = await receiver.wait_for(lambda one: one.event["type"].endswith("_warning"))

    assert webhook.event["type"] == "provider.moderation_warning"
    assert webhook.event["data"] == {
        "provider": "useapi",
        "share": 0.15,
        "window": 20,
        "job": jobs[2]["id"],
    }


async def test_moderated_jobs_are_counted_by_provider(sandboxed: SandboxedService) -> None:
    before = await moderated_count(sandboxed)

    for prompt in ("x [moderated]", "x [422]", "x [fail]", "x"):
        job = await sandboxed.submit("useapi", "frames.create", {"text_prompt": prompt})
        await sandboxed.ended(job["id"])

    assert await moderated_count(sandboxed) == before + 2
