"""A job of each of useapi.net's other services runs from submit to its end in the sandbox."""

import pytest

from service.sandbox.providers.useapi_services import SERVICES
from tests.support.service_harness import SandboxedService

pytestmark = pytest.mark.anyio

OPERATIONS = [
    f"{service.path.rpartition('/')[2]}.{service.calls[0].replace('/', '.')}"
    for service in SERVICES
]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_job_ends_with_its_file_or_its_error(
    operation: str, sandboxed: SandboxedService
) -> None:
    prompts = ("a bell", "a bell [forged]", "a bell [fail]", "a bell [moderated]", "a bell [empty]")
    jobs = [
        await sandboxed.submit("useapi_services", operation, {"prompt": prompt})
        for prompt in prompts
    ]
    ended = [await sandboxed.ended(job["id"]) for job in jobs]

    assert [job["error"] and job["error"]["code"] for job in ended] == [
        *(None, None, "provider_error", "moderated", "no_output")
    ]
    assert [len(job["output"]["artifacts"]) for job in ended[:2]] == [1, 1]


async def test_a_lost_callback_is_made_good_by_one_lookup(sandboxed: SandboxedService) -> None:
    job = await sandboxed.submit(
        "useapi_services",
        "kling.videos.text2video",
        {"prompt": "a bell [lost]"},
        deadline_seconds=1,
    )

    ended = await sandboxed.ended(job["id"])
    requests = (await sandboxed.ledger())["requests"]

    assert ended["status"] == "succeeded"
    assert requests["GET /v1/kling/tasks/{id}"] == 1
