"""The JSON examples of the documents are what the service sends and accepts."""

import json
import re
from typing import Any

import msgspec
import pytest

from handlers.schemas.subscriptions import SubscriptionCreate
from service.domain.events import EVENT_TYPES, JobEvent, ModerationData, job_event
from service.domain.jobs.job import Status
from service.domain.jobs.results import Artifact, Output
from service.domain.subscriptions.filters import filter_errors
from service.providers import registry
from service.transactions.job_request import JobRequest
from tests.support.factories import T0, build_job
from tests.support.paths import ROOT

EVENTS = (ROOT / "docs/events.md").read_text("utf-8")


def json_examples(text: str) -> list[Any]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def shape(value: Any) -> Any:
    """The names and the order of the fields on every level; values become None."""
    if isinstance(value, dict):
        return [(name, shape(field)) for name, field in value.items()]
    return [shape(one) for one in value] if isinstance(value, list) else None


def test_the_documented_event_has_the_fields_of_a_real_one() -> None:
    example = json_examples(EVENTS)[0]
    output = Output(artifacts=(Artifact(preview_urls=("https://example.com/preview.jpg",)),))
    event = job_event(None, build_job(output=output), "job.succeeded", "evt_1", T0)

    assert shape(example) == shape(msgspec.json.decode(event.payload))


def test_the_documented_event_has_valid_values() -> None:
    example = json_examples(EVENTS)[0]

    event = msgspec.convert(example, JobEvent)

    assert (event.type, event.data.status) == ("job.succeeded", Status.SUCCEEDED)


def test_the_documented_subscription_is_accepted() -> None:
    example = json_examples(EVENTS)[1]

    given = msgspec.convert(example, SubscriptionCreate)

    assert given.filter is not None
    assert filter_errors(given.filter, "filter") == []
    assert set(given.event_types or ()) <= EVENT_TYPES.keys()


def test_the_documented_jobs_are_accepted() -> None:
    examples = json_examples((ROOT / "docs/providers.md").read_text("utf-8"))
    requests = [msgspec.convert(example, JobRequest) for example in examples]

    for request in requests:
        provider = registry()[request.provider]
        operation = provider.operation(request.operation)
        assert operation is not None
        assert provider.prepare(operation, request.input).input == request.input
    assert [request.provider for request in requests] == ["useapi", "replicate"]


def test_the_documented_data_of_a_moderation_warning_has_its_fields() -> None:
    (example,) = re.findall(r"`(\{\"provider\".*?\})`", EVENTS)

    assert list(json.loads(example)) == list(ModerationData.__struct_fields__)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_type_is_documented(event_type: str) -> None:
    group, _, name = event_type.partition(".")
    rows = re.findall(r"^\| `.*$", EVENTS, re.MULTILINE)

    assert any(f"`{group}." in row and f".{name}`" in row for row in rows)
