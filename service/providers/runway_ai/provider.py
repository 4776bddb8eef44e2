"""runway-ai.ai: fifteen endpoints that respond with the result.

The vendor's only documentation is its API overview.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.json_input import UnreadableJson
from service.providers.kit.coercion import (
    artifact_kind,
    as_dict,
    json_or_none,
    media_type,
    text,
    web_url,
)
from service.providers.kit.http_status import (
    BUSY_STATUSES,
    empty_result,
    failed,
    is_success,
    message_of,
    rejected,
    rejection,
    retry_later,
    unreadable_result,
)
from service.providers.kit.input_schema import input_errors
from service.providers.kit.request_builder import get, send
from service.providers.protocol import (
    AccountSettings,
    Answer,
    Call,
    Callbacks,
    Inconclusive,
    LookupResult,
    Operation,
    PreparedInput,
    ProviderTask,
    Reply,
)
from service.providers.runway_ai.catalog import ENDPOINTS, METADATA_KEYS, Endpoint

_FREE_KINDS: Final = frozenset({"metadata", "message"})
"""The kinds of results that cost nothing: reading metadata and deleting media."""
_MIN_SECRET_LENGTH: Final = 8
"""Characters; shorter secrets are not searched for, because many texts contain them by chance."""


class RunwayAi:
    """The API of runway-ai.ai, which is not related to Runway."""

    name = "runway_ai"
    title = "runway-ai.ai"
    account = AccountSettings(
        "RUNWAY_AI_API_KEY",
        prefix="RUNWAY_AI",
        base_url="https://api.runway-ai.ai",
        max_jobs=8,
    )
    callbacks: Callbacks | None = None
    reply_url_field: str | None = None
    poll_seconds: float | None = None
    operations: Mapping[str, Operation] = MappingProxyType(
        {name: endpoint.operation for name, endpoint in ENDPOINTS.items()}
    )

    def operation(self, name: str) -> Operation | None:
        return self.operations.get(name)

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        errors = input_errors(operation.inputs, given)
        if operation.name == "edit-video":
            errors += _trim_errors(given)
        if errors:
            raise Invalid(errors)
        is_free = ENDPOINTS[operation.name].kind in _FREE_KINDS
        return PreparedInput(input=given, uses_credits=not is_free)

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        (task,) = tasks
        endpoint, path = ENDPOINTS[task.operation], f"/v1/{task.operation}"
        if endpoint.method == "GET":
            return get(path, task.input)
        return send(endpoint.method, path, task.input)

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        return {task.ref: _answer(reply, task) for task in tasks}

    def read_callback(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - it sends none of its own
    ) -> list[Report]:
        raise UnreadableJson(f"{self.title} sends no callbacks, but {len(body)} bytes arrived")

    def lookup(self, job: Job, step: int) -> Call | None:  # noqa: ARG002 - it stores no tasks
        return None

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:  # noqa: ARG002 - as above
        return Inconclusive(message=f"{self.title} stores no tasks, so there is no lookup")

    def check(self) -> Call | None:
        return None  # it documents no request that is free and needs the API key

    def read_check(self, reply: Reply) -> JobError | None:
        return None if is_success(reply.status) else rejection(reply.status, None)


def _trim_errors(given: dict[str, Any]) -> list[FieldError]:
    start, end = given.get("start_time"), given.get("end_time")
    if isinstance(start, int) and isinstance(end, int) and end <= start:
        return [FieldError("input.end_time", "must be greater than start_time")]
    return []


def _answer(reply: Reply, task: ProviderTask) -> Answer:
    endpoint, body = ENDPOINTS[task.operation], as_dict(json_or_none(reply.body))
    if is_success(reply.status):
        return _result(endpoint, task, reply, body)
    message = None if _secrets(endpoint, task) else message_of(body)
    if reply.status == HTTPStatus.GATEWAY_TIMEOUT:
        # The work behind the gateway may have been done, and billed.
        return Inconclusive(message="its gateway timed out before the result was there")
    if reply.status in BUSY_STATUSES:
        return retry_later(reply, message)
    return rejected(reply.status, message)


def _result(endpoint: Endpoint, task: ProviderTask, reply: Reply, body: dict[str, Any]) -> Report:
    if endpoint.kind == "message" and (body or not reply.body.strip()):
        output = Output(text=_safe_text(endpoint, task, body))
        return Report(status=Status.SUCCEEDED, output=output)
    if not body:
        return unreadable_result()
    found = _metadata(body) if endpoint.kind == "metadata" else _media(endpoint, task, body)
    if found is not None:
        return Report(status=Status.SUCCEEDED, output=found)
    message = message_of(body.get("error"))
    if message:
        return failed(ErrorCode.PROVIDER_ERROR, message, stage=ErrorStage.PROVIDER)
    return empty_result()


def _metadata(body: dict[str, Any]) -> Output | None:
    data = {key: body[key] for key in METADATA_KEYS if body.get(key) is not None}
    return Output(data=data) if data else None


def _media(endpoint: Endpoint, task: ProviderTask, body: dict[str, Any]) -> Output | None:
    """Read the URL under the documented key, else the only `*_url` that is not in the input."""
    url = web_url(body.get(endpoint.result_key))
    if url is not None:
        artifact = Artifact(kind=endpoint.kind, url=url, media_type=media_type(url))
        return Output(artifacts=(artifact,))
    candidates = (web_url(value) for key, value in body.items() if key.endswith("_url"))
    input_values = task.input.values()
    urls = [found for found in candidates if found is not None and found not in input_values]
    if len(urls) != 1:
        return None
    file_type = media_type(urls[0])
    kind = artifact_kind(file_type) if file_type else endpoint.kind
    return Output(artifacts=(Artifact(kind=kind, url=urls[0], media_type=file_type),))


def _safe_text(endpoint: Endpoint, task: ProviderTask, body: dict[str, Any]) -> str | None:
    """Read the message of the response; None if it contains a secret of the input."""
    message = text(body.get("message"))
    for secret in _secrets(endpoint, task):
        if len(secret) >= _MIN_SECRET_LENGTH and secret in (message or ""):
            return None
    return message


def _secrets(endpoint: Endpoint, task: ProviderTask) -> list[str]:
    """Return the secret values of the input; they must not be shown in a message."""
    names = (field.name for field in endpoint.operation.inputs if field.secret)
    return [str(task.input[name]) for name in names if name in task.input]
