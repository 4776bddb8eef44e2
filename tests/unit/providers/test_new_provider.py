"""An example of a complete provider: a table and a reader, for a service that casts bells."""

import hmac
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, Output
from service.domain.jobs.state_machine import apply_report
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.domain.primitives.timestamps import SECOND
from service.providers import registry
from service.providers.kit.coercion import identifier, ratio, text, web_url
from service.providers.kit.input_schema import InputField, json_schema
from service.providers.kit.request_builder import segment, send
from service.providers.kit.task_provider import TaskProvider
from service.providers.protocol import (
    AccountSettings,
    Answer,
    Call,
    Callbacks,
    Inconclusive,
    LostAnswerPolicy,
    Operation,
    PreparedInput,
    Provider,
    ProviderTask,
    Reply,
    RetryLater,
    TaskNotFound,
)
from service.runtime.settings import from_env
from tests.support.factories import build_job
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


def credential(token: str, at: int) -> dict[str, str]:
    """The foundry wants a fresh digest with each request, in place of the token."""
    seconds = str(at // SECOND)
    digest = hmac.new(token.encode(), seconds.encode(), "sha256").hexdigest()
    return {"x-foundry-time": seconds, "x-foundry-digest": digest}


class Foundry(TaskProvider):
    """A complete provider, as `registry()` would return it."""

    name = "foundry"
    title = "The bell foundry"
    account = AccountSettings(
        "FOUNDRY_TOKEN",
        prefix="FOUNDRY",
        base_url="https://foundry.example/v1",
        max_jobs=4,
        credential=credential,
    )
    callbacks: Callbacks | None = Callbacks(methods=frozenset({"PUT"}), success_status=200)
    operations: Mapping[str, Operation] = MappingProxyType({CAST.name: CAST})
    reply_url_field: str | None = "notify"
    check_path = "/me"

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        ours = {"hook": task.callback_url, "reference": task.ref}
        return send("POST", f"/{task.operation}", task.input | ours)

    def task_path(self, job: Job) -> str | None:
        return f"/bells/{segment(job.ref)}"

    def read_task(self, body: dict[str, Any]) -> Report:
        state, ref = text(body.get("state")), text(body.get("reference"))
        sound = web_url(body.get("mp3"))
        return Report(
            refs=(ref,) if ref else (),
            task_id=identifier(body.get("bell")),
            status=STATES.get(state or ""),
            provider_status=state,
            progress=ratio(body.get("percent"), 100.0),
            output=Output(artifacts=(Artifact(kind="audio", url=sound),)) if sound else None,
        )


FOUNDRY: Provider = Foundry()
"""The annotation makes the type checker compare the class with the protocol."""


DOCUMENT = ROOT / "docs" / "providers.md"


def reply(status: int, body: object, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=names, body=json.dumps(body).encode())


def build_task(ref: str) -> ProviderTask:
    given = {"note": "a'", "tons": 9}
    return ProviderTask(
        ref=ref, operation="cast", input=given, callback_url="https://belfry.example/c"
    )


def test_one_table_validates_and_documents_the_inputs() -> None:
    with pytest.raises(Invalid) as caught:
        FOUNDRY.prepare(CAST, {"tons": 0})

    assert {error.path for error in caught.value.errors} == {"input.note", "input.tons"}
    assert json_schema(CAST.inputs)["required"] == ["note"]


def test_fields_for_this_service_are_not_sent_to_the_provider() -> None:
    prepared = FOUNDRY.prepare(CAST, {"note": "a'", "notify": "https://example.com", "alloy": "b"})

    assert prepared == PreparedInput(
        input={"note": "a'", "alloy": "b"}, reply_url="https://example.com"
    )


def test_a_task_becomes_one_request() -> None:
    call = FOUNDRY.submit([build_task("ref-1")])

    assert (call.method, call.path) == ("POST", "/cast")
    assert json.loads(call.body or b"") == {
        "note": "a'",
        "tons": 9,
        "hook": "https://belfry.example/c",
        "reference": "ref-1",
    }


def test_the_reports_of_the_provider_drive_a_job_to_its_end() -> None:
    job = build_job(provider="foundry", operation="cast", status=Status.SUBMITTING)
    accepted = FOUNDRY.read_answer(
        reply(202, {"bell": 7, "state": "melting"}), [build_task(job.ref)]
    )
    callbacks = [
        {"reference": job.ref, "state": "casting", "percent": 50},
        {"reference": job.ref, "state": "rung", "mp3": "https://foundry.example/7.mp3"},
    ]

    reports = [accepted[job.ref], *(_read(body) for body in callbacks)]
    for at, report in enumerate(reports, start=job.created_at + 1):
        assert isinstance(report, Report)
        job = apply_report(job, report, at) or job

    assert (job.status, job.provider_task_id, job.progress) == (Status.SUCCEEDED, "7", 1.0)
    assert job.output == Output(
        artifacts=(Artifact(kind="audio", url="https://foundry.example/7.mp3"),)
    )


def _read(body: object) -> Report:
    (report,) = FOUNDRY.read_callback(json.dumps(body).encode(), {})
    return report


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"sound": "clear"}', b"<html>"])
def test_a_body_without_a_bell_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        FOUNDRY.read_callback(body, {})


def test_an_answer_is_a_rejection_a_delay_or_inconclusive() -> None:
    def answer(status: int, body: object, **headers: str) -> Answer:
        return FOUNDRY.read_answer(reply(status, body, **headers), [build_task("r")])["r"]

    failed = answer(400, {"error": "no bronze left"})

    assert isinstance(failed, Report)
    assert failed.error is not None
    assert failed.error.message == "no bronze left"
    assert answer(503, {}, retry_after="9") == RetryLater(
        message="The provider answered with HTTP status 503.", retry_after_seconds=9.0
    )
    assert isinstance(answer(200, []), Inconclusive)


def test_a_lookup_finds_the_state_of_a_task() -> None:
    job = build_job(ref="ref-1", provider="foundry", operation="cast")
    rung = {"reference": "ref-1", "state": "rung", "mp3": "https://foundry.example/7.mp3"}

    assert FOUNDRY.lookup(job, 0) == Call(method="GET", path="/bells/ref-1")
    assert FOUNDRY.lookup(job, 1) is None
    assert isinstance(FOUNDRY.read_lookup(reply(404, {}), job, 0), TaskNotFound)
    assert isinstance(FOUNDRY.read_lookup(reply(500, {}), job, 0), Inconclusive)
    assert FOUNDRY.read_lookup(reply(200, rung), job, 0) == [_read(rung)]


def test_the_credential_is_made_anew_for_each_request() -> None:
    first, second = (FOUNDRY.account.credential("token", at * SECOND) for at in (1, 2))

    assert first["x-foundry-time"] == "1"
    assert first["x-foundry-digest"] != second["x-foundry-digest"]
    assert "token" not in str(first)


def test_the_credential_is_checked_by_a_free_request() -> None:
    assert FOUNDRY.check() == Call(method="GET", path="/me")
    assert FOUNDRY.read_check(reply(200, {})) is None
    assert FOUNDRY.read_check(reply(401, {})) is not None


def test_every_provider_has_an_account_in_the_settings() -> None:
    accounts = from_env({}).accounts

    assert {name: (one.base_url, one.max_jobs) for name, one in accounts.items()} == {
        name: (provider.account.base_url, provider.account.max_jobs)
        for name, provider in registry().items()
    }


@pytest.mark.parametrize("name", registry())
def test_every_operation_is_documented(name: str) -> None:
    text = DOCUMENT.read_text("utf-8")

    assert [
        operation for operation in registry()[name].operations if f"`{operation}`" not in text
    ] == []
