"""The values and the JSON on Runware's page about image captions (Image to Text), word for word.

One of its requests has a comma after the last field, which is not JSON; the payload is without it.
"""

import json
from typing import Any

import pytest

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Output
from service.domain.jobs.state_machine import apply_reports
from service.domain.primitives.errors import Invalid
from service.providers.protocol import PreparedInput, ProviderTask, Reply
from service.providers.runware.provider import Runware
from tests.support.paths import PAYLOADS

REF = "3f1b1c3e-6f6e-4f0a-9c55-0a7f4b9d2e11"
DOCUMENTED_UUID = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
CALLBACK_URL = f"https://belfry.example/callbacks/runware/{REF}?t=1.abc"
RUNWARE = Runware()
CAPTION = RUNWARE.operations["imageCaption"]
REQUESTS = [f"documented_request_{number}" for number in (1, 2, 3, 4)]
MODELS = [
    *("runware:150@2", "runware:151@1", "runware:152@1", "runware:152@2"),
    *("runware:153@1", "runware:154@1", "runware:152@50"),
]


def read_payload(name: str) -> dict[str, Any]:
    value = json.loads((PAYLOADS / "runware" / f"{name}.json").read_bytes())
    return dict(value)


def prepare(**changes: object) -> PreparedInput:
    return RUNWARE.prepare(CAPTION, {**read_payload(REQUESTS[0]), **changes})


def rejected_field(**changes: object) -> str:
    with pytest.raises(Invalid) as caught:
        prepare(**changes)
    (error,) = caught.value.errors
    return error.path


def bodies_of(name: str) -> list[dict[str, Any]]:
    """The documented response about task REF, wrapped in `data` and flat.

    The page shows structured data without the result around it.
    """
    (item,) = read_payload("documented_response")["data"]
    item |= {"taskUUID": REF}
    if name == "documented_structured_data":
        del item["text"]  # "the standard text field will be omitted"
        item |= read_payload(name)
    return [{"data": [item]}, item]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_documented_request_is_sent_with_our_uuid_and_webhook(name: str) -> None:
    request = read_payload(name)

    prepared = RUNWARE.prepare(CAPTION, request)
    task = ProviderTask(
        ref=REF, operation="imageCaption", input=prepared.input, callback_url=CALLBACK_URL
    )
    (sent,) = json.loads(RUNWARE.submit([task]).body or b"")

    assert prepared.task_uuid == prepared.reply_ref == request["taskUUID"]
    assert sent == {
        **request,
        "taskUUID": REF,
        "webhookURL": CALLBACK_URL,
        "deliveryMethod": "async",
    }


@pytest.mark.parametrize(
    ("name", "output"),
    [
        (
            "documented_response",
            Output(text=read_payload("documented_response")["data"][0]["text"]),
        ),
        (
            "documented_structured_data",
            Output(data={"ageGroup": "13-20", "confidence": 79.65}),
        ),
    ],
)
@pytest.mark.parametrize("form", [0, 1])
def test_a_documented_result_ends_the_job_as_a_callback_and_as_an_answer(
    form: int, name: str, output: Output
) -> None:
    body = json.dumps(bodies_of(name)[form]).encode()
    task = ProviderTask(ref=REF, operation="imageCaption", input={})
    job = Job(
        id="job_1",
        tenant="t",
        provider="runware",
        operation="imageCaption",
        account="runware",
        ref=REF,
        created_at=0,
        deadline_seconds=60,
        status=Status.SUBMITTING,
    )

    called_back = RUNWARE.read_callback(body, {})
    answered = RUNWARE.read_answer(Reply(status=200, headers={}, body=body), [task])[REF]

    assert answered == tuple(called_back)
    ended = apply_reports(job, called_back, 1)[-1]
    assert (ended.status, ended.output, ended.cost_usd) == (Status.SUCCEEDED, output, 0)


def test_a_documented_result_of_another_task_is_not_taken_for_ours() -> None:
    body = (PAYLOADS / "runware" / "documented_response.json").read_bytes()
    task = ProviderTask(ref=REF, operation="imageCaption", input={})

    (report,) = RUNWARE.read_callback(body, {})
    answer = RUNWARE.read_answer(Reply(status=200, headers={}, body=body), [task])[REF]

    assert report.refs == (DOCUMENTED_UUID,)
    assert not isinstance(answer, Report | tuple)


@pytest.mark.parametrize("model", MODELS)
def test_every_documented_model_is_accepted(model: str) -> None:
    assert prepare(model=model).input["model"] == model


@pytest.mark.parametrize("model", ["", "llava", "150@2", "runware:150", "runware@2", None, 5])
def test_a_model_that_is_no_air_id_is_rejected(model: object) -> None:
    assert rejected_field(model=model) == "input.model"


@pytest.mark.parametrize("method", ["sync", "async"])
def test_both_delivery_methods_are_accepted_and_not_sent(method: str) -> None:
    assert "deliveryMethod" not in prepare(deliveryMethod=method).input


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("taskType", "imageInference"),
        ("taskUUID", "1234"),
        ("taskUUID", 5),
        ("taskUUID", "f0a5574fd65347f1ab42e2c1631f1a47"),
        ("deliveryMethod", "stream"),
        ("deliveryMethod", None),
        ("includeCost", "true"),
        ("includeCost", 1),
        ("prompt", ["x"]),
        ("webhookURL", "ftp://example.com"),
    ],
)
def test_a_value_against_the_page_is_rejected_by_its_field(field: str, value: object) -> None:
    assert rejected_field(**{field: value}) == f"input.{field}"


@pytest.mark.parametrize("field", ["inputImage", "model"])
def test_the_required_fields_must_be_given(field: str) -> None:
    given = {key: value for key, value in read_payload(REQUESTS[0]).items() if key != field}

    with pytest.raises(Invalid) as caught:
        RUNWARE.prepare(CAPTION, given)

    assert [(error.path, error.message) for error in caught.value.errors] == [
        (f"input.{field}", "is required")
    ]


@pytest.mark.parametrize("include", [True, False])
def test_include_cost_is_sent_as_it_is(*, include: bool) -> None:
    assert prepare(includeCost=include).input["includeCost"] is include


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/webhooks/runware",
        "https://api.example.com/webhooks/runware?token=your_auth_token",
        "https://api.example.com/webhooks/runware?apiKey=sk_live_abc123",
        "https://api.example.com/webhooks/runware?projectId=proj_789&userId=12345",
    ],
)
def test_every_documented_form_of_webhook_is_the_reply_url(url: str) -> None:
    prepared = prepare(webhookURL=url)

    assert prepared.reply_url == url
    assert "webhookURL" not in prepared.input
