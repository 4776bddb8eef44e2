"""Steps with jobs of useapi: submit, end, and wait for attempts of the deliveries."""

from typing import Final

from tests.support.receivers import Receiver, status
from tests.support.service_harness import Client, Json, Service, eventually

DONE: Final = {
    "status": "SUCCEEDED",
    "artifacts": [{"id": "a", "url": "https://example.com/1.png"}],
}
JOB_REQUEST: Final[Json] = {
    "provider": "useapi",
    "operation": "frames.create",
    "input": {"text_prompt": "x"},
}


async def submit_job(client: Client, **fields: object) -> Json:
    return await client.post("/v1/jobs", {**JOB_REQUEST, **fields})


async def an_ended_job(service: Service, **fields: object) -> Json:
    job = await submit_job(service, **fields)
    assert await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE}) == 204
    return job


async def wait_for_attempts(service: Service, count: int = 1) -> Json:
    """Wait until *count* attempts of the only delivery are recorded; returns the delivery."""

    async def look() -> Json | None:
        (delivery,) = await service.deliveries()
        delivery = await service.get(f"/v1/deliveries/{delivery['id']}")
        return delivery if len(delivery["attempts"]) >= count else None

    return dict(await eventually(look))


async def subscribe_busy_receiver(service: Service, receiver: Receiver, *, seconds: int) -> Json:
    """Subscribe *receiver*, which has just answered 429 with a Retry-After of *seconds*."""
    receiver.script = [status(429, retry_after=str(seconds))]
    subscription = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await wait_for_attempts(service)
    return subscription
