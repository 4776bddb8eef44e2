"""Which answers refuse our account, and which refuse only the job."""

import json
from typing import Any

import pytest

from service.domain.jobs.job import Report
from service.domain.jobs.results import ErrorCode, JobError
from service.providers import registry
from service.providers.protocol import Answer, ProviderTask, Reply
from service.providers.refusals import AccountRefused, RefusalScope

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


def refused(found: Answer) -> RefusalScope:
    assert isinstance(found, AccountRefused)
    assert found.message
    return found.scope


@pytest.mark.parametrize("provider", OPERATIONS)
def test_a_401_refuses_the_credential_and_its_message_is_replaced(provider: str) -> None:
    found = answer(provider, 401, {"error": "bad token xyz-123"})

    assert found == AccountRefused(
        message="The provider refused the credential.", scope=RefusalScope.CREDENTIAL
    )


@pytest.mark.parametrize("provider", OPERATIONS)
@pytest.mark.parametrize("status", [402, 412])
def test_a_lack_of_credits_refuses_the_jobs_that_use_them(provider: str, status: int) -> None:
    found = answer(provider, status, {"error": "You do not have enough credits of ann@example.com"})

    assert found == AccountRefused(
        message="You do not have enough credits of …", scope=RefusalScope.CREDITS
    )


@pytest.mark.parametrize(
    ("code", "scope"),
    [
        ("invalidApiKey", RefusalScope.CREDENTIAL),
        ("missingApiKey", RefusalScope.CREDENTIAL),
        ("insufficientCredits", RefusalScope.CREDITS),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 429])
def test_runwares_codes_name_what_is_refused(code: str, scope: RefusalScope, status: int) -> None:
    body = {"errors": [{"code": code, "message": "no", "taskUUID": "r"}]}

    assert refused(answer("runware", status, body)) is scope


@pytest.mark.parametrize(
    ("status", "message", "scope"),
    [
        (402, "Your subscription has expired", RefusalScope.CREDENTIAL),
        (402, "", RefusalScope.CREDENTIAL),
        (402, "The Runway account is out of credits", RefusalScope.CREDITS),
        (412, "", RefusalScope.CREDITS),
        (596, "Session expired, captcha required", RefusalScope.ACCOUNT),
        (596, "", RefusalScope.ACCOUNT),
        (404, "No Runway account configured", RefusalScope.ACCOUNT),
        (404, "Account a-b+c@mail.com is not linked", RefusalScope.ACCOUNT),
        (404, "Account not found", RefusalScope.ACCOUNT),
    ],
)
def test_useapi_says_what_is_refused(status: int, message: str, scope: RefusalScope) -> None:
    assert refused(answer("useapi", status, {"error": message})) is scope
    assert refused(answer("useapi", 200, {"error": message, "code": status})) is scope


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("Asset user:1-runwayml:a@b.c-asset:1 not found", {}),
        ("No asset in this account", {}),
        ("Asset not found in account a@b.c", {}),
        ("Account a@b.c is not linked", {"email": "a@b.c"}),
    ],
)
def test_a_404_about_something_else_fails_the_job(message: str, given: dict[str, Any]) -> None:
    error = job_error(answer("useapi", 404, {"error": message}, input=given))

    assert error.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    ("provider", "operation", "given", "uses_credits"),
    [
        ("useapi", "frames.create", {"text_prompt": "x"}, True),
        ("useapi", "frames.create", {"text_prompt": "x", "exploreMode": False}, True),
        ("useapi", "frames.create", {"text_prompt": "x", "exploreMode": True}, False),
        ("useapi", "gen4_5.create", {"text_prompt": "x", "exploreMode": True}, False),
        ("useapi", "frames.describe", {"image_assetId": "a"}, False),
        ("runware", "imageInference", {}, True),
        ("runware", "imageUpload", {}, False),
        ("runware", "modelSearch", {}, False),
        ("runway_ai", "generate-image", {"prompt": "x"}, True),
        ("runway_ai", "image-metadata", {"image_url": "https://example.com/1.jpg"}, False),
        ("runway_ai", "delete-media", {"media_url": "https://e.com/1", "auth_token": "t"}, False),
    ],
)
def test_free_operations_use_no_credits(
    provider: str, operation: str, given: dict[str, Any], *, uses_credits: bool
) -> None:
    found = registry()[provider].operation(operation)
    assert found is not None

    assert registry()[provider].prepare(found, given).uses_credits is uses_credits
