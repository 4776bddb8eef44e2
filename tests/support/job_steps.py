"""Jobs of useapi taken as far as their end, for tests of what follows from it."""

from typing import Final

from tests.support.receivers import Receiver, status
from tests.support.service_harness import Client, Json, Service, eventually

DONE: Final = {
    "status": "SUCCEEDED",
    "artifacts": [{"id": "a", "url": "https://example.com/1.png"}],
}


async def submit_job(client: Client, **more: object) -> Json:
    return await client.submit("useapi", "frames.create", {"text_prompt": "x"}, **more)


async def an_ended_job(service: Service, **more: object) -> Json:
    job = await submit_job(service, **more)
    assert await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE}) == 204
    return job


async def attempted(service: Service, times: int = 1) -> Json:
    """Wait until so many attempts at the only delivery are on record, and show them."""

    async def look() -> Json | None:
        (delivery,) = await service.deliveries()
        shown = await service.get(f"/v1/deliveries/{delivery['id']}")
        return shown if len(shown["attempts"]) >= times else None

    return dict(await eventually(look))


async def a_busy_receiver(service: Service, receiver: Receiver, *, seconds: int) -> Json:
    """Subscribe *receiver*, which has just asked to be left alone for so long."""
    receiver.script = [status(429, retry_after=str(seconds))]
    made = await service.subscribe(receiver.url)
    await an_ended_job(service)
    await attempted(service)
    return made
