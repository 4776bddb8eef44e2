"""Which answers refuse our account, and which refuse only the job."""

import json
from typing import Any

import pytest

from service.domain.jobs.job import Report
from service.domain.jobs.results import ErrorCode, JobError
from service.providers import registry
from service.providers.protocol import Answer, ProviderTask, Reply

OPERATIONS = {
    "useapi": "frames.create",
    "runware": "imageInference",
    "runway_ai": "generate-image",
}


def answer(provider: str, status: int, body: Any, **task: Any) -> Answer:
    defaults: dict[str, Any] = {"ref": "r", "operation": OPERATIONS[provider], "input": {}}
    reply = Reply(status=status, headers={}, body=json.dumps(body).encode())
    return registry()[provider].read_answer(reply, [ProviderTask(**{**defaults, **task})])["r"]


def job_error(found: Answer) -> JobError:
    assert isinstance(found, Report)
    assert found.error is not None
    return found.error


@pytest.mark.parametrize("provider", OPERATIONS)
def test_a_403_refuses_the_job_and_keeps_its_message(provider: str) -> None:
    message = "access to user:12345 of ann@example.com detected in character reference"

    error = job_error(answer(provider, 403, {"error": message}))

    assert error.code is ErrorCode.INVALID_INPUT
    assert error.message == "access to user:12345 of … detected in character reference"
    assert not error.retryable


@pytest.mark.parametrize("provider", OPERATIONS)
@pytest.mark.parametrize(
    "message",
    ["Rejected by moderation", "This violates our content policy", "NSFW", "For safety reasons"],
)
def test_a_403_that_speaks_of_moderation_is_moderated(provider: str, message: str) -> None:
    error = job_error(answer(provider, 403, {"error": message}))

    assert (error.code, error.message) == (ErrorCode.MODERATED, message)
