"""The course of a task as data: what it says of itself, when, and which callbacks tell it."""

from typing import Final

import msgspec

from service.sandbox.directives import Directives
from service.sandbox.ledger import Json

END: Final = "end"
FORGED: Final = "forged"
PROGRESS: Final = "progress"
RESULT: Final = "result"


class Callback(msgspec.Struct, frozen=True):
    body: Json
    kind: str


class Step(msgspec.Struct, frozen=True):
    """So many seconds *after* the step before, the task is in *state* and sends *callbacks*."""

    after: float
    state: tuple[Json, ...]
    callbacks: tuple[Callback, ...] = ()


Scenario = tuple[Step, ...]


def apply_directives(script: Scenario, magic: Directives, forgery: Json) -> Scenario:
    """Play tricks on a plain script; *forgery* is the false success of `[forged]`."""
    script = _slowed(_repeated(script, magic.copies), magic.slow)
    if magic.shuffle:
        script = _shuffled(script)
    if magic.forged:
        script = _forged(script, forgery)
    if magic.early:
        script = tuple(msgspec.structs.replace(step, after=0.0) for step in script)
    if magic.lost:
        script = tuple(msgspec.structs.replace(step, callbacks=()) for step in script)
    return script


def _slowed(script: Scenario, seconds: float) -> Scenario:
    last = script[-1]
    return (*script[:-1], msgspec.structs.replace(last, after=last.after + seconds))


def _repeated(script: Scenario, copies: int) -> Scenario:
    last = script[-1]
    callbacks = last.callbacks[:-1] + last.callbacks[-1:] * copies
    return (*script[:-1], msgspec.structs.replace(last, callbacks=callbacks))


def _shuffled(script: Scenario) -> Scenario:
    """Hold everything back until the end, then tell it backwards."""
    told = [callback for step in script for callback in step.callbacks]
    silent = [msgspec.structs.replace(step, callbacks=()) for step in script]
    return (*silent[:-1], msgspec.structs.replace(silent[-1], callbacks=tuple(reversed(told))))


def _forged(script: Scenario, forgery: Json) -> Scenario:
    last = script[-1]
    callbacks = (Callback(forgery, FORGED), *last.callbacks)
    return (*script[:-1], msgspec.structs.replace(last, callbacks=callbacks))
