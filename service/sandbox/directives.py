"""Magic words: what a prompt in square brackets makes the emulated providers do."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

HELP: Final = {
    "[fail]": "the task ends FAILED, with a provider's error",
    "[moderated]": "the task ends FAILED for safety",
    "[empty]": "the task succeeds without any output",
    "[part-fail]": "Runware, numberResults > 1: the second result is an error",
    "[slow N]": "N more seconds before the end (5 unless given)",
    "[early]": "all callbacks are sent before the submit is answered",
    "[lost]": "no callback at all; the task itself ends",
    "[dup N]": "the last callback is sent N times (2 unless given, 0 is never)",
    "[shuffle]": "the end comes first, then the stale callbacks, newest first",
    "[forged]": "a callback with a broken `t=` and a false success precedes the true end",
    "[flat]": "Runware: callbacks are the bare item",
    "[wrapped]": 'Runware: callbacks are {"data": […]} or {"errors": […]}, as they are by default',
    "[gone]": "status calls answer that the job has expired (410)",
    "[hang]": "the submit is accepted and never answered (504 after two minutes)",
    "[408] [429] [500] [502] [503] [504]": "the submit is refused once, then accepted",
    "[400] [401] [402] [403] [404] [412] [422] [596]": "the submit is always refused",
    "[429 N]": "any status: refused N times for the same replyRef, taskUUID or prompt",
    "[429 N after S]": "any status: refused N times, with Retry-After: S, whatever the pace",
}
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_LASTING: Final = frozenset({400, 401, 402, 403, 404, 412, 422, 596})
_SWITCHES: Final = frozenset(
    {"fail", "moderated", "empty", "part-fail", "early", "lost", "shuffle", "forged"}
    | {"flat", "wrapped", "gone", "hang"}
)
_WORD: Final = re.compile(r"\[(?P<name>[a-z-]{2,10})(?: (?P<number>\d{1,4}(?:\.\d{1,3})?))?\]")
_STATUS: Final = re.compile(
    r"\[(?P<status>\d{3})(?: (?P<times>\d{1,3}))?(?: after (?P<after>\d{1,5}))?\]"
)
_MAX_COPIES: Final = 100


class ForcedError(msgspec.Struct, frozen=True):
    """Answer *status* so many *times* (always, if None), with Retry-After *after* seconds."""

    status: int
    times: int | None = 1
    after: int | None = None


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one prompt; *slow* in seconds, *copies* of the last callback."""

    fail: bool = False
    moderated: bool = False
    empty: bool = False
    part_fail: bool = False
    early: bool = False
    lost: bool = False
    shuffle: bool = False
    forged: bool = False
    flat: bool = False
    gone: bool = False
    hang: bool = False
    slow: float = 0.0
    copies: int = 1
    refusals: tuple[ForcedError, ...] = ()


def read(text: str) -> Directives:
    """Read the magic words of *text*, in any case; other brackets mean nothing."""
    lowered = text.lower()
    words = {m["name"]: m["number"] for m in _WORD.finditer(lowered)}
    switches = _SWITCHES & {name for name, number in words.items() if number is None}
    if "wrapped" in switches:
        switches -= {"flat"}
    return Directives(
        slow=float(words["slow"] or 5) if "slow" in words else 0.0,
        copies=min(int(float(words["dup"] or 2)), _MAX_COPIES) if "dup" in words else 1,
        refusals=tuple(_refusals(lowered)),
        **{name.replace("-", "_"): True for name in switches - {"wrapped"}},
    )


def due_refusal(magic: Directives, refused: int) -> ForcedError | None:
    """Choose the refusal of a submit that was *refused* so many times before, or None."""
    for refusal in magic.refusals:
        if refusal.times is None or refused < refusal.times:
            return refusal
        refused -= refusal.times
    return None


def _refusals(text: str) -> Iterator[ForcedError]:
    for match in _STATUS.finditer(text):
        status = int(match["status"])
        if status in _PASSING | _LASTING:
            default = 1 if status in _PASSING else None
            times = int(match["times"]) if match["times"] else default
            yield ForcedError(status, times, int(match["after"]) if match["after"] else None)
