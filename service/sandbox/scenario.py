"""Scenarios: the states of a task over time and the callbacks that report them, as data."""

from typing import Final

import msgspec
from msgspec.structs import replace

from service.sandbox.directives import Directives
from service.sandbox.ledger import Json

END: Final = "end"
FORGED: Final = "forged"
PROGRESS: Final = "progress"
RESULT: Final = "result"


class Callback(msgspec.Struct, frozen=True):
    """The body of a callback, and its kind: END, FORGED, PROGRESS or RESULT."""

    body: Json
    kind: str


class Step(msgspec.Struct, frozen=True):
    """*delay* seconds after the previous step, set the task's *state* and send *callbacks*."""

    delay: float
    state: tuple[Json, ...]
    callbacks: tuple[Callback, ...] = ()


Scenario = tuple[Step, ...]


def apply_directives(scenario: Scenario, directives: Directives, forgery: Json) -> Scenario:
    """Change a plain scenario as *directives* demand; *forgery* is the body for `[forged]`."""
    *earlier, last = scenario
    callbacks = last.callbacks[:-1] + last.callbacks[-1:] * directives.copies
    last = replace(last, delay=last.delay + directives.slow, callbacks=callbacks)
    scenario = (*earlier, last)
    if directives.shuffle:
        scenario = _reverse_callbacks(scenario)
    if directives.forged:
        *earlier, last = scenario
        last = replace(last, callbacks=(Callback(forgery, FORGED), *last.callbacks))
        scenario = (*earlier, last)
    if directives.early:
        scenario = tuple(replace(step, delay=0.0) for step in scenario)
    if directives.lost:
        scenario = tuple(replace(step, callbacks=()) for step in scenario)
    return scenario


def _reverse_callbacks(scenario: Scenario) -> Scenario:
    """Send all callbacks in the last step, in reverse order."""
    callbacks = [callback for step in scenario for callback in step.callbacks]
    *earlier, last = (replace(step, callbacks=()) for step in scenario)
    return (*earlier, replace(last, callbacks=tuple(reversed(callbacks))))
