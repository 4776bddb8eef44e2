"""What it takes to add a provider: one class without I/O, here of a service that makes bells."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, JobError, Output
from service.domain.jobs.state_machine import apply_report
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson, read_json
from service.providers import registry
from service.providers.coercion import as_dict, identifier, json_or_none, ratio, text, web_url
from service.providers.http_status import (
    BUSY_STATUSES,
    is_success,
    message_of,
    rejected,
    retry_later,
)
from service.providers.input_schema import InputField, input_errors, json_schema
from service.providers.protocol import (
    Answer,
    Call,
    Inconclusive,
    LookupResult,
    LostAnswerPolicy,
    Operation,
    PreparedInput,
    Provider,
    ProviderTask,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.providers.request_builder import get, segment, send
from service.runtime.settings import from_env
from tests.support.factories import a_job
from tests.support.paths import ROOT

CAST = Operation(
    name="cast",
    summary="Cast a bell and record its sound.",
    inputs=(
        InputField(name="note", kind="string", summary="The strike note.", required=True),
        InputField(
            name="tons", kind="number", summary="Its weight.", exclusive_minimum=0, maximum=200
        ),
        InputField(name="notify", kind="string", summary="Where this job's events are sent."),
    ),
    answers_immediately=False,
    on_lost_answer=LostAnswerPolicy.AWAIT,
    deadline_seconds=7200,
)
STATES = {"melting": Status.SUBMITTED, "casting": Status.RUNNING, "rung": Status.SUCCEEDED}


class Foundry:
    """A provider whole: what `registry()` would list."""

    name = "foundry"
    title = "The bell foundry"
    default_base_url = "https://foundry.example/v1"
    operations: Mapping[str, Operation] = MappingProxyType({CAST.name: CAST})

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given):
            raise Invalid(errors)
        rest = {key: value for key, value in given.items() if key != "notify"}
        return PreparedInput(input=rest, reply_url=given.get("notify"))

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        asked = {"hook": task.callback_url, "reference": task.ref}
        return send("POST", f"/{task.operation}", task.input | asked)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        return {task.ref: _answer(reply) for task in tasks}

    def read_callback(self, body: bytes) -> list[Report]:
        bell = as_dict(read_json(body))
        if "reference" not in bell:
            raise UnreadableJson("not a bell of the foundry")
        return [_report(bell)]

    def lookup(self, job: Job, step: int) -> Call | None:
        return get(f"/bells/{segment(job.ref)}", {}) if step == 0 else None

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        if reply.status == 404:
            return TaskNotFound(message=f"read {step} found no bell {job.ref}")
        body = as_dict(json_or_none(reply.body))
        return (
            [_report(body)]
            if is_success(reply.status) and body
            else Inconclusive(message="no bell")
        )

    def check(self) -> Call | None:
        return get("/me", {})

    def read_check(self, reply: Reply) -> JobError | None:
        return None if is_success(reply.status) else rejected(reply.status, None).error


def _answer(reply: Reply) -> Answer:
    body = as_dict(json_or_none(reply.body))
    if reply.status in BUSY_STATUSES:
        return retry_later(reply, message_of(body))
    if not is_success(reply.status):
        return rejected(reply.status, message_of(body))
    return _report(body) if body else Inconclusive(message="the answer named no bell")


def _report(bell: dict[str, Any]) -> Report:
    word, ref, sound = (
        text(bell.get("state")),
        text(bell.get("reference")),
        web_url(bell.get("mp3")),
    )
    return Report(
        refs=(ref,) if ref else (),
        task_id=identifier(bell.get("bell")),
        status=STATES.get(word or ""),
        provider_status=word,
        progress=ratio(bell.get("percent"), 100.0),
        output=Output(artifacts=(Artifact(kind="audio", url=sound),)) if sound else None,
    )


FOUNDRY: Provider = Foundry()
"""The annotation is what the type checker holds the class against."""


DOCUMENT = ROOT / "docs" / "providers.md"


def reply(status: int, body: object, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=names, body=json.dumps(body).encode())


def a_task(ref: str) -> ProviderTask:
    given = {"note": "a'", "tons": 9}
    return ProviderTask(
        ref=ref, operation="cast", input=given, callback_url="https://belfry.example/c"
    )


def test_its_inputs_are_checked_and_shown_by_one_table() -> None:
    with pytest.raises(Invalid) as caught:
        FOUNDRY.prepare(CAST, {"tons": 0})

    assert {fault.path for fault in caught.value.errors} == {"input.note", "input.tons"}
    assert json_schema(CAST.inputs)["required"] == ["note"]


def test_what_is_meant_for_us_does_not_reach_it() -> None:
    prepared = FOUNDRY.prepare(CAST, {"note": "a'", "notify": "https://example.com", "alloy": "b"})

    assert prepared == PreparedInput(
        input={"note": "a'", "alloy": "b"}, reply_url="https://example.com"
    )


def test_a_task_becomes_one_request() -> None:
    call = FOUNDRY.submit([a_task("ref-1")])

    assert (call.method, call.path) == ("POST", "/cast")
    assert json.loads(call.body or b"") == {
        "note": "a'",
        "tons": 9,
        "hook": "https://belfry.example/c",
        "reference": "ref-1",
    }


def test_a_job_walks_by_its_words_alone() -> None:
    job = a_job(provider="foundry", operation="cast", status=Status.SUBMITTING)
    accepted = FOUNDRY.read_answer(reply(202, {"bell": 7, "state": "melting"}), [a_task(job.ref)])
    told = [
        {"reference": job.ref, "state": "casting", "percent": 50},
        {"reference": job.ref, "state": "rung", "mp3": "https://foundry.example/7.mp3"},
    ]

    reports = [accepted[job.ref], *(_read(body) for body in told)]
    for at, report in enumerate(reports, start=job.created_at + 1):
        assert isinstance(report, Report)
        job = apply_report(job, report, at) or job

    assert (job.status, job.provider_task_id, job.progress) == (Status.SUCCEEDED, "7", 1.0)
    assert job.output == Output(
        artifacts=(Artifact(kind="audio", url="https://foundry.example/7.mp3"),)
    )


def _read(body: object) -> Report:
    (report,) = FOUNDRY.read_callback(json.dumps(body).encode())
    return report


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"state": "rung"}', b"<html>"])
def test_what_is_no_bell_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        FOUNDRY.read_callback(body)


def test_a_refusal_a_delay_and_a_doubt_are_told_apart() -> None:
    def answer(status: int, body: object, **headers: str) -> Answer:
        return FOUNDRY.read_answer(reply(status, body, **headers), [a_task("r")])["r"]

    failed = answer(402, {"error": "no bronze left"})

    assert isinstance(failed, Report)
    assert failed.error is not None
    assert failed.error.message == "no bronze left"
    assert answer(503, {}, retry_after="9") == RetryLater(
        message="The provider answered with HTTP status 503.", retry_after_seconds=9.0
    )
    assert isinstance(answer(200, []), Inconclusive)


def test_a_doubt_is_settled_by_one_read() -> None:
    job = a_job(ref="ref-1", provider="foundry", operation="cast")
    rung = {"reference": "ref-1", "state": "rung", "mp3": "https://foundry.example/7.mp3"}

    assert FOUNDRY.lookup(job, 0) == Call(method="GET", path="/bells/ref-1")
    assert FOUNDRY.lookup(job, 1) is None
    assert isinstance(FOUNDRY.read_lookup(reply(404, {}), job, 0), TaskNotFound)
    assert isinstance(FOUNDRY.read_lookup(reply(500, {}), job, 0), Inconclusive)
    assert FOUNDRY.read_lookup(reply(200, rung), job, 0) == [_read(rung)]


def test_its_credential_is_checked_by_a_read_that_costs_nothing() -> None:
    assert FOUNDRY.check() == Call(method="GET", path="/me")
    assert FOUNDRY.read_check(reply(200, {})) is None
    assert FOUNDRY.read_check(reply(401, {})) is not None


def test_every_provider_has_its_line_among_the_accounts() -> None:
    accounts = from_env({}).accounts

    assert {name: account.base_url for name, account in accounts.items()} == {
        name: provider.default_base_url for name, provider in registry().items()
    }


@pytest.mark.parametrize("name", registry())
def test_every_operation_is_documented(name: str) -> None:
    text = DOCUMENT.read_text("utf-8")

    assert [one for one in registry()[name].operations if f"`{one}`" not in text] == []
