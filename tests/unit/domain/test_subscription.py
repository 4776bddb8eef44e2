from typing import Any

import pytest

from handlers.schemas.subscriptions import render_subscription
from service.domain.events import EVENT_TYPES
from service.domain.subscriptions.subscription import (
    event_type_errors,
    header_errors,
    is_subscribed,
    matches_type,
    mismatch,
)
from tests.support.factories import a_subscription, an_event


@pytest.mark.parametrize(
    ("patterns", "event_type", "matched"),
    [
        (("job.failed",), "job.failed", True),
        (("job.failed",), "job.succeeded", False),
        (("job.*",), "job.progress", True),
        (("job.*",), "jobs.progress", False),
        (("job.*",), "webhook.test", False),
        (("*",), "webhook.test", True),
        (("job.failed", "job.expired"), "job.expired", True),
        (("job",), "job.failed", False),
        (("job.fail*",), "job.failed", False),
        ((), "job.failed", False),
    ],
)
def test_patterns_match_event_types(
    patterns: tuple[str, ...], event_type: str, *, matched: bool
) -> None:
    assert matches_type(patterns, event_type) is matched


def test_an_event_matches_a_subscription_of_its_tenant() -> None:
    assert is_subscribed(a_subscription(event_types=("job.succeeded",)), an_event())


@pytest.mark.parametrize(
    "changes", [{"tenant": "other"}, {"enabled": False}, {"event_types": ("job.failed",)}]
)
def test_an_event_does_not_match(changes: dict[str, object]) -> None:
    assert not is_subscribed(a_subscription(**changes), an_event())


@pytest.mark.parametrize("pattern", ["*", "job.*", *EVENT_TYPES])
def test_a_pattern_that_can_match_has_no_error(pattern: str) -> None:
    assert event_type_errors([pattern], "events") == []


def test_each_pattern_that_can_never_match_is_an_error_with_its_path() -> None:
    errors = event_type_errors(["job.done", "job.failed", "", "job.fail*", "JOB.*"], "events")

    assert [error.path for error in errors] == ["events[0]", "events[2]", "events[3]", "events[4]"]
    assert "'job.done'" in errors[0].message
    assert "job.succeeded" in errors[0].message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abc"),
        ("X-Tenant", ""),
        ("x", "v" * 4096),
        ("accept", "application/json"),
    ],
)
def test_a_custom_header_is_allowed(name: str, value: str) -> None:
    assert header_errors({name: value}, "headers") == []


@pytest.mark.parametrize(
    "name",
    [
        *("webhook-id", "Webhook-Signature", "HOST", "content-length", "Content-Type"),
        *("transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"),
        *("proxy-authorization", "accept-encoding", "expect", "user-agent", "cookie", "date"),
    ],
)
def test_a_reserved_header_is_refused(name: str) -> None:
    (error,) = header_errors({name: "v"}, "headers")

    assert error.path == f"headers.{name}"
    assert "reserved header" in error.message


@pytest.mark.parametrize("name", ["", "two words", "colon:", "line\nbreak", "ümlaut", "n" * 101])
def test_an_invalid_header_name_is_refused(name: str) -> None:
    (error,) = header_errors({name: "v"}, "headers")

    assert error.path == f"headers.{name}"
    assert "valid header name" in error.message


@pytest.mark.parametrize(
    "value", ["a\r\nb: c", "tab\t", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "v" * 4097]
)
def test_a_header_value_that_is_not_printable_ascii_is_refused(value: str) -> None:
    (error,) = header_errors({"x-tenant": value}, "headers")

    assert "printable ASCII" in error.message


def test_a_subscription_is_rendered_without_its_secrets() -> None:
    headers = {"authorization": "Bearer abc"}
    shown = render_subscription(a_subscription(secret="sealed", headers=headers))  # noqa: S106

    assert "abc" not in str(shown)
    assert "sealed" not in str(shown)
    assert list(shown.headers) == ["authorization"]


def test_a_new_subscription_is_rendered_with_its_secret_once() -> None:
    assert render_subscription(a_subscription(), secret="whsec_abc").secret == "whsec_abc"  # noqa: S105, S106


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"event_types": ("job.failed",)}, "event_types: job.succeeded does not match job.failed"),
        (
            {"filter": {"provider": "runware"}},
            'filter.provider: is "useapi", which is not "runware"',
        ),
        ({"enabled": False}, "enabled: the subscription is disabled"),
    ],
)
def test_a_mismatch_names_the_first_reason(changes: dict[str, Any], reason: str | None) -> None:
    subscription = a_subscription(**{"event_types": ("job.*",), **changes})
    event = an_event(payload=b'{"type":"job.succeeded","data":{"provider":"useapi"}}')

    assert mismatch(subscription, event) == reason
