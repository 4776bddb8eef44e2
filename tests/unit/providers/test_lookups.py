"""Lookups of tasks at their providers: the requests, and what the answers mean."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import ErrorCode, JobError
from service.domain.jobs.state_machine import apply_report
from service.providers import registry
from service.providers.protocol import Inconclusive, LookupResult, Provider, Reply, TaskNotFound
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

PROVIDERS = registry()
USEAPI, RUNWARE = PROVIDERS["useapi"], PROVIDERS["runware"]
REF = "0d1f2a3b-4c5d-4e6f-8a7b-9c0d1e2f3a4b"
UUID = "8f14e45f-ceea-467f-a0e6-7c9d3f1b2a10"
TASK_ID = f"user:1234-runwayml:a-b+c@mail.com-task:{UUID}"
TASK_UUID = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
JOB_WITH_TASK_ID = build_job(ref=REF, provider_task_id=TASK_ID)
JOB_WITHOUT_TASK_ID = build_job(ref=REF)
JOB_WITH_UUID = build_job(ref=REF, provider_task_id=UUID)
NO_CHANGE = Report(refs=(TASK_UUID,))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
WORDS = st.sampled_from([REF, UUID, TASK_ID, TASK_UUID, "SUCCEEDED", "error", "taskNotFound"])
KEYS = st.sampled_from(
    [
        *("taskId", "id", "replyRef", "replyUrl", "status", "error", "code", "data", "errors"),
        *("taskUUID", "taskType", "response", "request", "imageUUID", "text", "resultIndex"),
    ]
)
TASK_LIKE_JSON = st.recursive(
    JSON | WORDS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=25
)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def build_runware_job(parts: int = 4, **changes: Any) -> Job:
    made = {"provider": "runware", "operation": "imageInference", "ref": TASK_UUID}
    return build_job(**made, expected_parts=parts, status=Status.SUBMITTED, **changes)


def lookup_requests(job: Job) -> list[tuple[str, str]]:
    """List method and path of each lookup of *job*, in order."""
    provider = PROVIDERS[job.provider]
    requests: list[tuple[str, str]] = []
    while call := provider.lookup(job, len(requests)):
        requests.append((call.method, call.path))
    return requests


def read_payload(job: Job, name: str, step: int = 0, status: int = 200) -> LookupResult:
    return read_body(job, payload(f"{job.provider}/{name}"), step, status)


def read_body(job: Job, body: bytes, step: int = 0, status: int = 200) -> LookupResult:
    reply = Reply(status=status, headers={}, body=body)
    return PROVIDERS[job.provider].read_lookup(reply, job, step)


def reports_of(result: LookupResult) -> Sequence[Report]:
    assert not isinstance(result, TaskNotFound | Inconclusive)
    return result


def report_of(result: LookupResult) -> Report:
    (only,) = reports_of(result)
    return only


def apply_callbacks(job: Job, *names: str) -> Job:
    """Apply the named callback payloads to *job*."""
    for name in names:
        job = apply_reports(
            job, PROVIDERS[job.provider].read_callback(payload(f"runware/{name}"), {})
        )
    return job


def apply_reports(job: Job, reports: Sequence[Report]) -> Job:
    for report in reports:
        job = apply_report(job, report, 1) or job
    return job


def test_a_task_with_a_full_id_is_looked_up_by_it() -> None:
    assert lookup_requests(JOB_WITH_TASK_ID) == [
        ("GET", f"/tasks/user:1234-runwayml:a-b%2Bc@mail.com-task:{UUID}"),
    ]


def test_a_task_without_an_id_is_looked_up_among_the_running_and_then_among_all_tasks() -> None:
    assert lookup_requests(JOB_WITHOUT_TASK_ID) == [
        ("GET", "/scheduler/"),
        ("GET", "/tasks/?offset=0&limit=100"),
    ]


def test_the_list_of_tasks_is_requested_for_the_pinned_account() -> None:
    job = replace(JOB_WITHOUT_TASK_ID, account="useapi:me+1@mail.com")

    assert lookup_requests(job)[1] == ("GET", "/tasks/?offset=0&limit=100&email=me%2B1%40mail.com")


def test_a_task_with_only_a_uuid_is_looked_up_in_the_lists_too() -> None:
    assert [path for _, path in lookup_requests(JOB_WITH_UUID)] == [
        f"/tasks/{UUID}",
        "/scheduler/",
        "/tasks/?offset=0&limit=100",
    ]


def test_the_results_of_a_runware_task_are_requested_and_then_its_details() -> None:
    bodies = [RUNWARE.lookup(build_runware_job(), step) for step in (0, 1)]

    assert [json.loads(call.body or b"") for call in bodies if call] == [
        [{"taskType": "getResponse", "taskUUID": TASK_UUID}],
        [{"taskType": "getTaskDetails", "taskUUID": TASK_UUID}],
    ]
    assert lookup_requests(build_runware_job()) == [("POST", ""), ("POST", "")]


@pytest.mark.parametrize(
    ("provider", "operation"), [("useapi", "frames.describe"), ("runway_ai", "generate-image")]
)
def test_an_operation_that_answers_immediately_has_no_lookup(provider: str, operation: str) -> None:
    job = build_job(provider=provider, operation=operation, provider_task_id=TASK_ID)

    assert lookup_requests(job) == []
    assert isinstance(read_body(job, b"{}"), Inconclusive)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("read_succeeded", Status.SUCCEEDED, None),
        ("callback_succeeded_images", Status.SUCCEEDED, None),
        ("callback_nested_under_task", Status.RUNNING, None),
        ("read_running", Status.RUNNING, None),
        ("callback_throttled", Status.SUBMITTED, None),
        ("callback_unknown_status", None, None),
        ("read_failed", Status.FAILED, ErrorCode.PROVIDER_ERROR),
        ("callback_failed_with_code", Status.FAILED, ErrorCode.MODERATED),
        ("read_succeeded_without_artifacts", Status.FAILED, ErrorCode.NO_OUTPUT),
    ],
)
def test_a_task_in_a_lookup_is_read_like_a_callback(
    name: str, status: Status | None, code: ErrorCode | None
) -> None:
    report = report_of(read_payload(JOB_WITH_TASK_ID, name))

    assert (report.refs, report.task_id, report.status) == ((REF,), TASK_ID, status)
    assert (report.error.code if report.error else None) == code


def test_a_lookup_returns_the_output() -> None:
    output = report_of(read_payload(JOB_WITH_TASK_ID, "read_succeeded")).output

    assert output is not None
    assert (output.artifacts[0].width, output.artifacts[0].bytes) == (1280, 12345678)


@pytest.mark.parametrize(
    ("name", "status"),
    [("read_not_found", 404), ("read_not_found", 200), ("error_410", 410), ("error_410", 200)],
)
def test_a_task_that_is_unknown_or_expired_is_not_found(name: str, status: int) -> None:
    assert isinstance(read_payload(JOB_WITH_TASK_ID, name, status=status), TaskNotFound)


def test_the_message_about_an_unknown_task_shows_no_account() -> None:
    gone = read_payload(JOB_WITH_TASK_ID, "error_404", status=404)

    assert isinstance(gone, TaskNotFound)
    assert "mail.com" not in gone.message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, payload("useapi/error_401")),
        (402, payload("useapi/error_402")),
        (429, payload("useapi/busy_account")),
        (596, payload("useapi/error_596")),
        (404, b"<html>no such page</html>"),
        (410, b""),
        (500, b""),
        (503, payload("useapi/read_succeeded")),
        (200, payload("useapi/error_401")),
        (200, payload("useapi/read_of_another_ref")),
        (200, payload("useapi/callback_two_refs")),
        (200, payload("useapi/scheduler")),
        (200, b'{"error": "Something went wrong"}'),
        *((200, body) for body in (b"", b"null", b"[]", b"{}", b"<html>", b"\xff", b'"text"')),
    ],
)
def test_an_answer_without_the_task_is_inconclusive(status: int, body: bytes) -> None:
    assert isinstance(read_body(JOB_WITH_TASK_ID, body, status=status), Inconclusive)


@pytest.mark.parametrize("job", [JOB_WITH_TASK_ID, build_runware_job()])
def test_a_refused_credential_is_not_shown(job: Job) -> None:
    body = b'{"error": "bad token xyz-123", "errors": [{"code": "invalidApiKey xyz-123"}]}'

    for status in (200, 401):
        result = read_body(job, body, status=status)
        assert isinstance(result, Inconclusive)
        assert "xyz" not in result.message


def test_a_uuid_that_is_not_found_is_inconclusive() -> None:
    assert isinstance(read_payload(JOB_WITH_UUID, "read_not_found", status=404), Inconclusive)


@pytest.mark.parametrize("name", ["scheduler", "scheduler_without_refs", "scheduler_by_account"])
def test_a_task_among_the_running_ones_was_accepted(name: str) -> None:
    expected = Report(refs=(REF,), task_id=TASK_ID, status=Status.SUBMITTED)

    assert report_of(read_payload(JOB_WITHOUT_TASK_ID, name)) == expected
    assert report_of(read_payload(JOB_WITH_UUID, name, step=1)) == expected


@pytest.mark.parametrize("name", ["scheduler_of_others", "error_401", "read_succeeded"])
def test_a_task_that_is_not_among_the_running_ones_is_inconclusive(name: str) -> None:
    assert isinstance(read_payload(JOB_WITHOUT_TASK_ID, name), Inconclusive)


def test_a_task_in_the_list_is_read() -> None:
    report = report_of(read_payload(JOB_WITHOUT_TASK_ID, "tasks", step=1))

    assert (report.refs, report.task_id, report.status) == ((REF,), TASK_ID, Status.SUCCEEDED)


def test_a_task_with_a_second_reference_is_not_taken_as_ours() -> None:
    body = b"[" + payload("useapi/callback_two_refs") + b"]"

    assert isinstance(read_body(JOB_WITHOUT_TASK_ID, body, step=0), Inconclusive)
    assert isinstance(read_body(JOB_WITHOUT_TASK_ID, body, step=1), Inconclusive)


def test_a_list_without_references_is_inconclusive() -> None:
    assert isinstance(read_payload(JOB_WITHOUT_TASK_ID, "tasks_without_refs", step=1), Inconclusive)


def test_a_list_without_references_is_searched_for_a_known_uuid() -> None:
    report = report_of(read_payload(JOB_WITH_UUID, "tasks_without_refs", step=2))

    assert (report.refs, report.task_id, report.status) == ((REF,), TASK_ID, Status.SUCCEEDED)


def test_results_so_far_are_parts_and_the_rest_is_in_progress() -> None:
    reports = reports_of(read_payload(build_runware_job(), "read_three_of_four"))

    assert [each.status for each in reports] == [*[Status.SUCCEEDED] * 3, Status.RUNNING]
    assert len({each.part for each in reports}) == 4
    assert {each.refs for each in reports} == {(TASK_UUID,)}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("processing", Status.RUNNING),
        ("pending", Status.SUBMITTED),
        ("acknowledgement", Status.SUBMITTED),
        ("error_conflict", Status.SUBMITTED),
        ("unknown_status", None),
        ("success_without_result", Status.FAILED),
        ("caption_in_a_list", Status.SUCCEEDED),
        ("error_nested", Status.FAILED),
    ],
)
def test_each_state_of_a_task_is_mapped(name: str, status: Status | None) -> None:
    assert report_of(read_payload(build_runware_job(1), name)).status is status


@pytest.mark.parametrize("http_status", [200, 400])
def test_a_failed_task_is_read_from_a_failed_request(http_status: int) -> None:
    report = report_of(read_payload(build_runware_job(1), "read_failed", status=http_status))

    assert report.status is Status.FAILED
    assert report.part is not None
    assert report.error is not None
    assert report.error.provider_code == "inferenceError"


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "read_nothing_yet"),
        (200, "read_busy"),
        (200, "error_rate_limit"),
        (200, "error_api_key"),
        (200, "errors_of_text"),
        (400, "errors_without_uuid"),
        (401, "error_api_key"),
        (429, "read_busy"),
        (500, "read_failed"),
        (503, "read_three_of_four"),
    ],
)
def test_a_rejected_lookup_is_inconclusive(status: int, name: str, step: int) -> None:
    assert isinstance(read_payload(build_runware_job(), name, step, status), Inconclusive)


@pytest.mark.parametrize(
    "answer_fields",
    [
        {"data": [{"taskType": "getResponse"}]},
        {"errors": [{"code": "taskNotFound", "message": "Not found."}]},
        {
            "errors": [
                {"code": "invalidTaskUUID", "message": "Not a UUID.", "parameter": "taskUUID"}
            ]
        },
        {"errors": [{"code": "oddity", "message": "Odd.", "taskType": "getResponse"}]},
    ],
)
def test_an_error_of_the_lookup_is_not_an_error_of_the_task(answer_fields: dict[str, Any]) -> None:
    body = json.dumps(answer_fields | {"taskUUID": TASK_UUID}).encode()

    assert isinstance(read_body(build_runware_job(), body), Inconclusive)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b'"text"', b"\xff"])
def test_an_unreadable_answer_is_inconclusive(body: bytes) -> None:
    assert isinstance(read_body(build_runware_job(), body), Inconclusive)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("more", [{"taskType": "aTypeOfTomorrow"}, {"status": "success"}])
def test_a_lookup_finds_the_content_of_an_unlisted_task_type(
    step: int, more: dict[str, str]
) -> None:
    item = {"taskUUID": TASK_UUID, "depth": 3, **more}
    details = {"taskType": "getTaskDetails", "taskUUID": TASK_UUID, "response": {"data": [item]}}
    body = json.dumps({"data": [details if step else item]}).encode()

    report = report_of(
        read_body(replace(build_runware_job(1), operation="aTypeOfTomorrow"), body, step)
    )

    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    assert report.output.data == {"depth": 3} | {key: more[key] for key in more.keys() & {"status"}}


def test_items_about_another_task_are_ignored() -> None:
    job = replace(build_runware_job(), ref=REF)

    assert isinstance(read_payload(job, "read_three_of_four"), Inconclusive)
    assert isinstance(read_payload(job, "error_in_errors"), Inconclusive)


@pytest.mark.parametrize(
    ("step", "kind"),
    [(0, Inconclusive), (1, TaskNotFound)],
)
def test_a_task_is_not_found_only_if_it_has_no_details_either(step: int, kind: type) -> None:
    assert isinstance(read_payload(build_runware_job(), "read_not_found", step, 400), kind)
    assert isinstance(read_payload(build_runware_job(), "details_not_found", step, 404), kind)
    assert isinstance(read_payload(build_runware_job(), "details_expired", step, 200), kind)


def test_a_model_that_was_not_found_is_an_error_of_the_task() -> None:
    error = {"code": "modelNotFound", "message": "No such model.", "taskUUID": TASK_UUID}

    report = report_of(read_body(build_runware_job(1), json.dumps({"errors": [error]}).encode()))

    assert report.error is not None
    assert report.error.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize("name", ["details", "details_flat"])
def test_the_details_of_a_task_contain_its_results(name: str) -> None:
    job = apply_reports(
        build_runware_job(), reports_of(read_payload(build_runware_job(), name, step=1))
    )

    assert job.status is Status.SUCCEEDED
    assert job.output is not None
    assert len(job.output.artifacts) == 4


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("details_processing", Status.RUNNING),
        ("details_acknowledged", Status.SUBMITTED),
        ("details_without_response", Status.SUBMITTED),
        ("details_failed", Status.FAILED),
    ],
)
def test_the_details_of_a_task_prove_that_it_was_accepted(name: str, status: Status) -> None:
    report = report_of(read_payload(build_runware_job(), name, step=1))

    assert (report.refs, report.status) == ((TASK_UUID,), status)


def test_of_details_about_several_tasks_only_those_of_the_job_are_read() -> None:
    report = report_of(read_payload(build_runware_job(), "details_of_two_tasks", step=1))

    assert report.part == "6963a97e-f017-408b-a447-6345ec31a4f1"


@pytest.mark.parametrize("name", ["read_three_of_four", "read_with_indices"])
def test_results_of_callbacks_are_not_counted_twice(name: str) -> None:
    before = apply_callbacks(build_runware_job(), "image_1_of_4", "image_3_of_4")

    after = apply_reports(before, reports_of(read_payload(before, name)))

    assert after.received_parts[:2] == before.received_parts
    assert after.output is not None
    assert len({file.id for file in after.output.artifacts}) == len(after.received_parts)
    assert after.ended == (name == "read_with_indices")


def test_a_result_that_had_an_index_is_recognized_by_its_file() -> None:
    before = apply_callbacks(build_runware_job(), "image_with_result_index")

    reports = reports_of(read_payload(before, "read_three_of_four"))

    assert [each == NO_CHANGE for each in reports] == [True, False, False, False]
    assert len(apply_reports(before, reports).received_parts) == 3


def test_a_text_that_had_no_index_is_recognized_with_one() -> None:
    before = apply_callbacks(build_runware_job(2), "text_result")
    text = json.loads(payload("runware/text_result")) | {"resultIndex": 0}
    other = text | {"text": "Another poem.", "result": "Another poem.", "resultIndex": 1}

    after = apply_reports(before, reports_of(read_body(before, json.dumps([text, other]).encode())))

    assert after.status is Status.SUCCEEDED
    assert after.output is not None
    assert after.output.text == "A poem.\n\nAnother poem."


def test_a_lookup_keeps_equal_errors_apart() -> None:
    both = payload("runware/two_alike_failures")
    one = json.dumps({"errors": json.loads(both)["errors"][:1]}).encode()
    before = apply_reports(
        apply_callbacks(build_runware_job(3), "image_1_of_4"), RUNWARE.read_callback(one, {})
    )

    after = apply_reports(before, reports_of(read_body(before, both)))

    assert (len(before.received_parts), len(after.received_parts)) == (2, 3)


def test_an_error_repeated_in_another_form_adds_no_part() -> None:
    before = apply_callbacks(build_runware_job(), "error_nested", "image_1_of_4")
    error = {"code": "providerError", "message": "The provider failed.", "taskUUID": TASK_UUID}
    twice = {"data": [], "errors": [error, error]}
    image = json.loads(payload("runware/image_1_of_4"))

    once = reports_of(read_body(before, json.dumps(image | {"errors": [error]}).encode()))
    both = reports_of(read_body(before, json.dumps(image | twice | image).encode()))

    assert apply_reports(before, once) == before
    assert len(apply_reports(before, both).received_parts) == 3


@pytest.mark.parametrize("callbacks", [(), ("error_nested",)])
def test_a_task_that_failed_as_a_whole_ends_a_job_with_several_parts(
    callbacks: tuple[str, ...],
) -> None:
    before = apply_callbacks(build_runware_job(), *callbacks)

    after = apply_reports(before, reports_of(read_payload(before, "read_failed")))

    assert (after.status, after.error) == (
        Status.FAILED,
        JobError(
            code=ErrorCode.PROVIDER_ERROR,
            message="The model failed to produce a result.",
            provider_code="inferenceError",
            retryable=True,
        ),
    )


def test_an_error_beside_results_is_only_a_part() -> None:
    before = apply_callbacks(build_runware_job(), "image_1_of_4")

    assert not apply_reports(before, reports_of(read_payload(before, "read_failed"))).ended


@settings(deadline=None)
@given(
    st.sampled_from(
        [
            JOB_WITH_TASK_ID,
            JOB_WITHOUT_TASK_ID,
            JOB_WITH_UUID,
            build_runware_job(),
            build_runware_job(1),
        ]
    ),
    st.integers(0, 3),
    st.sampled_from([200, 400, 404, 410, 500]) | st.integers(100, 999),
    TASK_LIKE_JSON.map(msgspec.json.encode) | st.binary(),
)
def test_every_answer_to_a_lookup_is_interpreted(
    job: Job, step: int, status: int, body: bytes
) -> None:
    result = read_body(job, body, step, status)

    if not isinstance(result, TaskNotFound | Inconclusive):
        assert result
        assert {each.refs for each in result} == {(job.ref,)}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def useapi(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("user:1-sandbox") as made:
        yield made


@pytest.fixture(scope="module")
async def runware(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("sandbox") as made:
        yield made


async def run_lookups(world: World, base: str, job: Job) -> list[LookupResult]:
    """Do the lookups of *job* in order until one is conclusive, like the reconciler."""
    provider: Provider = PROVIDERS[job.provider]
    results: list[LookupResult] = []
    while call := provider.lookup(job, len(results)):
        answer = await world.request(call.method, base + call.path, content=call.body)
        reply = Reply(status=answer.status_code, headers={}, body=answer.content)
        results.append(provider.read_lookup(reply, job, len(results)))
        if not isinstance(results[-1], Inconclusive):
            break
    return results


async def create(world: World, ref: str, prompt: str) -> Job:
    """Create a task at the emulated useapi.net, for a job whose submit got no answer."""
    email = "demo@example.com"
    body = {"text_prompt": prompt, "replyRef": ref, "email": email}
    answer = await world.post("/v1/runwayml/frames/create", json=body)
    assert answer.is_success
    return build_job(ref=ref, account=f"useapi:{email}", provider_task_id=answer.json()["taskId"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("a bell", Status.SUCCEEDED, None),
        ("[lost]", Status.SUCCEEDED, None),
        ("[dup 0]", Status.SUCCEEDED, None),
        ("[shuffle]", Status.SUCCEEDED, None),
        ("[forged] [fail]", Status.FAILED, ErrorCode.PROVIDER_ERROR),
        ("[moderated]", Status.FAILED, ErrorCode.MODERATED),
        ("[empty]", Status.FAILED, ErrorCode.NO_OUTPUT),
    ],
)
async def test_a_lookup_at_the_emulated_useapi_returns_the_end_of_a_task(
    useapi: World, prompt: str, status: Status, code: ErrorCode | None
) -> None:
    job = await create(useapi, a_ref(), prompt)
    await useapi.ended(job.ref)

    [result] = await run_lookups(useapi, "/v1/runwayml", job)

    report = report_of(result)
    assert (report.status, report.error.code if report.error else None) == (status, code)


@pytest.mark.anyio
async def test_the_emulated_useapi_does_not_find_a_deleted_task(useapi: World) -> None:
    job = await create(useapi, a_ref(), "[gone]")

    [result] = await run_lookups(useapi, "/v1/runwayml", job)

    assert result == TaskNotFound(message="Job has expired")


@pytest.mark.anyio
async def test_the_emulated_scheduler_lists_a_task_only_while_it_runs(useapi: World) -> None:
    running = await create(useapi, a_ref(), "[lost] [slow 9999]")
    ended = await create(useapi, a_ref(), "[lost]")
    await useapi.ended(ended.ref)

    [result] = await run_lookups(useapi, "/v1/runwayml", replace(running, provider_task_id=None))
    nothing = await run_lookups(useapi, "/v1/runwayml", replace(ended, provider_task_id=None))

    assert report_of(result).task_id == running.provider_task_id
    assert [type(each) for each in nothing] == [Inconclusive, Inconclusive]


async def infer(world: World, ref: str, prompt: str, parts: int) -> Job:
    task = {"taskType": "imageInference", "taskUUID": ref, "positivePrompt": prompt}
    more = {"model": "runware:101@1", "numberResults": parts, "includeCost": True}
    webhook = {"webhookURL": world.inbox.address(ref)}
    assert (await world.post("/v1", json=[task | more | webhook])).is_success
    return replace(build_runware_job(parts), ref=ref)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("a bell", Status.SUCCEEDED, None),
        ("[lost]", Status.SUCCEEDED, None),
        ("[lost] [part-fail]", Status.SUCCEEDED, None),
        ("[lost] [fail]", Status.FAILED, ErrorCode.PROVIDER_ERROR),
        ("[lost] [moderated]", Status.FAILED, ErrorCode.MODERATED),
        ("[lost] [empty]", Status.FAILED, ErrorCode.NO_OUTPUT),
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
async def test_a_lookup_at_the_emulated_runware_returns_the_end_of_a_task(
    runware: World, prompt: str, parts: int, status: Status, code: ErrorCode | None
) -> None:
    job = await infer(runware, a_ref(), prompt, parts)
    await runware.ended(job.ref)

    [result] = await run_lookups(runware, "/v1", job)

    job = apply_reports(job, reports_of(result))
    assert (job.status, job.error.code if job.error else None) == (status, code)


@pytest.mark.anyio
async def test_the_emulated_runware_does_not_find_a_deleted_task(runware: World) -> None:
    job = await infer(runware, a_ref(), "[gone]", 1)

    results = await run_lookups(runware, "/v1", job)

    assert [type(each) for each in results] == [Inconclusive, TaskNotFound]


@pytest.mark.anyio
async def test_a_lookup_at_the_emulated_runware_returns_the_progress_of_a_task(
    runware: World,
) -> None:
    job = await infer(runware, a_ref(), "[slow 9999]", 2)
    await runware.inbox.wait(job.ref, 1)

    [result] = await run_lookups(runware, "/v1", job)

    assert [each.status for each in reports_of(result)] == [Status.SUCCEEDED, Status.RUNNING]


@pytest.mark.anyio
@pytest.mark.parametrize("envelope", ["[wrapped]", "[flat]"])
@pytest.mark.parametrize("word", ["", "[part-fail]"])
async def test_a_lookup_completes_the_results_of_callbacks(
    runware: World, word: str, envelope: str
) -> None:
    job = await infer(runware, a_ref(), f"{word}{envelope}[dup 0]", 3)
    for body in await runware.inbox.wait(job.ref, 2):
        job = apply_reports(job, RUNWARE.read_callback(msgspec.json.encode(body), {}))
    assert (len(job.received_parts), job.ended) == (2, False)
    await runware.ended(job.ref)

    [result] = await run_lookups(runware, "/v1", job)

    job = apply_reports(job, reports_of(result))
    failed = 1 if word else 0
    assert job.status is Status.SUCCEEDED
    assert job.output is not None
    assert (len(job.output.artifacts), len(job.output.errors)) == (3 - failed, failed)
    assert job.cost_usd == round((3 - failed) * 0.0013, 10)
