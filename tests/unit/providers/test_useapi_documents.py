"""useapi.net's pages on Frames and on image descriptions: every parameter, limit and body.

The payloads `documented_*` are the examples of the pages, verbatim, with their placeholders.
"""

import json
from typing import Any, Final

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import ErrorCode, JobError
from service.domain.primitives.errors import Invalid
from service.providers.protocol import ProviderTask, Reply, RetryLater
from service.providers.useapi.provider import UseApi
from tests.support.paths import PAYLOADS

REF: Final = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
CALLBACK_URL: Final = f"https://belfry.example/callbacks/useapi/{REF}?t=1.abc"
USEAPI: Final = UseApi()
CREATE: Final = USEAPI.operations["frames.create"]
DESCRIBE: Final = USEAPI.operations["frames.describe"]
STYLES: Final = (
    *("vivid", "vivid-warm", "vivid-cool", "high-contrast", "high-contrast-warm"),
    *("high-contrast-cool", "bw", "bw-contrast", "muted-pastel", "dreamscape", "nordic-minimal"),
    *("light-anime", "dark-anime", "painted-anime", "3d-cartoon", "sketch", "low-angle"),
    *("in-motion", "terracotta"),
)
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
PLACEHOLDERS: Final = {"email": "me@example.com", "replyUrl": "https://webhook.site/abc"}
"""Values for the two fields whose documented example is a description in words."""
PARAMETERS: Final = (
    *("email", "text_prompt", "style", "aspect_ratio", "diversity", "seed", "exploreMode"),
    *("replyUrl", "replyRef", "maxJobs"),
)


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / "useapi" / f"{name}.json").read_bytes())


def documented_request() -> dict[str, Any]:
    return {**payload("documented_frames_request"), **PLACEHOLDERS}


def is_accepted(**given: object) -> bool:
    try:
        USEAPI.prepare(CREATE, {"text_prompt": "a lighthouse", **given})
    except Invalid:
        return False
    return True


def sent(given: dict[str, Any]) -> dict[str, Any]:
    """Return the body that the provider gets for the input *given*."""
    prepared = USEAPI.prepare(CREATE, given)
    task = ProviderTask(
        ref=REF, operation="frames.create", input=prepared.input, callback_url=CALLBACK_URL
    )
    return dict(json.loads(USEAPI.submit([task]).body or b""))


def read_callback(task: dict[str, Any]) -> Report:
    (report,) = USEAPI.read_callback(json.dumps(task).encode(), {})
    return report


def failure(error: dict[str, Any]) -> JobError:
    """Read the documented task as one that failed with *error*."""
    found = read_callback(payload("documented_frames_200") | {"status": "FAILED", "error": error})
    assert found.error is not None
    return found.error


def test_the_base_url_is_the_documented_one() -> None:
    assert USEAPI.account.base_url == "https://api.useapi.net/v1/runwayml"


def test_the_parameters_of_frames_are_the_documented_ones() -> None:
    kinds = {field.name: field.kind for field in CREATE.inputs}
    examples = {"string": str, "integer": int, "number": int, "boolean": bool}

    assert set(PARAMETERS) == payload("documented_frames_request").keys() <= kinds.keys()
    for name, value in payload("documented_frames_request").items():
        assert type(value) is examples[kinds[name]], name


def test_only_the_prompt_of_frames_is_required() -> None:
    assert [field.name for field in CREATE.inputs if field.required] == ["text_prompt"]


def test_the_styles_and_ratios_are_the_documented_ones_in_their_order() -> None:
    values = {field.name: field.one_of for field in CREATE.inputs}

    assert values["style"] == STYLES
    assert values["aspect_ratio"] == RATIOS


@pytest.mark.parametrize("style", STYLES)
def test_each_documented_style_is_accepted_and_sent(style: str) -> None:
    assert sent({"text_prompt": "x", "style": style})["style"] == style


@pytest.mark.parametrize("ratio", RATIOS)
def test_each_documented_ratio_is_accepted_and_sent(ratio: str) -> None:
    assert sent({"text_prompt": "x", "aspect_ratio": ratio})["aspect_ratio"] == ratio


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("text_prompt", ["x", "x" * 1000, "ü" * 1000], ["", " ", "x" * 1001, 5, None]),
        ("style", ["vivid"], ["Vivid", "", "vivid ", 5]),
        ("aspect_ratio", ["21:9"], ["9:21", "16/9", "", 1.5]),
        ("diversity", [0, 2, 5], [-1, 6, 5.1, "2", True]),
        ("seed", [1, 4294967294], [0, -1, 4294967295, "7", 1.5]),
        ("exploreMode", [True, False], ["true", 1, 0]),
        ("replyUrl", ["https://a/" + "b" * 1014], ["https://a/" + "b" * 1015, "nowhere", 5]),
        ("replyRef", ["", "x" * 1024], ["x" * 1025, 5]),
        ("maxJobs", [1, 10], [0, 11, "5", True]),
        ("email", ["me@example.com"], ["nobody", "", 5]),
    ],
)
def test_a_parameter_is_accepted_up_to_its_documented_limits(
    name: str, valid: list[object], invalid: list[object]
) -> None:
    assert [value for value in valid if not is_accepted(**{name: value})] == []
    assert [value for value in invalid if is_accepted(**{name: value})] == []


def test_the_documented_request_is_sent_with_our_callback_url_and_reference() -> None:
    prepared = USEAPI.prepare(CREATE, documented_request())

    assert sent(documented_request()) == {
        **documented_request(),
        "replyUrl": CALLBACK_URL,
        "replyRef": REF,
    }
    assert (prepared.reply_url, prepared.reply_ref) == (
        PLACEHOLDERS["replyUrl"],
        "Place your reference id here",
    )


def test_the_documented_shortest_request_is_sent_without_values_for_the_defaults() -> None:
    request = payload("documented_frames_minimal_request")

    assert sent(request) == {**request, "replyUrl": CALLBACK_URL, "replyRef": REF}


@pytest.mark.parametrize(
    ("name", "default"), [("aspect_ratio", "16:9 by default"), ("diversity", "2 by default")]
)
def test_a_documented_default_is_told_to_the_client(name: str, default: str) -> None:
    (field,) = (field for field in CREATE.inputs if field.name == name)

    assert default in field.summary


def test_a_description_requires_the_id_of_an_image_asset_and_nothing_else() -> None:
    assert [field.name for field in DESCRIBE.inputs if field.required] == ["image_assetId"]


def test_the_documented_url_of_a_description_is_called() -> None:
    task = ProviderTask(
        ref=REF, operation="frames.describe", input={"image_assetId": "image_assetId"}
    )

    call = USEAPI.submit([task])

    assert (call.method, call.path) == ("GET", "/frames/describe/image_assetId")


def test_each_part_of_the_documented_task_id_is_kept() -> None:
    task = payload("documented_frames_200")

    assert read_callback(task).task_id == "user:user_id-runwayml:account_email-task:task_uuid"


@pytest.mark.parametrize("name", payload("documented_frames_200"))
def test_any_field_of_the_documented_task_may_be_missing_or_null(name: str) -> None:
    """The page's model says that all fields are optional."""
    task = payload("documented_frames_200")
    without = {key: value for key, value in task.items() if key != name}

    for body in (without, task | {name: None}):
        report = read_callback(body)
        assert report.task_id is not None
        assert (report.status is None) is (name == "status")


@pytest.mark.parametrize("name", payload("documented_frames_200")["options"])
def test_any_option_of_the_documented_task_may_be_missing(name: str) -> None:
    task = payload("documented_frames_200")
    without = {key: value for key, value in task["options"].items() if key != name}

    assert read_callback(task | {"options": without}) == read_callback(task)


@pytest.mark.parametrize("name", payload("documented_frames_200")["features"])
def test_any_of_the_documented_features_may_be_missing(name: str) -> None:
    task = payload("documented_frames_200")
    without = {key: value for key, value in task["features"].items() if key != name}

    info = read_callback(task | {"features": without}).provider_info

    assert info is not None
    assert info["features"] == without


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "No"}, ErrorCode.PROVIDER_ERROR, "No"),
        ({"errorMessage": "No"}, ErrorCode.PROVIDER_ERROR, "No"),
        ({"errorMessage": "Failed", "message": "No"}, ErrorCode.PROVIDER_ERROR, "No"),
        ({"reason": "SAFETY.INPUT.TEXT", "message": "No"}, ErrorCode.MODERATED, "No"),
        ({"moderation_category": "violence", "message": "No"}, ErrorCode.MODERATED, "No"),
        ({"tally_asimov": True, "message": "No"}, ErrorCode.MODERATED, "No"),
        ({"tally_asimov": False, "message": "No"}, ErrorCode.PROVIDER_ERROR, "No"),
    ],
)
def test_each_documented_field_of_a_failure_is_read(
    error: dict[str, Any], code: ErrorCode, message: str
) -> None:
    found = failure(error)

    assert (found.code, found.message) == (code, message)
    assert found.provider_code == error.get("reason")


@pytest.mark.parametrize("name", ["account", "runway"])
def test_each_documented_429_leaves_the_pause_to_us(name: str) -> None:
    body = json.dumps(payload(f"documented_frames_429_{name}")).encode()
    task = ProviderTask(ref=REF, operation="frames.create", input={"text_prompt": "x"})

    answer = USEAPI.read_answer(Reply(status=429, headers={}, body=body), [task])[REF]

    assert isinstance(answer, RetryLater)
    assert answer.retry_after_seconds is None


@pytest.mark.parametrize("number", ["#1", "#N"])
def test_each_documented_running_task_is_found_by_its_reference(number: str) -> None:
    body = payload("documented_frames_429_account")
    (tasks,) = body["runningTasks"].values()
    (running,) = [task for task in tasks if number in task["taskId"]]
    assert running.keys() == {"email", "taskId", "id", "replyUrl", "replyRef"}
    running["replyRef"] = REF
    task = ProviderTask(ref=REF, operation="frames.create", input={"text_prompt": "x"})
    reply = Reply(status=429, headers={}, body=json.dumps(body).encode())

    assert USEAPI.read_answer(reply, [task])[REF] == Report(
        refs=(REF,), task_id=running["taskId"], status=Status.SUBMITTED
    )


def test_a_documented_running_task_may_be_without_a_reference() -> None:
    body = payload("documented_frames_429_account")
    for tasks in body["runningTasks"].values():
        for running in tasks:
            del running["replyUrl"], running["replyRef"]
    task = ProviderTask(ref=REF, operation="frames.create", input={"text_prompt": "x"})
    reply = Reply(status=429, headers={}, body=json.dumps(body).encode())

    assert isinstance(USEAPI.read_answer(reply, [task])[REF], RetryLater)
