"""Reads that settle a doubt about a job: what is asked, and what the answer means."""

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
KNOWN = build_job(ref=REF, provider_task_id=TASK_ID)
LOST = build_job(ref=REF)
BARE = build_job(ref=REF, provider_task_id=UUID)
REPEATED = Report(refs=(TASK_UUID,))
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
TASKLIKE = st.recursive(
    JSON | WORDS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=25
)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def a_runware_job(parts: int = 4, **changes: Any) -> Job:
    made = {"provider": "runware", "operation": "imageInference", "ref": TASK_UUID}
    return build_job(**made, expected_parts=parts, status=Status.SUBMITTED, **changes)


def asked(job: Job) -> list[tuple[str, str]]:
    """Name the reads there are for *job*, one after another."""
    provider = PROVIDERS[job.provider]
    told: list[tuple[str, str]] = []
    while call := provider.lookup(job, len(told)):
        told.append((call.method, call.path))
    return told


def found(job: Job, name: str, step: int = 0, status: int = 200) -> LookupResult:
    return found_in(job, payload(f"{job.provider}/{name}"), step, status)


def found_in(job: Job, body: bytes, step: int = 0, status: int = 200) -> LookupResult:
    reply = Reply(status=status, headers={}, body=body)
    return PROVIDERS[job.provider].read_lookup(reply, job, step)


def reports(finding: LookupResult) -> Sequence[Report]:
    assert not isinstance(finding, TaskNotFound | Inconclusive)
    return finding


def report(finding: LookupResult) -> Report:
    (only,) = reports(finding)
    return only


def called_back(job: Job, *names: str) -> Job:
    """Let callbacks come in for *job*."""
    for name in names:
        job = taken_in(job, PROVIDERS[job.provider].read_callback(payload(f"runware/{name}")))
    return job


def taken_in(job: Job, told: Sequence[Report]) -> Job:
    for each in told:
        job = apply_report(job, each, 1) or job
    return job


def test_a_task_whose_id_is_known_is_asked_for_by_the_whole_of_it() -> None:
    assert asked(KNOWN) == [
        ("GET", f"/tasks/user:1234-runwayml:a-b%2Bc@mail.com-task:{UUID}"),
    ]


def test_a_task_whose_id_is_not_known_is_looked_for_among_the_running_and_then_among_all() -> None:
    assert asked(LOST) == [("GET", "/scheduler/"), ("GET", "/tasks/?offset=0&limit=100")]


def test_the_tasks_of_a_pinned_account_are_asked_for_with_its_address() -> None:
    job = replace(LOST, account="useapi:me+1@mail.com")

    assert asked(job)[1] == ("GET", "/tasks/?offset=0&limit=100&email=me%2B1%40mail.com")


def test_a_bare_uuid_may_not_be_found_by_itself_so_the_lists_are_read_too() -> None:
    assert [path for _, path in asked(BARE)] == [
        f"/tasks/{UUID}",
        "/scheduler/",
        "/tasks/?offset=0&limit=100",
    ]


def test_a_runware_task_is_asked_for_its_results_and_then_for_what_is_kept_of_it() -> None:
    bodies = [RUNWARE.lookup(a_runware_job(), step) for step in (0, 1)]

    assert [json.loads(call.body or b"") for call in bodies if call] == [
        [{"taskType": "getResponse", "taskUUID": TASK_UUID}],
        [{"taskType": "getTaskDetails", "taskUUID": TASK_UUID}],
    ]
    assert asked(a_runware_job()) == [("POST", ""), ("POST", "")]


@pytest.mark.parametrize(
    ("provider", "operation"), [("useapi", "frames.describe"), ("runway_ai", "generate-image")]
)
def test_what_is_answered_at_once_is_never_asked_for(provider: str, operation: str) -> None:
    job = build_job(provider=provider, operation=operation, provider_task_id=TASK_ID)

    assert asked(job) == []
    assert isinstance(found_in(job, b"{}"), Inconclusive)


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
def test_a_task_is_read_as_its_callback_would_be(
    name: str, status: Status | None, code: ErrorCode | None
) -> None:
    told = report(found(KNOWN, name))

    assert (told.refs, told.task_id, told.status) == ((REF,), TASK_ID, status)
    assert (told.error.code if told.error else None) == code


def test_a_read_brings_the_output() -> None:
    output = report(found(KNOWN, "read_succeeded")).output

    assert output is not None
    assert (output.artifacts[0].width, output.artifacts[0].bytes) == (1280, 12345678)


@pytest.mark.parametrize(
    ("name", "status"),
    [("read_not_found", 404), ("read_not_found", 200), ("error_410", 410), ("error_410", 200)],
)
def test_a_task_that_is_not_found_or_has_expired_is_gone(name: str, status: int) -> None:
    assert isinstance(found(KNOWN, name, status=status), TaskNotFound)


def test_what_is_said_of_a_task_that_is_gone_shows_no_account() -> None:
    gone = found(KNOWN, "error_404", status=404)

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
def test_an_answer_that_does_not_show_the_task_tells_nothing_of_it(
    status: int, body: bytes
) -> None:
    assert isinstance(found_in(KNOWN, body, status=status), Inconclusive)


@pytest.mark.parametrize("job", [KNOWN, a_runware_job()])
def test_a_refused_credential_is_not_repeated(job: Job) -> None:
    body = b'{"error": "bad token xyz-123", "errors": [{"code": "invalidApiKey xyz-123"}]}'

    for status in (200, 401):
        finding = found_in(job, body, status=status)
        assert isinstance(finding, Inconclusive)
        assert "xyz" not in finding.message


def test_a_bare_uuid_that_is_not_found_proves_nothing() -> None:
    assert isinstance(found(BARE, "read_not_found", status=404), Inconclusive)


@pytest.mark.parametrize("name", ["scheduler", "scheduler_without_refs", "scheduler_by_account"])
def test_a_task_among_the_running_ones_was_accepted(name: str) -> None:
    expected = Report(refs=(REF,), task_id=TASK_ID, status=Status.SUBMITTED)

    assert report(found(LOST, name)) == expected
    assert report(found(BARE, name, step=1)) == expected


@pytest.mark.parametrize("name", ["scheduler_of_others", "error_401", "read_succeeded"])
def test_a_task_not_among_the_running_ones_may_still_be_anywhere(name: str) -> None:
    assert isinstance(found(LOST, name), Inconclusive)


def test_a_task_that_the_list_shows_is_read() -> None:
    told = report(found(LOST, "tasks", step=1))

    assert (told.refs, told.task_id, told.status) == ((REF,), TASK_ID, Status.SUCCEEDED)


def test_a_task_that_also_names_another_reference_is_not_taken_for_ours() -> None:
    body = b"[" + payload("useapi/callback_two_refs") + b"]"

    assert isinstance(found_in(LOST, body, step=0), Inconclusive)
    assert isinstance(found_in(LOST, body, step=1), Inconclusive)


def test_a_list_without_references_proves_nothing() -> None:
    assert isinstance(found(LOST, "tasks_without_refs", step=1), Inconclusive)


def test_a_list_without_references_may_still_show_a_known_uuid() -> None:
    told = report(found(BARE, "tasks_without_refs", step=2))

    assert (told.refs, told.task_id, told.status) == ((REF,), TASK_ID, Status.SUCCEEDED)


def test_results_so_far_are_parts_and_the_rest_is_under_way() -> None:
    told = reports(found(a_runware_job(), "read_three_of_four"))

    assert [each.status for each in told] == [*[Status.SUCCEEDED] * 3, Status.RUNNING]
    assert len({each.part for each in told}) == 4
    assert {each.refs for each in told} == {(TASK_UUID,)}


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
def test_each_state_of_a_task_has_its_meaning(name: str, status: Status | None) -> None:
    assert report(found(a_runware_job(1), name)).status is status


@pytest.mark.parametrize("http_status", [200, 400])
def test_a_failed_task_may_be_answered_as_a_failed_request(http_status: int) -> None:
    told = report(found(a_runware_job(1), "read_failed", status=http_status))

    assert told.status is Status.FAILED
    assert told.part is not None
    assert told.error is not None
    assert told.error.provider_code == "inferenceError"


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
def test_a_read_that_was_refused_tells_nothing_of_the_task(
    status: int, name: str, step: int
) -> None:
    assert isinstance(found(a_runware_job(), name, step, status), Inconclusive)


@pytest.mark.parametrize(
    "said",
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
def test_what_is_said_of_the_read_is_no_word_on_the_task(said: dict[str, Any]) -> None:
    body = json.dumps(said | {"taskUUID": TASK_UUID}).encode()

    assert isinstance(found_in(a_runware_job(), body), Inconclusive)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b'"text"', b"\xff"])
def test_an_answer_of_no_meaning_tells_nothing_of_the_task(body: bytes) -> None:
    assert isinstance(found_in(a_runware_job(), body), Inconclusive)


def test_what_is_said_of_another_task_is_passed_over() -> None:
    job = replace(a_runware_job(), ref=REF)

    assert isinstance(found(job, "read_three_of_four"), Inconclusive)
    assert isinstance(found(job, "error_in_errors"), Inconclusive)


@pytest.mark.parametrize(
    ("step", "kind"),
    [(0, Inconclusive), (1, TaskNotFound)],
)
def test_only_what_is_kept_nowhere_is_gone(step: int, kind: type) -> None:
    assert isinstance(found(a_runware_job(), "read_not_found", step, 400), kind)
    assert isinstance(found(a_runware_job(), "details_not_found", step, 404), kind)
    assert isinstance(found(a_runware_job(), "details_expired", step, 200), kind)


def test_a_model_that_was_not_found_is_a_failure_of_the_task() -> None:
    error = {"code": "modelNotFound", "message": "No such model.", "taskUUID": TASK_UUID}

    told = report(found_in(a_runware_job(1), json.dumps({"errors": [error]}).encode()))

    assert told.error is not None
    assert told.error.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize("name", ["details", "details_flat"])
def test_what_is_kept_of_a_task_holds_its_results(name: str) -> None:
    job = taken_in(a_runware_job(), reports(found(a_runware_job(), name, step=1)))

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
def test_what_is_kept_of_a_task_proves_that_it_was_taken(name: str, status: Status) -> None:
    told = report(found(a_runware_job(), name, step=1))

    assert (told.refs, told.status) == ((TASK_UUID,), status)


def test_of_an_array_kept_whole_only_what_names_the_task_is_read() -> None:
    told = report(found(a_runware_job(), "details_of_two_tasks", step=1))

    assert told.part == "6963a97e-f017-408b-a447-6345ec31a4f1"


@pytest.mark.parametrize("name", ["read_three_of_four", "read_with_indices"])
def test_results_that_callbacks_brought_are_not_taken_twice(name: str) -> None:
    before = called_back(a_runware_job(), "image_1_of_4", "image_3_of_4")

    after = taken_in(before, reports(found(before, name)))

    assert after.received_parts[:2] == before.received_parts
    assert after.output is not None
    assert len({file.id for file in after.output.artifacts}) == len(after.received_parts)
    assert after.ended == (name == "read_with_indices")


def test_a_result_called_back_with_its_index_is_known_by_its_file_without_it() -> None:
    before = called_back(a_runware_job(), "image_with_result_index")

    told = reports(found(before, "read_three_of_four"))

    assert [each == REPEATED for each in told] == [True, False, False, False]
    assert len(taken_in(before, told).received_parts) == 3


def test_a_text_called_back_without_its_index_is_known_with_it() -> None:
    before = called_back(a_runware_job(2), "text_result")
    text = json.loads(payload("runware/text_result")) | {"resultIndex": 0}
    other = text | {"text": "Another poem.", "result": "Another poem.", "resultIndex": 1}

    after = taken_in(before, reports(found_in(before, json.dumps([text, other]).encode())))

    assert after.status is Status.SUCCEEDED
    assert after.output is not None
    assert after.output.text == "A poem.\n\nAnother poem."


def test_a_read_tells_failures_apart_that_say_the_same() -> None:
    both = payload("runware/two_alike_failures")
    one = json.dumps({"errors": json.loads(both)["errors"][:1]}).encode()
    before = taken_in(called_back(a_runware_job(3), "image_1_of_4"), RUNWARE.read_callback(one))

    after = taken_in(before, reports(found_in(before, both)))

    assert (len(before.received_parts), len(after.received_parts)) == (2, 3)


def test_an_error_told_again_in_another_form_is_no_further_part() -> None:
    before = called_back(a_runware_job(), "error_nested", "image_1_of_4")
    error = {"code": "providerError", "message": "The provider failed.", "taskUUID": TASK_UUID}
    twice = {"data": [], "errors": [error, error]}
    image = json.loads(payload("runware/image_1_of_4"))

    once = reports(found_in(before, json.dumps(image | {"errors": [error]}).encode()))
    both = reports(found_in(before, json.dumps(image | twice | image).encode()))

    assert taken_in(before, once) == before
    assert len(taken_in(before, both).received_parts) == 3


@pytest.mark.parametrize("callbacks", [(), ("error_nested",)])
def test_a_task_that_failed_as_a_whole_ends_the_job_of_many_results(
    callbacks: tuple[str, ...],
) -> None:
    before = called_back(a_runware_job(), *callbacks)

    after = taken_in(before, reports(found(before, "read_failed")))

    assert (after.status, after.error) == (
        Status.FAILED,
        JobError(
            code=ErrorCode.PROVIDER_ERROR,
            message="The model failed to produce a result.",
            provider_code="inferenceError",
            retryable=True,
        ),
    )


def test_a_failure_beside_results_is_only_a_part() -> None:
    before = called_back(a_runware_job(), "image_1_of_4")

    assert not taken_in(before, reports(found(before, "read_failed"))).ended


@settings(deadline=None)
@given(
    st.sampled_from([KNOWN, LOST, BARE, a_runware_job(), a_runware_job(1)]),
    st.integers(0, 3),
    st.sampled_from([200, 400, 404, 410, 500]) | st.integers(100, 999),
    TASKLIKE.map(msgspec.json.encode) | st.binary(),
)
def test_every_answer_to_a_read_has_a_meaning(
    job: Job, step: int, status: int, body: bytes
) -> None:
    finding = found_in(job, body, step, status)

    if not isinstance(finding, TaskNotFound | Inconclusive):
        assert finding
        assert {each.refs for each in finding} == {(job.ref,)}


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


async def lookup(world: World, base: str, job: Job) -> list[LookupResult]:
    """Read one after another until something is found, as whoever settles a doubt does."""
    provider: Provider = PROVIDERS[job.provider]
    findings: list[LookupResult] = []
    while call := provider.lookup(job, len(findings)):
        answer = await world.request(call.method, base + call.path, content=call.body)
        reply = Reply(status=answer.status_code, headers={}, body=answer.content)
        findings.append(provider.read_lookup(reply, job, len(findings)))
        if not isinstance(findings[-1], Inconclusive):
            break
    return findings


async def create(world: World, ref: str, prompt: str) -> Job:
    """Put a task to the emulated useapi.net; the job is one whose submit answer was lost."""
    email = f"{ref}@example.com"
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
async def test_the_emulated_useapi_tells_the_truth_of_a_task_that_ended(
    useapi: World, prompt: str, status: Status, code: ErrorCode | None
) -> None:
    job = await create(useapi, a_ref(), prompt)
    await useapi.ended(job.ref)

    [finding] = await lookup(useapi, "/v1/runwayml", job)

    told = report(finding)
    assert (told.status, told.error.code if told.error else None) == (status, code)


@pytest.mark.anyio
async def test_the_emulated_useapi_no_longer_knows_a_task_that_is_gone(useapi: World) -> None:
    job = await create(useapi, a_ref(), "[gone]")

    [finding] = await lookup(useapi, "/v1/runwayml", job)

    assert finding == TaskNotFound(message="Job has expired")


@pytest.mark.anyio
async def test_the_emulated_scheduler_shows_a_lost_task_only_while_it_runs(useapi: World) -> None:
    running = await create(useapi, a_ref(), "[lost] [slow 9999]")
    ended = await create(useapi, a_ref(), "[lost]")
    await useapi.ended(ended.ref)

    [finding] = await lookup(useapi, "/v1/runwayml", replace(running, provider_task_id=None))
    nothing = await lookup(useapi, "/v1/runwayml", replace(ended, provider_task_id=None))

    assert report(finding).task_id == running.provider_task_id
    assert [type(each) for each in nothing] == [Inconclusive, Inconclusive]


async def infer(world: World, ref: str, prompt: str, parts: int) -> Job:
    task = {"taskType": "imageInference", "taskUUID": ref, "positivePrompt": prompt}
    more = {"model": "runware:101@1", "numberResults": parts, "includeCost": True}
    webhook = {"webhookURL": world.inbox.address(ref)}
    assert (await world.post("/v1", json=[task | more | webhook])).is_success
    return replace(a_runware_job(parts), ref=ref)


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
async def test_the_emulated_runware_tells_the_truth_of_a_task_that_ended(
    runware: World, prompt: str, parts: int, status: Status, code: ErrorCode | None
) -> None:
    job = await infer(runware, a_ref(), prompt, parts)
    await runware.ended(job.ref)

    [finding] = await lookup(runware, "/v1", job)

    job = taken_in(job, reports(finding))
    assert (job.status, job.error.code if job.error else None) == (status, code)


@pytest.mark.anyio
async def test_the_emulated_runware_no_longer_knows_a_task_that_is_gone(runware: World) -> None:
    job = await infer(runware, a_ref(), "[gone]", 1)

    findings = await lookup(runware, "/v1", job)

    assert [type(each) for each in findings] == [Inconclusive, TaskNotFound]


@pytest.mark.anyio
async def test_the_emulated_runware_tells_of_a_task_that_never_ends(runware: World) -> None:
    job = await infer(runware, a_ref(), "[slow 9999]", 2)
    await runware.inbox.wait(job.ref, 1)

    [finding] = await lookup(runware, "/v1", job)

    assert [each.status for each in reports(finding)] == [Status.SUCCEEDED, Status.RUNNING]


@pytest.mark.anyio
@pytest.mark.parametrize("envelope", ["[wrapped]", "[flat]"])
@pytest.mark.parametrize("word", ["", "[part-fail]"])
async def test_a_read_completes_what_callbacks_began(
    runware: World, word: str, envelope: str
) -> None:
    job = await infer(runware, a_ref(), f"{word}{envelope}[dup 0]", 3)
    for body in await runware.inbox.wait(job.ref, 2):
        job = taken_in(job, RUNWARE.read_callback(msgspec.json.encode(body)))
    assert (len(job.received_parts), job.ended) == (2, False)
    await runware.ended(job.ref)

    [finding] = await lookup(runware, "/v1", job)

    job = taken_in(job, reports(finding))
    failed = 1 if word else 0
    assert job.status is Status.SUCCEEDED
    assert job.output is not None
    assert (len(job.output.artifacts), len(job.output.errors)) == (3 - failed, failed)
    assert job.cost_usd == round((3 - failed) * 0.0013, 10)
