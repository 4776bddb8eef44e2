"""Prompt directives and how they change the scenario of a task."""

import pytest

from service.sandbox.directives import (
    HELP,
    Directives,
    ForcedError,
    next_forced_error,
    parse_directives,
)
from service.sandbox.scenario import Callback, Scenario, Step, apply_directives

PLAIN: Scenario = (
    Step(1.0, ({"n": 1},), (Callback({"n": 1}, "progress"),)),
    Step(1.0, ({"n": 2},), (Callback({"n": 2}, "progress"),)),
    Step(1.0, ({"n": 3},), (Callback({"n": 3}, "end"),)),
)
FORGERY = {"n": "forged"}


def callbacks_of(scenario: Scenario) -> list[list[object]]:
    """Return the `n` of the callbacks that each step of *scenario* sends."""
    return [[callback.body["n"] for callback in step.callbacks] for step in scenario]


@pytest.mark.parametrize(
    ("prompt", "directives"),
    [
        ("a bell", Directives()),
        ("", Directives()),
        ("a [big] bell [and] 3 [12]", Directives()),
        ("a bell [fail]", Directives(fail=True)),
        ("[FAIL] loudly", Directives(fail=True)),
        ("[moderated]", Directives(moderated=True)),
        ("[empty]", Directives(empty=True)),
        ("[part-fail]", Directives(part_fail=True)),
        ("[lost][gone]", Directives(lost=True, gone=True)),
        ("[early] [shuffle] [forged]", Directives(early=True, shuffle=True, forged=True)),
        ("[hang]", Directives(hang=True)),
        ("[flat]", Directives(flat=True)),
        ("[wrapped]", Directives()),
        ("[flat] [wrapped]", Directives()),
        ("[slow]", Directives(slow=5.0)),
        ("[slow 0.25]", Directives(slow=0.25)),
        ("[dup]", Directives(copies=2)),
        ("[dup 3]", Directives(copies=3)),
        ("[dup 5000]", Directives(copies=100)),
        ("[fail 3]", Directives()),
        ("[slow five]", Directives()),
    ],
)
def test_directives_are_parsed_from_a_prompt(prompt: str, directives: Directives) -> None:
    assert parse_directives(prompt) == directives


@pytest.mark.parametrize(
    ("prompt", "forced_errors"),
    [
        ("[429]", (ForcedError(429, 1),)),
        ("[429 2]", (ForcedError(429, 2),)),
        ("[429 1 after 2]", (ForcedError(429, 1, 2),)),
        ("[503 after 30]", (ForcedError(503, 1, 30),)),
        ("[402]", (ForcedError(402, None),)),
        ("[596 1]", (ForcedError(596, 1),)),
        ("[500] then [503 2]", (ForcedError(500, 1), ForcedError(503, 2))),
        ("[200] [999] [123]", ()),
    ],
)
def test_a_status_in_brackets_forces_an_error(
    prompt: str, forced_errors: tuple[ForcedError, ...]
) -> None:
    assert parse_directives(prompt).forced_errors == forced_errors


def test_every_documented_directive_is_parsed() -> None:
    words = [word.strip("[]") for words in HELP for word in words.split("] [")]
    samples = [f"[{word.replace('N', '2').replace('S', '3')}]" for word in words]

    without_effect = [sample for sample in samples if parse_directives(sample) == Directives()]

    assert without_effect == ["[wrapped]"]


@pytest.mark.parametrize(
    ("prompt", "statuses"),
    [
        ("a bell", [None, None]),
        ("[429]", [429, None]),
        ("[429 2]", [429, 429, None]),
        ("[429][503]", [429, 503, None]),
        ("[402]", [402, 402, 402]),
        ("[429 0]", [None]),
    ],
)
def test_forced_errors_are_sent_in_order(prompt: str, statuses: list[int | None]) -> None:
    directives, sent = parse_directives(prompt), 0

    for expected in statuses:
        error = next_forced_error(directives, sent)
        assert (error.status if error else None) == expected
        sent += error is not None


@pytest.mark.parametrize(
    ("prompt", "callbacks"),
    [
        ("a bell", [[1], [2], [3]]),
        ("[dup 3]", [[1], [2], [3, 3, 3]]),
        ("[dup 0]", [[1], [2], []]),
        ("[shuffle]", [[], [], [3, 2, 1]]),
        ("[shuffle] [dup]", [[], [], [3, 3, 2, 1]]),
        ("[forged]", [[1], [2], ["forged", 3]]),
        ("[forged] [shuffle]", [[], [], ["forged", 3, 2, 1]]),
        ("[lost]", [[], [], []]),
        ("[lost] [dup 3] [forged]", [[], [], []]),
        ("[early]", [[1], [2], [3]]),
    ],
)
def test_directives_change_the_callbacks(prompt: str, callbacks: list[list[object]]) -> None:
    scenario = apply_directives(PLAIN, parse_directives(prompt), FORGERY)

    assert callbacks_of(scenario) == callbacks


def test_directives_do_not_change_the_states() -> None:
    directives = parse_directives("[shuffle] [lost] [early] [slow]")

    scenario = apply_directives(PLAIN, directives, FORGERY)

    assert [step.state for step in scenario] == [step.state for step in PLAIN]


@pytest.mark.parametrize(
    ("prompt", "delays"),
    [("[slow 5]", [1.0, 1.0, 6.0]), ("[early]", [0.0, 0.0, 0.0])],
)
def test_directives_change_the_delays(prompt: str, delays: list[float]) -> None:
    scenario = apply_directives(PLAIN, parse_directives(prompt), FORGERY)

    assert [step.delay for step in scenario] == delays
