"""Magic words and what they make of the course of a task."""

import pytest

from service.sandbox.directives import HELP, Directives, ForcedError, due_refusal, read
from service.sandbox.scenario import Callback, Scenario, Step, apply_directives

PLAIN: Scenario = (
    Step(1.0, ({"n": 1},), (Callback({"n": 1}, "progress"),)),
    Step(1.0, ({"n": 2},), (Callback({"n": 2}, "progress"),)),
    Step(1.0, ({"n": 3},), (Callback({"n": 3}, "end"),)),
)
FORGERY = {"n": "forged"}


def sent(script: Scenario) -> list[list[object]]:
    """Show what each step of *script* sends."""
    return [[callback.body["n"] for callback in step.callbacks] for step in script]


@pytest.mark.parametrize(
    ("prompt", "magic"),
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
def test_a_prompt_means_its_magic_words(prompt: str, magic: Directives) -> None:
    assert read(prompt) == magic


@pytest.mark.parametrize(
    ("prompt", "refusals"),
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
def test_a_status_in_brackets_is_a_refusal(prompt: str, refusals: tuple[ForcedError, ...]) -> None:
    assert read(prompt).refusals == refusals


def test_every_promised_word_is_understood() -> None:
    words = [word.strip("[]") for words in HELP for word in words.split("] [")]
    samples = [f"[{word.replace('N', '2').replace('S', '3')}]" for word in words]

    silent = [sample for sample in samples if read(sample) == Directives()]

    assert silent == ["[wrapped]"]


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
def test_refusals_are_used_up_in_their_order(prompt: str, statuses: list[int | None]) -> None:
    magic, refused = read(prompt), 0

    for expected in statuses:
        refusal = due_refusal(magic, refused)
        assert (refusal.status if refusal else None) == expected
        refused += refusal is not None


@pytest.mark.parametrize(
    ("prompt", "told"),
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
def test_magic_bends_what_is_told(prompt: str, told: list[list[object]]) -> None:
    assert sent(apply_directives(PLAIN, read(prompt), FORGERY)) == told


def test_a_bent_script_passes_through_the_same_states() -> None:
    bent = apply_directives(PLAIN, read("[shuffle] [lost] [early] [slow]"), FORGERY)

    assert [step.state for step in bent] == [step.state for step in PLAIN]


@pytest.mark.parametrize(
    ("prompt", "delays"),
    [("[slow 5]", [1.0, 1.0, 6.0]), ("[early]", [0.0, 0.0, 0.0])],
)
def test_magic_bends_time(prompt: str, delays: list[float]) -> None:
    assert [step.after for step in apply_directives(PLAIN, read(prompt), FORGERY)] == delays
