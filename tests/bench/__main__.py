"""`python -m tests.bench`: measures, prints a table, and ends with one line of JSON. Linux only."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from tests.bench import report
from tests.bench.disk import sync_ms
from tests.bench.measure import LIMITS, Sample
from tests.bench.phases import BenchServers, Scenario
from tests.bench.process import LOAD

RETAKES: Final = 2
PHASE_SECONDS: Final = 240
"""A phase takes some seconds, and a minute more to fill a store; a phase that hangs must end."""
SPLIT: Final = ("web", "web", "worker", "worker")
SCENARIOS: Final = {
    "end_to_end_1": Scenario(count=3000),
    "end_to_end_10": Scenario(count=500, well=10),
    "end_to_end_100": Scenario(count=50, well=100, warm=20),
    "all_well": Scenario(count=10, well=500, warm=8),
    "half_dead": Scenario(count=10, well=500, dead=500, warm=8),
    "owed": Scenario(count=3000, owed=True),
    "postgres_1": Scenario(count=1500, kind="postgres"),
    "postgres_10": Scenario(count=300, well=10, kind="postgres"),
    "postgres_100": Scenario(count=30, well=100, warm=10, kind="postgres"),
    "postgres_all_well": Scenario(count=5, well=500, warm=8, kind="postgres"),
    "postgres_half_dead": Scenario(count=5, well=500, dead=500, warm=8, kind="postgres"),
    "postgres_owed": Scenario(count=1500, owed=True, kind="postgres"),
    "postgres_2_2": Scenario(count=1500, kind="postgres", roles=SPLIT),
}
NAMES: Final = (
    "route",
    "intake",
    "post",
    *SCENARIOS,
    "postgres_intake",
    "latency",
    "latency_calm",
    "latency_among_bad",
    "postgres_latency",
)
CALM_RATE: Final = 100
"""Callbacks per second at which only bad receivers could disturb the others."""


class Plan(msgspec.Struct, frozen=True):
    """How much is measured: seconds of the baseline phases, callbacks of the others, or a share."""

    rounds: int
    seconds: float
    callbacks: int
    share: float


FULL: Final = Plan(3, 1.5, 6000, 1.0)
QUICK: Final = Plan(1, 1.0, 4000, 0.5)


def main() -> None:
    given = _arguments()
    plan = QUICK if given.quick else FULL
    plan = msgspec.structs.replace(plan, rounds=given.rounds or plan.rounds)
    os.sched_setaffinity(0, LOAD)
    with tempfile.TemporaryDirectory(prefix="belfry-bench-") as folder:
        servers = BenchServers(Path(folder), given.profile)
        samples = uvloop.run(measure(servers, plan, _wanted(given.only)))
    found = report.figures(samples, sync_ms())
    if given.profile:
        report.show_profile(given.profile)
    print(report.table(samples, found))  # noqa: T201 - what it is run for
    print(report.last_line(found))  # noqa: T201


async def measure(
    servers: BenchServers, plan: Plan, wanted: Sequence[str]
) -> dict[str, list[Sample]]:
    """One sample of each phase per round, so that a disturbance of the machine affects all."""
    samples: dict[str, list[Sample]] = {name: [] for name in wanted}
    phases: dict[str, Callable[[], Awaitable[Sample]]] = {
        "route": lambda: servers.route(plan.seconds),
        "intake": lambda: servers.intake(plan.callbacks),
        "post": lambda: servers.post(plan.seconds),
        "postgres_intake": lambda: servers.intake(plan.callbacks, "postgres"),
        "latency": lambda: servers.latency(
            samples["end_to_end_1"][-1].rate / 2, plan.callbacks // 2
        ),
        "postgres_latency": lambda: servers.latency(
            samples["postgres_1"][-1].rate / 2, plan.callbacks // 6, kind="postgres"
        ),
        "latency_calm": lambda: servers.latency(CALM_RATE, plan.callbacks // 12),
        "latency_among_bad": lambda: servers.latency_among_bad(CALM_RATE, plan.callbacks // 12),
        **{
            name: partial(servers.end_to_end, _part(SCENARIOS[name], plan.share))
            for name in SCENARIOS
        },
    }
    async with servers:
        for _ in range(plan.rounds):
            for name in wanted:
                async with asyncio.timeout(PHASE_SECONDS):
                    sample = await _sample(phases[name], is_limit=name in LIMITS)
                samples[name].append(sample)
    return samples


def _part(scenario: Scenario, share: float) -> Scenario:
    return msgspec.structs.replace(scenario, count=max(5, int(scenario.count * share)))


async def _sample(phase: Callable[[], Awaitable[Sample]], *, is_limit: bool) -> Sample:
    """Repeat a baseline if another program used its core: too low a baseline flatters the ratio.

    The service is never measured again: a core that is not busy may be its own waiting.
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
    parser.add_argument(
        "--only", action="append", choices=NAMES, help="only this phase and its baselines"
    )
    parser.add_argument("--rounds", type=int, help="number of rounds")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="write a cProfile of the service's main thread in the last phase; slows the service",
    )
    return parser.parse_args()


def _wanted(only: Sequence[str] | None) -> list[str]:
    """The chosen phases and their baselines."""
    chosen = set(only or NAMES)
    needed = {
        **report.BASELINES,
        "latency": "end_to_end_1",
        "latency_among_bad": "latency_calm",
        "postgres_latency": "postgres_1",
    }
    chosen |= {needed[name] for name in chosen if name in needed}
    return [name for name in NAMES if name in chosen]


if __name__ == "__main__":
    main()
