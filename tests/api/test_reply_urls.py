"""The reply URL of a job: what it is told, and who learns the secret that signs it."""

from collections.abc import Awaitable

import pytest

from tests.support.job_steps import JOB_REQUEST, submit_job
from tests.support.receivers import Receiver
from tests.support.service_harness import Client, Json, SandboxedService, Service

pytestmark = pytest.mark.anyio


async def test_a_reply_url_is_told_the_progress_of_its_job(
    service: Service, receiver: Receiver
) -> None:
    given = {"text_prompt": "x", "replyUrl": receiver.url}
    job = await service.submit("useapi", "frames.create", given)
    await receiver.wait(1)

    for count, ratio in enumerate((0.25, 0.5), start=2):
        running = {"status": "RUNNING", "progressRatio": ratio}
        await service.call_back("useapi", job["ref"], running)
        await receiver.wait(count)
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    webhooks = await receiver.wait(4)

    assert receiver.types == ["job.queued", "job.running", "job.progress", "job.failed"]
    assert [one.event["data"]["progress"]["ratio"] for one in webhooks] == [None, 0.25, 0.5, 0.5]


async def test_reply_event_types_narrow_what_a_reply_url_is_told(
    service: Service, receiver: Receiver
) -> None:
    given = {"text_prompt": "x", "replyUrl": receiver.url}
    narrowed = {"reply_event_types": ["job.running", "job.failed"]}
    job = await service.submit("useapi", "frames.create", given, **narrowed)

    await service.call_back("useapi", job["ref"], {"status": "RUNNING"})
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    await receiver.wait(2)

    assert receiver.types == ["job.running", "job.failed"]


async def test_a_job_names_the_subscription_of_its_reply_url(
    service: Service, receiver: Receiver
) -> None:
    without = await submit_job(service)
    job = await submit_job(service, reply_url=receiver.url)
    (webhook,) = await receiver.wait(1)
    (subscription,) = (await service.get("/v1/subscriptions", kind="per_job"))["data"]

    assert without["reply_subscription_id"] is None
    assert job["reply_subscription_id"] == subscription["id"]
    assert (await service.job(job["id"]))["reply_subscription_id"] == subscription["id"]
    assert webhook.event["data"]["reply_subscription_id"] == subscription["id"]


async def test_the_response_to_a_submit_has_the_secret_of_a_new_reply_url(
    service: Service, receiver: Receiver
) -> None:
    job = await submit_job(service, reply_url=receiver.url)
    (webhook,) = await receiver.wait(1)
    stored = await service.get(f"/v1/subscriptions/{job['reply_subscription_id']}/secret")

    assert job["reply_secret"] == stored["secret"]
    webhook.verify(job["reply_secret"])


async def test_the_secret_of_a_reply_url_is_in_no_other_response_or_event(
    service: Service, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    job = await submit_job(service, reply_url=receiver.url)
    later = await submit_job(service, reply_url=receiver.url)
    webhooks = await receiver.wait(2)
    job_path = f"/v1/jobs/{job['id']}"
    shown = [
        (await service.http.get(path)).text
        for path in ("/v1/jobs", job_path, f"{job_path}?expand=raw", "/v1/events")
    ]
    shown += [(await service.http.post(f"{job_path}/cancel")).text]
    shown += [webhook.body.decode() for webhook in webhooks]

    assert "reply_secret" not in later
    assert later["reply_subscription_id"] == job["reply_subscription_id"]
    assert not [text for text in shown if "reply_secret" in text or job["reply_secret"] in text]
    assert job["reply_secret"] not in "".join(capfd.readouterr())


async def test_a_repeated_request_gets_the_secret_of_its_reply_url_again(
    service: Service, receiver: Receiver
) -> None:
    def request(key: str) -> Awaitable[Json]:
        body = {**JOB_REQUEST, "reply_url": receiver.url}
        return service.post("/v1/jobs", body, **{"idempotency-key": key})

    first, later = await request("first"), await request("later")
    first_again, later_again = await request("first"), await request("later")

    assert first_again["reply_secret"] == first["reply_secret"]
    assert "reply_secret" not in later
    assert "reply_secret" not in later_again


async def test_a_repeated_request_does_not_get_a_secret_that_was_set_later(
    service: Service, receiver: Receiver
) -> None:
    body, key = {**JOB_REQUEST, "reply_url": receiver.url}, {"idempotency-key": "k"}
    job = await service.post("/v1/jobs", body, **key)
    subscription = f"/v1/subscriptions/{job['reply_subscription_id']}"

    await service.post(f"{subscription}/rotate-secret")
    rotated = await service.post("/v1/jobs", body, **key)
    await service.http.delete(subscription)
    deleted = await service.post("/v1/jobs", body, **key)

    assert "reply_secret" not in rotated
    assert "reply_secret" not in deleted
    assert rotated["id"] == deleted["id"] == job["id"]


async def test_an_array_has_the_secret_of_each_new_reply_url_once(
    service: Service, receiver: Receiver
) -> None:
    urls = [receiver.url, f"{receiver.url}/b", receiver.url, f"{receiver.url}/b", None]
    body = [{**JOB_REQUEST, "reply_url": url} for url in urls]

    jobs = (await service.post("/v1/jobs", body))["data"]
    secrets = [job.get("reply_secret") for job in jobs]

    assert [secret is not None for secret in secrets] == [True, True, False, False, False]
    assert secrets[0] != secrets[1]
    assert jobs[0]["reply_subscription_id"] == jobs[2]["reply_subscription_id"]


async def test_a_waiting_submit_has_the_secret_of_a_new_reply_url_too(
    sandboxed: SandboxedService, receiver: Receiver
) -> None:
    body = {**JOB_REQUEST, "reply_url": receiver.url}

    job = await sandboxed.post("/v1/jobs", body, prefer="wait=20")
    webhook = await receiver.wait_for(lambda one: one.event["type"] == "job.succeeded")

    assert job["status"] == "succeeded"
    webhook.verify(job["reply_secret"])


async def test_two_tenants_with_one_reply_url_have_two_secrets(
    service: Service, receiver: Receiver
) -> None:
    other = Client(service.url, await service.another_key("jobs:write", tenant="other"))

    mine = await submit_job(service, reply_url=receiver.url)
    theirs = await submit_job(other, reply_url=receiver.url)
    await other.http.aclose()

    assert mine["reply_secret"] != theirs["reply_secret"]
