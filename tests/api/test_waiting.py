"""What clients have in place of polling, and what they can do with a job."""

import asyncio

import pytest

from tests.support.job_steps import DONE
from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, Service, eventually, running_service

pytestmark = pytest.mark.anyio

ORDER: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
WAIT = {"prefer": "wait=30"}


async def submit_job(service: Service) -> Json:
    return await service.post("/v1/jobs", ORDER)


async def somebody_waits(service: Service) -> bool:
    return bool(service.context.wakeups.awaited_jobs)


async def test_who_waits_for_a_job_is_woken_by_its_end(service: Service) -> None:
    job = await submit_job(service)
    path = f"/v1/jobs/{job['id']}"

    waiting = asyncio.create_task(service.http.get(path, headers=WAIT))
    await eventually(lambda: somebody_waits(service))
    await service.call_back("useapi", job["ref"], DONE)
    async with asyncio.timeout(5):
        answer = await waiting

    assert answer.json()["status"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=30"
    assert not service.context.wakeups.awaited_jobs


async def test_who_submits_may_wait_for_the_end(service: Service) -> None:
    submitting = asyncio.create_task(service.http.post("/v1/jobs", json=ORDER, headers=WAIT))
    await eventually(lambda: somebody_waits(service))
    (job,) = (await service.get("/v1/jobs"))["data"]
    await service.call_back("useapi", job["ref"], DONE)

    answer = await submitting

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


async def test_when_the_time_is_over_the_job_is_accepted_all_the_same(service: Service) -> None:
    answer = await service.http.post("/v1/jobs", json=ORDER, headers={"prefer": "wait=0"})

    assert (answer.status_code, answer.json()["status"] in ("queued", "submitting")) == (202, True)


@pytest.mark.parametrize("prefer", ["wait=soon", "respond-async", "waiting=5", "wait=-1"])
async def test_what_is_no_wait_is_ignored(prefer: str, service: Service) -> None:
    answer = await service.http.post("/v1/jobs", json=ORDER, headers={"prefer": prefer})

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_a_wait_at_one_process_is_ended_by_a_callback_at_another(postgres_url: str) -> None:
    async with running_service(postgres_url) as one, running_service(postgres_url) as other:
        job = await submit_job(one)
        waiting = asyncio.create_task(one.http.get(f"/v1/jobs/{job['id']}", headers=WAIT))
        await eventually(lambda: somebody_waits(one))
        assert await other.call_back("useapi", job["ref"], DONE) == 204
        async with asyncio.timeout(10):
            answer = await waiting

    assert answer.json()["status"] == "succeeded"


async def test_a_job_that_has_not_changed_is_not_sent_again(service: Service) -> None:
    job = await submit_job(service)
    await service.call_back("useapi", job["ref"], DONE)
    path = f"/v1/jobs/{job['id']}"

    first = await service.http.get(path)
    tag = first.headers["etag"]
    again = await service.http.get(path, headers={"if-none-match": f'"x", {tag}'})
    other = await service.http.get(path, headers={"if-none-match": '"x"'})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


async def test_a_canceled_job_keeps_what_comes_later_and_tells_nobody(
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


async def test_a_job_that_has_ended_cannot_be_canceled(service: Service) -> None:
    job = await submit_job(service)
    await service.call_back("useapi", job["ref"], DONE)

    refused = await service.http.post(f"/v1/jobs/{job['id']}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_a_failed_job_can_be_tried_again_and_the_old_submission_no_longer_counts(
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
    assert [one["id"] for one in found] == [job["id"]], "the old ref still finds it"


async def test_another_tenants_job_is_neither_canceled_nor_retried(service: Service) -> None:
    job = await submit_job(service)
    stranger = Client(service.url, await service.another_key("admin", tenant="stranger"))

    answers = [
        (await stranger.http.post(f"/v1/jobs/{job['id']}/{action}")).status_code
        for action in ("cancel", "retry")
    ]
    await stranger.http.aclose()

    assert answers == [404, 404]
