"""Prompt directives: words in square brackets that control how an emulated task behaves."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

HELP: Final = {
    "[fail]": "the task ends FAILED with a provider error",
    "[moderated]": "the task ends FAILED for safety reasons",
    "[empty]": "the task succeeds without any output",
    "[part-fail]": "Runware, numberResults > 1: the second result is an error; "
    "Ideogram: a second image is unsafe",
    "[slow N]": "the task takes N more seconds (5 if N is missing)",
    "[at-once]": "Runware: the response to the submit has the results, and callbacks follow",
    "[early]": "all callbacks are sent before the response to the submit",
    "[lost]": "no callback is sent; the task itself ends",
    "[dup N]": "the last callback is sent N times (2 if N is missing, 0: never)",
    "[shuffle]": "the final callback is sent first, then the earlier ones, newest first",
    "[forged]": "a callback with an invalid signature and a false success precedes the final one",
    "[flat]": "Runware: the callback body is the item itself",
    "[wrapped]": 'Runware: the callback body is {"data": […]} or {"errors": […]} (the default)',
    "[no-payload]": "fal: the callback has a payload_error instead of the payload",
    "[gone]": "status requests answer that the job has expired (410)",
    "[hang]": "the submit is accepted but gets no response (504 after two minutes)",
    "[408] [429] [500] [502] [503] [504]": "the submit fails once with this status, then succeeds",
    "[400] [401] [402] [403] [404] [412] [422] [596]": "the submit always fails with this status",
    "[429 N]": "any status: fails N times for the same replyRef, taskUUID or prompt",
    "[429 N after S]": "any status: fails N times, with Retry-After: S (not scaled by the pace)",
}
_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_PERMANENT_STATUSES: Final = frozenset({400, 401, 402, 403, 404, 412, 422, 596})
_FLAGS: Final = frozenset(
    {
        "fail",
        "moderated",
        "empty",
        "part-fail",
        "at-once",
        "early",
        "lost",
        "shuffle",
        "forged",
        "flat",
        "wrapped",
        "no-payload",
        "gone",
        "hang",
    }
)
_DIRECTIVE: Final = re.compile(r"\[(?P<name>[a-z-]{2,10})(?: (?P<number>\d{1,4}(?:\.\d{1,3})?))?\]")
_STATUS: Final = re.compile(
    r"\[(?P<status>\d{3})(?: (?P<times>\d{1,3}))?(?: after (?P<after>\d{1,5}))?\]"
)
_DEFAULT_SLOW_SECONDS: Final = 5
_DEFAULT_COPIES: Final = 2
_MAX_COPIES: Final = 100


class ForcedError(msgspec.Struct, frozen=True):
    """Answer the submit with HTTP *status*, the first *times* times (None: always).

    *retry_after* is the value of the Retry-After header in seconds; None sends no header.
    """

    status: int
    times: int | None = 1
    retry_after: int | None = None


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """The directives of one prompt.

    *slow* is an additional delay in seconds, *copies* how often the last callback is sent.
    """

    fail: bool = False
    moderated: bool = False
    empty: bool = False
    part_fail: bool = False
    at_once: bool = False
    early: bool = False
    lost: bool = False
    shuffle: bool = False
    forged: bool = False
    flat: bool = False
    no_payload: bool = False
    gone: bool = False
    hang: bool = False
    slow: float = 0.0
    copies: int = 1
    forced_errors: tuple[ForcedError, ...] = ()


def parse_directives(text: str) -> Directives:
    """Parse the directives in *text*, ignoring case; unknown words in brackets have no effect."""
    lowered = text.lower()
    numbers = {match["name"]: match["number"] for match in _DIRECTIVE.finditer(lowered)}
    flags = _FLAGS & {name for name, number in numbers.items() if number is None}
    if "wrapped" in flags:  # the default, and it overrides [flat]
        flags -= {"wrapped", "flat"}
    slow, copies = 0.0, 1
    if "slow" in numbers:
        slow = float(numbers["slow"] or _DEFAULT_SLOW_SECONDS)
    if "dup" in numbers:
        copies = min(int(float(numbers["dup"] or _DEFAULT_COPIES)), _MAX_COPIES)
    return Directives(
        slow=slow,
        copies=copies,
        forced_errors=tuple(_forced_errors(lowered)),
        **{name.replace("-", "_"): True for name in flags},
    )


def next_forced_error(directives: Directives, sent: int) -> ForcedError | None:
    """Return the error to answer with after *sent* earlier errors, or None to accept."""
    for error in directives.forced_errors:
        if error.times is None or sent < error.times:
            return error
        sent -= error.times
    return None


def _forced_errors(text: str) -> Iterator[ForcedError]:
    for match in _STATUS.finditer(text):
        status = int(match["status"])
        if status not in _TRANSIENT_STATUSES | _PERMANENT_STATUSES:
            continue
        times = 1 if status in _TRANSIENT_STATUSES else None
        if match["times"]:
            times = int(match["times"])
        retry_after = int(match["after"]) if match["after"] else None
        yield ForcedError(status, times, retry_after)
