"""runway-ai.ai: fifteen endpoints that answer at once (its API overview is the only document)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.coercion import fields, json_or_none, kind_of, media_type, text, web_url
from service.providers.http_status import (
    BUSY,
    empty_result,
    failed,
    is_success,
    message_of,
    rejected,
    retry_later,
    unreadable_result,
)
from service.providers.input_schema import input_errors
from service.providers.protocol import (
    AccountSettings,
    Answer,
    Call,
    Inconclusive,
    LookupResult,
    Operation,
    PreparedInput,
    ProviderTask,
    Reply,
)
from service.providers.request_builder import get, send
from service.providers.runway_ai.catalog import ENDPOINTS, METADATA, Endpoint

_GATEWAY_TIMEOUT: Final = 504
_TELLTALE: Final = 8  # characters: a shorter secret would be found in any sentence


class RunwayAi:
    """The API of runway-ai.ai, which is not Runway."""

    name = "runway_ai"
    title = "runway-ai.ai"
    account = AccountSettings(
        "RUNWAY_AI_API_KEY",
        prefix="RUNWAY_AI",
        base_url="https://api.runway-ai.ai",
        max_jobs=8,
    )
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: row.operation for name, row in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        if errors := input_errors(operation.inputs, given) + _trim_faults(operation, given):
            raise Invalid(errors)
        return PreparedInput(input=given)

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        row, path = ENDPOINTS[task.operation], f"/v1/{task.operation}"
        return get(path, task.input) if row.method == "GET" else send(row.method, path, task.input)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        return {task.ref: _answer(reply, task) for task in tasks}

    def read_callback(self, body: bytes) -> list[Report]:
        raise UnreadableJson(
            f"{self.title} sends no callbacks, so these {len(body)} bytes are none"
        )

    def lookup(self, job: Job, step: int) -> Call | None:  # noqa: ARG002 - it keeps no tasks
        return None

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:  # noqa: ARG002 - as above
        return Inconclusive(message=f"{self.title} keeps no tasks that could be asked for")

    def check(self) -> Call | None:
        return None  # its documents show no read that is free and wants the key

    def read_check(self, reply: Reply) -> JobError | None:
        return None if is_success(reply.status) else rejected(reply.status, None).error


def _trim_faults(operation: Operation, given: dict[str, Any]) -> list[FieldError]:
    start, end = given.get("start_time"), given.get("end_time")
    if operation.name != "edit-video" or not isinstance(start, int) or not isinstance(end, int):
        return []
    if end > start:
        return []
    return [FieldError("input.end_time", "must be greater than start_time")]


def _answer(reply: Reply, task: ProviderTask) -> Answer:
    row, body = ENDPOINTS[task.operation], fields(json_or_none(reply.body))
    if is_success(reply.status):
        return _result(row, task, reply, body)
    said = None if _secrets(row, task) else message_of(body)
    if reply.status == _GATEWAY_TIMEOUT:  # the work, and its price, may have been done behind it
        return Inconclusive(message="its gateway gave up waiting for the result")
    return retry_later(reply, said) if reply.status in BUSY else rejected(reply.status, said)


def _result(row: Endpoint, task: ProviderTask, reply: Reply, body: dict[str, Any]) -> Report:
    if row.kind == "message" and (body or not reply.body.strip()):
        return _succeeded(Output(text=_message(row, task, body)))
    if not body:
        return unreadable_result()
    output = _metadata(body) if row.kind == "metadata" else _media(row, task, body)
    if output is not None:
        return _succeeded(output)
    said = message_of(body.get("error"))
    return (
        failed(ErrorCode.PROVIDER_ERROR, said, stage=ErrorStage.PROVIDER)
        if said
        else empty_result()
    )


def _succeeded(output: Output) -> Report:
    return Report(status=Status.SUCCEEDED, output=output)


def _metadata(body: dict[str, Any]) -> Output | None:
    data = {key: body[key] for key in METADATA if body.get(key) is not None}
    return Output(data=data) if data else None


def _media(row: Endpoint, task: ProviderTask, body: dict[str, Any]) -> Output | None:
    """Take the documented key, else the only other `*_url` that is not the input's own."""
    url = web_url(body.get(row.result))
    media = media_type(url)
    if url is not None:
        return Output(artifacts=(Artifact(kind=row.kind, url=url, media_type=media),))
    sent = task.input.values()
    others = (web_url(value) for key, value in body.items() if key.endswith("_url"))
    found = [other for other in others if other is not None and other not in sent]
    if len(found) != 1:
        return None
    media = media_type(found[0])
    kind = kind_of(media) if media else row.kind
    return Output(artifacts=(Artifact(kind=kind, url=found[0], media_type=media),))


def _message(row: Endpoint, task: ProviderTask, body: dict[str, Any]) -> str | None:
    said = text(body.get("message"))
    repeated = any(len(word) >= _TELLTALE and word in (said or "") for word in _secrets(row, task))
    return None if repeated else said


def _secrets(row: Endpoint, task: ProviderTask) -> list[str]:
    """List what was sent that must not come back in the provider's words."""
    names = (entry.name for entry in row.operation.inputs if entry.secret)
    return [str(task.input[name]) for name in names if name in task.input]
