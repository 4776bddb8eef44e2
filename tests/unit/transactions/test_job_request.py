from typing import Any
from uuid import UUID

import pytest

from service.domain.primitives.errors import Invalid
from service.domain.security.webhook_signature import secret_bytes
from service.providers import registry
from service.runtime.secret_box import SecretBox
from service.runtime.settings import from_env
from service.transactions.deadlines import DeadlineEstimator
from service.transactions.job_request import JobFactory, JobRequest, idempotency
from service.transactions.store_protocols import NewJob
from tests.support.factories import T0, CountingIds

SECRET_BOX = SecretBox(["key-" * 8])
ENVIRON = {
    "USEAPI_TOKEN": "t",
    "RUNWARE_API_KEY": "t",
    "REPLICATE_API_TOKEN": "t",
    "LUMA_API_KEY": "t",
    "FAL_KEY": "t",
    "BELFRY_PUBLIC_URL": "https://belfry.example",
}
REPLY_URL = "https://receiver.example/hook"
IMAGE = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
UPPER_UUID = "F0A5574F-D653-47F1-AB42-E2C1631F1A47"


def a_job_factory(**environ: str) -> JobFactory:
    return JobFactory(
        registry(),
        from_env({**ENVIRON, **environ}),
        SECRET_BOX,
        CountingIds(),
        DeadlineEstimator().deadline_seconds,
    )


def frames(**changes: Any) -> JobRequest:
    given = {"text_prompt": "a lighthouse", **changes.pop("input", {})}
    return JobRequest(provider="useapi", operation="frames.create", input=given, **changes)


def caption(**given: Any) -> JobRequest:
    fields = {"inputImage": IMAGE, "model": "runware:150@2", **given}
    return JobRequest(provider="runware", operation="imageCaption", input=fields)


def create(*requests: JobRequest) -> list[NewJob]:
    return a_job_factory().create("acme", requests, T0)


def errors(*requests: JobRequest) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        create(*requests)
    return {error.path: error.message for error in caught.value.errors}


def test_a_request_becomes_a_queued_job() -> None:
    (new,) = create(frames(reply_ref="mine", tags=["sea", "sky", "sea"], metadata={"n": 1}))

    job = new.job
    assert (job.tenant, job.provider, job.operation) == ("acme", "useapi", "frames.create")
    assert (job.status, job.account, job.created_at) == ("queued", "useapi", T0)
    assert (job.reply_ref, job.tags, job.metadata) == ("mine", ("sea", "sky"), {"n": 1})
    assert job.deadline_seconds == 3600
    assert UUID(job.ref).version == 4
    assert (new.input, new.reply_subscription) == (b'{"text_prompt":"a lighthouse"}', None)


def test_jobs_of_one_request_share_a_batch_and_sort_in_its_order() -> None:
    jobs = [new.job for new in create(frames(), frames(), frames())]

    assert len({job.batch for job in jobs}) == 1
    assert sorted(job.id for job in jobs) == [job.id for job in jobs]
    assert len({job.ref for job in jobs}) == 3


def test_all_errors_of_a_request_are_reported_together() -> None:
    request = frames(
        input={"text_prompt": " ", "style": "vapor", "diversity": 9},
        reply_event_types=["job.done"],
        reply_ref="",
        tags=["ok", "", "x" * 101],
        metadata={"n": "x" * 16_384},
        deadline_seconds=0,
    )

    assert errors(request).keys() == {
        "input.text_prompt",
        "input.style",
        "input.diversity",
        "reply_event_types[0]",
        "reply_ref",
        "tags[1]",
        "tags[2]",
        "metadata",
        "deadline_seconds",
    }


def test_too_many_tags_are_refused() -> None:
    assert errors(frames(tags=["t"] * 21)) == {"tags": "may have at most 20 entries"}


def test_the_number_of_reported_errors_is_limited() -> None:
    found = errors(frames(tags=[""] * 99_000, reply_event_types=["x"] * 99_000))

    assert found.pop("reply_event_types") == "may have at most 100 entries"
    assert found.keys() == {"tags", *(f"tags[{n}]" for n in range(20))}


@pytest.mark.parametrize("seconds", [-1, 0, 7 * 86_400 + 1])
def test_a_deadline_must_be_within_a_week(seconds: int) -> None:
    assert list(errors(frames(deadline_seconds=seconds))) == ["deadline_seconds"]


def test_the_errors_of_an_array_have_the_index_of_their_request() -> None:
    found = errors(
        frames(),
        frames(input={"style": "vapor"}),
        JobRequest(provider="nobody", operation="x", input={}),
        JobRequest(provider="useapi", operation="frames.destroy", input={}),
    )

    assert list(found) == ["[1].input.style", "[2].provider", "[3].operation"]
    assert found["[2].provider"] == f"must be one of {', '.join(sorted(registry()))}"
    assert "frames.create" in found["[3].operation"]


def test_a_request_for_a_provider_without_a_credential_is_refused() -> None:
    request = JobRequest(provider="runway_ai", operation="generate-image", input={"prompt": "sea"})

    assert "credential is missing" in errors(request)["provider"]


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9", "http://localhost:9"])
def test_only_an_emulated_provider_can_call_back_without_a_public_url(base_url: str) -> None:
    local = a_job_factory(BELFRY_PUBLIC_URL="", USEAPI_BASE_URL=base_url)
    remote = a_job_factory(BELFRY_PUBLIC_URL="")

    assert len(local.create("acme", [frames()], T0)) == 1
    with pytest.raises(Invalid) as caught:
        remote.create("acme", [frames()], T0)
    assert "BELFRY_PUBLIC_URL" in caught.value.errors[0].message


def test_an_operation_answered_immediately_needs_no_public_url() -> None:
    describe = JobRequest(
        provider="useapi", operation="frames.describe", input={"image_assetId": "user:1-asset:2"}
    )

    (new,) = a_job_factory(BELFRY_PUBLIC_URL="").create("acme", [describe], T0)

    assert new.job.operation == "frames.describe"


def test_a_reply_url_becomes_a_subscription_of_the_job() -> None:
    (new,) = create(frames(reply_url=REPLY_URL, reply_event_types=["job.*"]))

    assert new.reply_subscription is not None
    assert (
        new.reply_subscription.kind,
        new.reply_subscription.url,
        new.reply_subscription.tenant,
    ) == ("per_job", REPLY_URL, "acme")
    assert len(secret_bytes(SECRET_BOX.open(new.reply_subscription.secret))) == 32
    assert new.job.reply_event_types == ("job.*",)


@pytest.mark.parametrize("given", [None, []])
def test_a_reply_url_gets_every_event_of_the_job_by_default(given: list[str] | None) -> None:
    (new,) = create(frames(reply_url=REPLY_URL, reply_event_types=given))

    assert new.job.reply_event_types == ("job.*",)


@pytest.mark.parametrize(
    "request_with_url",
    [frames(input={"replyUrl": REPLY_URL}), caption(webhookURL=REPLY_URL)],
    ids=["replyUrl", "webhookURL"],
)
def test_a_reply_url_in_the_input_gets_every_event_of_the_job(
    request_with_url: JobRequest,
) -> None:
    (new,) = create(request_with_url)

    assert new.job.reply_event_types == ("job.*",)


def test_reply_url_and_ref_of_useapi_are_taken_out_of_the_input() -> None:
    (new,) = create(frames(input={"replyUrl": REPLY_URL, "replyRef": "mine"}))

    assert new.reply_subscription is not None
    assert (new.reply_subscription.url, new.job.reply_ref) == (REPLY_URL, "mine")
    assert new.input == b'{"text_prompt":"a lighthouse"}'


def test_webhook_url_and_uuid_of_runware_are_taken_out_of_the_input() -> None:
    (new,) = create(caption(taskUUID=UPPER_UUID, webhookURL=REPLY_URL, deliveryMethod="sync"))

    assert new.reply_subscription is not None
    assert new.reply_subscription.url == REPLY_URL
    assert (new.task_uuid, new.job.reply_ref) == (UPPER_UUID.lower(), UPPER_UUID)
    assert new.job.ref != UPPER_UUID.lower()
    assert b"webhookURL" not in new.input
    assert b"taskUUID" not in new.input


def test_fields_of_the_request_take_precedence_over_the_input() -> None:
    inside = {"replyUrl": "https://inside.example/", "replyRef": "inside"}

    (new,) = create(frames(input=inside, reply_url=REPLY_URL, reply_ref="outside"))

    assert new.reply_subscription is not None
    assert (new.reply_subscription.url, new.job.reply_ref) == (REPLY_URL, "outside")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "https://user@receiver.example/"])
def test_a_reply_url_that_is_blocked_or_has_credentials_is_refused(url: str) -> None:
    assert list(errors(frames(reply_url=url))) == ["reply_url"]


def test_the_operator_may_allow_a_private_reply_url() -> None:
    job_factory = a_job_factory(BELFRY_ALLOW_TARGETS="127.0.0.0/8")

    (new,) = job_factory.create("acme", [frames(reply_url="http://127.0.0.1:9/hook")], T0)

    assert new.reply_subscription is not None


def test_a_uuid_may_appear_once_in_a_request() -> None:
    found = errors(caption(taskUUID=UPPER_UUID), caption(taskUUID=UPPER_UUID.lower()))

    assert found == {"[1].input.taskUUID": "appears twice in this request"}


def test_the_number_of_results_is_the_number_of_parts() -> None:
    (new,) = create(caption(numberResults=3))

    assert new.job.expected_parts == 3


def test_an_email_selects_the_account_and_max_jobs_its_limit() -> None:
    (new,) = create(frames(input={"email": "Ann@Example.com", "maxJobs": 2}))

    assert (new.job.account, new.job.max_jobs) == ("useapi:ann@example.com", 2)


def test_an_unknown_field_of_the_input_is_passed_on() -> None:
    (new,) = create(frames(input={"brand_new": [1]}))

    assert new.input == b'{"text_prompt":"a lighthouse","brand_new":[1]}'


def test_the_order_of_keys_does_not_change_the_digest() -> None:
    one, same = ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})

    assert idempotency("k", one) == idempotency("k", same)


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": "1"}, {"a": 1, "b": None}, [{"a": 1}], {"a": [1]}]
)
def test_another_body_has_another_digest(other: object) -> None:
    assert idempotency("k", other) != idempotency("k", {"a": 1})


def test_without_a_key_there_is_no_idempotency() -> None:
    assert idempotency(None, {}) is None


@pytest.mark.parametrize("name", ["", "k" * 256, "ü", "a\nb"])
def test_a_key_must_be_short_and_printable(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        idempotency(name, {})

    assert [error.path for error in caught.value.errors] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    ("provider", "operation", "given"),
    [
        ("useapi", "frames.create", {"text_prompt": "x"}),
        ("runware", "imageInference", {}),
        ("replicate", "predictions.create", {"version": "a" * 64, "input": {}}),
        ("luma", "generations.image", {"prompt": "x", "model": "photon-1"}),
        ("fal", "fal-ai/flux/dev", {"prompt": "x"}),
    ],
)
def test_a_reply_url_with_a_private_address_is_refused_under_the_name_of_each_vendor(
    provider: str, operation: str, given: dict[str, Any]
) -> None:
    field = registry()[provider].reply_url_field or ""
    private = {**given, field: "http://10.0.0.1/"}

    found = errors(JobRequest(provider=provider, operation=operation, input=private))

    assert f"input.{field}" in found
