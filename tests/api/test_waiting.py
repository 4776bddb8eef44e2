"""Waiting for the end of a job, conditional requests, cancel and retry."""

import asyncio

import pytest

from tests.support.job_steps import DONE
from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, Service, eventually, running_service

pytestmark = pytest.mark.anyio

NEW_JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
WAIT = {"prefer": "wait=30"}


async def submit_job(service: Service) -> Json:
    return await service.post("/v1/jobs", NEW_JOB)


async def has_waiting_request(service: Service) -> bool:
    return bool(service.context.wakeups.awaited_jobs)


async def test_a_request_that_waits_for_a_job_returns_at_its_end(service: Service) -> None:
    job = await submit_job(service)
    path = f"/v1/jobs/{job['id']}"

    waiting = asyncio.create_task(service.http.get(path, headers=WAIT))
    await eventually(lambda: has_waiting_request(service))
    await service.call_back("useapi", job["ref"], DONE)
    async with asyncio.timeout(5):
        response = await waiting

    assert response.json()["status"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=30"
    assert not service.context.wakeups.awaited_jobs


async def test_a_submission_can_wait_for_the_end_of_the_job(service: Service) -> None:
    submitting = asyncio.create_task(service.http.post("/v1/jobs", json=NEW_JOB, headers=WAIT))
    await eventually(lambda: has_waiting_request(service))
    (job,) = (await service.get("/v1/jobs"))["data"]
    await service.call_back("useapi", job["ref"], DONE)

    response = await submitting

    assert (response.status_code, response.json()["status"]) == (200, "succeeded")


async def test_a_submission_returns_202_when_the_wait_is_over(service: Service) -> None:
    response = await service.http.post("/v1/jobs", json=NEW_JOB, headers={"prefer": "wait=0"})

    assert response.status_code == 202
    assert response.json()["status"] in ("queued", "submitting")


@pytest.mark.parametrize("prefer", ["wait=soon", "respond-async", "waiting=5", "wait=-1"])
async def test_preferences_without_a_valid_wait_are_ignored(prefer: str, service: Service) -> None:
    response = await service.http.post("/v1/jobs", json=NEW_JOB, headers={"prefer": prefer})

    assert response.status_code == 202
    assert "preference-applied" not in response.headers


async def test_a_callback_in_one_process_ends_a_wait_in_another(postgres_url: str) -> None:
    async with running_service(postgres_url) as one, running_service(postgres_url) as other:
        job = await submit_job(one)
        waiting = asyncio.create_task(one.http.get(f"/v1/jobs/{job['id']}", headers=WAIT))
        await eventually(lambda: has_waiting_request(one))
        assert await other.call_back("useapi", job["ref"], DONE) == 204
        async with asyncio.timeout(10):
            response = await waiting

    assert response.json()["status"] == "succeeded"


async def test_an_unchanged_job_returns_304(service: Service) -> None:
    job = await submit_job(service)
    await service.call_back("useapi", job["ref"], DONE)
    path = f"/v1/jobs/{job['id']}"

    first = await service.http.get(path)
    tag = first.headers["etag"]
    again = await service.http.get(path, headers={"if-none-match": f'"x", {tag}'})
    other = await service.http.get(path, headers={"if-none-match": '"x"'})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


async def test_a_canceled_job_stores_a_late_result_and_sends_no_event(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    job = await submit_job(service)
    canceled = await service.post(f"/v1/jobs/{job['id']}/cancel")
    again = await service.post(f"/v1/jobs/{job['id']}/cancel")
    assert await service.call_back("useapi", job["ref"], DONE) == 204
    after = await service.job(job["id"])
    await receiver.wait()
    events = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"]

    assert canceled["status"] == again["status"] == "canceled"
    assert canceled["cancellation"]["provider_told"] is False
    assert (after["status"], len(after["output"]["artifacts"])) == ("canceled", 1)
    assert events[0]["type"] == "job.canceled"
    assert receiver.types == ["job.canceled"]


async def test_an_ended_job_cannot_be_canceled(service: Service) -> None:
    job = await submit_job(service)
    await service.call_back("useapi", job["ref"], DONE)

    refused = await service.http.post(f"/v1/jobs/{job['id']}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_a_failed_job_can_be_retried_and_callbacks_for_the_old_ref_are_late(
    service: Service,
) -> None:
    job = await submit_job(service)
    path = f"/v1/jobs/{job['id']}"
    early = await service.http.post(f"{path}/retry")
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "no"})

    again = await service.post(f"{path}/retry")
    twice = await service.http.post(f"{path}/retry")
    await service.call_back("useapi", job["ref"], {**DONE, "replyRef": job["ref"]})
    between = await service.job(job["id"])
    await service.call_back("useapi", again["ref"], {**DONE, "replyRef": again["ref"]})
    ended = await service.job(job["id"])
    types = [event["type"] for event in (await service.get(f"{path}/events"))["data"]][::-1]

    assert (early.status_code, twice.status_code) == (409, 409)
    assert again["ref"] != job["ref"]
    assert (again["error"], again["output"], again["finished_at"]) == (None, None, None)
    assert between["status"] not in ("succeeded", "failed")
    assert ended["status"] == "succeeded"
    assert types == ["job.queued", "job.failed", "job.queued", "job.succeeded"]
    found = (await service.get("/v1/jobs", ref=job["ref"]))["data"]
    assert [one["id"] for one in found] == [job["id"]], "the old ref still finds the job"


async def test_another_tenants_job_is_neither_canceled_nor_retried(service: Service) -> None:
    job = await submit_job(service)
    other_tenant = Client(service.url, await service.another_key("admin", tenant="other_tenant"))

    responses = [
        (await other_tenant.http.post(f"/v1/jobs/{job['id']}/{action}")).status_code
        for action in ("cancel", "retry")
    ]
    await other_tenant.http.aclose()

    assert responses == [404, 404]
