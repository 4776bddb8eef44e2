"""`python -m tests.bench`: measure, print a table, and end with one line of JSON. Linux only."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from tests.bench import report
from tests.bench.disk import sync_ms
from tests.bench.measure import LIMITS, Sample
from tests.bench.phases import Bench
from tests.bench.process import LOAD

NAMES: Final = (
    *("route", "intake", "post", "end_to_end_1", "end_to_end_10", "latency"),
    *("postgres_1", "postgres_2_2"),
)
RETAKES: Final = 2
PHASE_SECONDS: Final = 120
"""A phase takes a few seconds; one that hangs must not hang the others."""


class Plan(msgspec.Struct, frozen=True):
    """How much is measured: seconds of the bare phases, callbacks of the others."""

    rounds: int
    seconds: float
    intake: int
    end_to_end_1: int
    end_to_end_10: int
    latency: int
    postgres: int


FULL: Final = Plan(3, 1.5, 6000, 3000, 500, 3000, 1500)
QUICK: Final = Plan(1, 1.0, 4000, 2000, 300, 2000, 600)
SPLIT: Final = ("web", "web", "worker", "worker")


def main() -> None:
    given = _arguments()
    plan = QUICK if given.quick else FULL
    plan = msgspec.structs.replace(plan, rounds=given.rounds or plan.rounds)
    os.sched_setaffinity(0, LOAD)
    with tempfile.TemporaryDirectory(prefix="belfry-bench-") as folder:
        bench = Bench(Path(folder), given.profile)
        samples = uvloop.run(measure(bench, plan, _wanted(given.only)))
    found = report.figures(samples, sync_ms())
    if given.profile:
        report.show_profile(given.profile)
    print(report.table(samples, found))  # noqa: T201 - what it is run for
    print(report.last_line(found))  # noqa: T201


async def measure(bench: Bench, plan: Plan, wanted: Sequence[str]) -> dict[str, list[Sample]]:
    """One sample of each phase in turn, and again: what disturbs the machine disturbs them all."""
    samples: dict[str, list[Sample]] = {name: [] for name in wanted}
    phases: dict[str, Callable[[], Awaitable[Sample]]] = {
        "route": lambda: bench.route(plan.seconds),
        "intake": lambda: bench.intake(plan.intake),
        "post": lambda: bench.post(plan.seconds),
        "end_to_end_1": lambda: bench.end_to_end(1, plan.end_to_end_1),
        "end_to_end_10": lambda: bench.end_to_end(10, plan.end_to_end_10),
        "postgres_1": lambda: bench.on_postgres(["all"], plan.postgres),
        "postgres_2_2": lambda: bench.on_postgres(SPLIT, plan.postgres),
        "latency": lambda: bench.latency(samples["end_to_end_1"][-1].rate / 2, plan.latency),
    }
    async with bench:
        for _ in range(plan.rounds):
            for name in wanted:
                async with asyncio.timeout(PHASE_SECONDS):
                    sample = await _sample(phases[name], is_limit=name in LIMITS)
                samples[name].append(sample)
    return samples


async def _sample(phase: Callable[[], Awaitable[Sample]], *, is_limit: bool) -> Sample:
    """Take a limit again when something else had its core: too low a limit flatters us.

    The service is never measured twice: what it leaves of its core may be its own waiting.
    """
    sample = await phase()
    for _ in range(RETAKES if is_limit else 0):
        if sample.has_core:
            break
        sample = await phase()
    return sample


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", action="append", choices=NAMES, help="single phases")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="cProfile of the service's main thread, of the last phase; slows what is measured",
    )
    return parser.parse_args()


def _wanted(only: Sequence[str] | None) -> list[str]:
    """Latency is taken at half the rate of end to end, PostgreSQL as a ratio to it."""
    chosen = set(only or NAMES)
    if chosen & {"latency", "postgres_1", "postgres_2_2"}:
        chosen.add("end_to_end_1")
    return [name for name in NAMES if name in chosen]


if __name__ == "__main__":
    main()
