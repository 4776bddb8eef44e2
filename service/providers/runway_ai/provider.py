"""runway-ai.ai: fifteen endpoints that answer at once (its API overview is the only document)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, Code, JobError, Output, Stage
from service.domain.primitives.errors import Fault, Invalid
from service.domain.primitives.json_input import Unreadable
from service.providers.coercion import fields, json_or_none, kind_of, media_type, text, web_url
from service.providers.http_status import (
    BUSY,
    busy,
    empty,
    failed,
    garbled,
    message_of,
    refused,
    taken,
)
from service.providers.input_schema import faults_of
from service.providers.protocol import (
    Answer,
    Call,
    Finding,
    Operation,
    Prepared,
    Reply,
    Task,
    Unknown,
)
from service.providers.request_builder import get, send
from service.providers.runway_ai.catalog import ENDPOINTS, METADATA, Endpoint

_GATEWAY_TIMEOUT: Final = 504
_TELLTALE: Final = 8  # characters: a shorter secret would be found in any sentence


class RunwayAi:
    """The API of runway-ai.ai, which is not Runway."""

    name = "runway_ai"
    title = "runway-ai.ai"
    default_base_url = "https://api.runway-ai.ai"
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: row.operation for name, row in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> Prepared:
        if faults := faults_of(operation.inputs, given) + _trim_faults(operation, given):
            raise Invalid(faults)
        return Prepared(input=given)

    def submit(self, tasks: Sequence[Task]) -> Call:
        (task,) = tasks
        row, path = ENDPOINTS[task.operation], f"/v1/{task.operation}"
        return get(path, task.input) if row.method == "GET" else send(row.method, path, task.input)

    def read_answer(self, reply: Reply, tasks: Sequence[Task]) -> dict[str, Answer]:
        return {task.ref: _answer(reply, task) for task in tasks}

    def read_callback(self, body: bytes) -> list[Report]:
        raise Unreadable(f"{self.title} sends no callbacks, so these {len(body)} bytes are none")

    def look_up(self, job: Job, step: int) -> Call | None:  # noqa: ARG002 - it keeps no tasks
        return None

    def read_look_up(self, reply: Reply, job: Job, step: int) -> Finding:  # noqa: ARG002 - as above
        return Unknown(message=f"{self.title} keeps no tasks that could be asked for")

    def check(self) -> Call | None:
        return None  # its documents show no read that is free and wants the key

    def read_check(self, reply: Reply) -> JobError | None:
        return None if taken(reply.status) else refused(reply.status, None).error


def _trim_faults(operation: Operation, given: dict[str, Any]) -> list[Fault]:
    start, end = given.get("start_time"), given.get("end_time")
    if operation.name != "edit-video" or not isinstance(start, int) or not isinstance(end, int):
        return []
    if end > start:
        return []
    return [Fault("input.end_time", "must be greater than start_time")]


def _answer(reply: Reply, task: Task) -> Answer:
    row, body = ENDPOINTS[task.operation], fields(json_or_none(reply.body))
    if taken(reply.status):
        return _result(row, task, reply, body)
    said = None if _secrets(row, task) else message_of(body)
    if reply.status == _GATEWAY_TIMEOUT:  # the work, and its price, may have been done behind it
        return Unknown(message="its gateway gave up waiting for the result")
    return busy(reply, said) if reply.status in BUSY else refused(reply.status, said)


def _result(row: Endpoint, task: Task, reply: Reply, body: dict[str, Any]) -> Report:
    if row.kind == "message" and (body or not reply.body.strip()):
        return _succeeded(Output(text=_message(row, task, body)))
    if not body:
        return garbled()
    output = _metadata(body) if row.kind == "metadata" else _media(row, task, body)
    if output is not None:
        return _succeeded(output)
    said = message_of(body.get("error"))
    return failed(Code.PROVIDER_ERROR, said, stage=Stage.PROVIDER) if said else empty()


def _succeeded(output: Output) -> Report:
    return Report(status=Status.SUCCEEDED, output=output)


def _metadata(body: dict[str, Any]) -> Output | None:
    data = {key: body[key] for key in METADATA if body.get(key) is not None}
    return Output(data=data) if data else None


def _media(row: Endpoint, task: Task, body: dict[str, Any]) -> Output | None:
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


def _message(row: Endpoint, task: Task, body: dict[str, Any]) -> str | None:
    said = text(body.get("message"))
    repeated = any(len(word) >= _TELLTALE and word in (said or "") for word in _secrets(row, task))
    return None if repeated else said


def _secrets(row: Endpoint, task: Task) -> list[str]:
    """List what was sent that must not come back in the provider's words."""
    names = (entry.name for entry in row.operation.inputs if entry.secret)
    return [str(task.input[name]) for name in names if name in task.input]
