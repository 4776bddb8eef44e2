"""Whatever a provider sends: no exception, no invented result, no end without its reason.

Recorded bodies are mutated at random, from a fixed seed. `make mutations` reads 100,000 of them
with each reader.
"""

import json
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from service.domain.jobs.job import Job, Report, Status
from service.domain.jobs.results import Output
from service.domain.primitives.json_input import UnreadableJson
from service.providers import registry
from service.providers.kit.coercion import json_or_none
from service.providers.protocol import (
    Answer,
    Inconclusive,
    Provider,
    ProviderTask,
    Reply,
    TaskNotFound,
)
from tests.support.factories import build_job
from tests.support.paths import PAYLOADS

MUTATIONS: Final = int(os.environ.get("MUTATIONS", "1000"))
"""For each reader of each provider."""
PROVIDERS: Final = registry()
RECORDED: Final = {
    name: [path.read_bytes() for path in sorted((PAYLOADS / name).glob("*.json"))]
    for name in PROVIDERS
}
STATUSES: Final = (200, 200, 200, 201, 202, 400, 401, 402, 403, 404, 408, 410, 412, 413, 422)
MORE_STATUSES: Final = (*STATUSES, 429, 500, 502, 503, 504, 596)
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, "", " ", "x", "\x00", "\u2028", "🔔", "SUCCEEDED", "FAILED", "completed", "error"),
    *("http://", "https://", "https:///x.png", "javascript:alert(1)", "data:,x", "//host/x.png"),
    *(0, -1, 101, 10**30, -(10**30), 1e308, -0.0, 2**53 + 1, 2**63, True, False),
    *([], {}, [[]], [None], [{}], {"": None}, {"url": None}, {"message": {}}, {"error": []}),
)


class Mutator:
    """Makes bodies that are almost like the recorded ones of one provider."""

    def __init__(self, bodies: Sequence[bytes], seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same numbers each time
        self._bodies = bodies
        self._values = [json.loads(body) for body in bodies]

    def bodies(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            if self._random.random() < 0.1:
                yield self._damage(self._random.choice(self._bodies))
                continue
            value = json.loads(self._random.choice(self._bodies))
            for _ in range(self._random.randint(1, 4)):
                value = self._change(value)
            yield json.dumps(value).encode()

    def choice(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)

    def _damage(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        return self._random.choice(
            (body[:at], body[:at] + b"\xff" + body[at:], body + body, b"[" * 600 + body, b"")
        )

    def _change(self, value: Any) -> Any:
        """Change one value somewhere in *value*."""
        if isinstance(value, dict) and value and self._random.random() < 0.85:
            key = self._random.choice(list(value))
            if self._random.random() < 0.15:
                return {name: one for name, one in value.items() if name != key}
            return {**value, key: self._change(value[key])}
        if isinstance(value, list) and value and self._random.random() < 0.85:
            at = self._random.randrange(len(value))
            return [*value[:at], self._change(value[at]), *value[at + 1 :]]
        return self._random.choice(
            (
                *ODD_VALUES,
                self._random.choice(self._values),
                [value],
                [value, value],
                {"data": value},
                {"response": value},
                str(value)[:200],
            )
        )


def recorded(name: str, reader: str) -> Iterator[bytes]:
    assert RECORDED[name], f"no recorded bodies of {name}"
    return Mutator(RECORDED[name], f"{name} {reader}").bodies(MUTATIONS)


def strings_in(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(strings_in, value)) if isinstance(value, list) else set()


def check_report(report: Report, body: bytes, operation: str = "") -> None:
    """An end has its reason, and nothing is in the output that was not in the body.

    Only a deletion may succeed without an output.
    """
    if report.status is Status.SUCCEEDED:
        assert report.output is not None
        assert report.output != Output() or operation == "delete-media"
        assert report.error is None
    if report.status is Status.FAILED:
        assert report.error is not None
        assert report.error.message.strip()
    if report.progress is not None:
        assert 0 <= report.progress <= 1
    if report.cost_usd is not None:
        assert report.cost_usd >= 0
    if report.output is None:
        return
    said = strings_in(json_or_none(body))
    for artifact in report.output.artifacts:
        assert artifact.url
        assert artifact.url in said or artifact.url.startswith("data:")
        assert artifact.url.lower().startswith(("http://", "https://", "data:"))
        sizes = (artifact.width, artifact.height, artifact.bytes)
        assert all(size is None or size >= 0 for size in sizes)


def reports_of(answer: Answer) -> list[Report]:
    found = answer if isinstance(answer, list | tuple) else [answer]
    return [one for one in found if isinstance(one, Report)]


def a_task(provider: Provider, operation: str, ref: str) -> ProviderTask:
    callback_url = None if provider.callbacks is None else "https://belfry.example/callbacks/x"
    given = {"image_assetId": "a", "image_url": "https://a/b.png", "auth_token": "secret-token"}
    return ProviderTask(ref=ref, operation=operation, input=given, callback_url=callback_url)


@pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.callbacks])
def test_any_callback_is_read_or_refused(name: str) -> None:
    for body in recorded(name, "callback"):
        try:
            reports = PROVIDERS[name].read_callback(body, {})
        except UnreadableJson:
            continue
        assert reports
        for report in reports:
            check_report(report, body)


@pytest.mark.parametrize("name", PROVIDERS)
def test_any_answer_to_a_submit_means_something(name: str) -> None:
    provider, mutator = PROVIDERS[name], Mutator(RECORDED[name], name)
    operations = list(provider.operations)
    ref = build_job().ref
    for body in recorded(name, "answer"):
        task = a_task(provider, mutator.choice(operations), ref)
        reply = Reply(status=mutator.choice(MORE_STATUSES), headers={}, body=body)
        answers = provider.read_answer(reply, [task])
        assert answers.keys() == {ref}
        for report in reports_of(answers[ref]):
            check_report(report, body, task.operation)


@pytest.mark.parametrize("name", PROVIDERS)
def test_any_answer_to_a_lookup_means_something(name: str) -> None:
    provider, mutator = PROVIDERS[name], Mutator(RECORDED[name], name)
    jobs: list[Job] = [
        build_job(provider=name, operation=operation, provider_task_id=task_id)
        for operation in provider.operations
        for task_id in (None, "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "user:1-x:a@b.c-task:1")
    ]
    for body in recorded(name, "lookup"):
        job, step = mutator.choice(jobs), mutator.choice((0, 1, 2))
        reply = Reply(status=mutator.choice(MORE_STATUSES), headers={}, body=body)
        found = provider.read_lookup(reply, job, step)
        if isinstance(found, TaskNotFound | Inconclusive):
            continue
        for report in found:
            assert report.refs == (job.ref,)
            check_report(report, body)
