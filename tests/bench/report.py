"""The report: a table for people, and a last line of JSON for programs."""

import pstats
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from tests.bench.measure import LIMITS, Sample
from tests.bench.process import CORES

Samples = Mapping[str, Sequence[Sample]]
_SHOWN: Final = 40


def figures(samples: Samples, sync_ms: float) -> dict[str, Any]:
    """The ratios, each the median over the rounds, and beside them what they were made of."""
    rounds = [
        dict(zip(samples, group, strict=True)) for group in zip(*samples.values(), strict=True)
    ]
    limits = [_limits({name: sample.rate for name, sample in one.items()}) for one in rounds]
    found: dict[str, Any] = {}
    absolute: dict[str, float] = {"sync_ms": round(sync_ms, 3)}
    for name in samples:
        absolute[name] = round(median(one[name].rate for one in rounds))
        if name in limits[0]:
            ratios = (
                one[name].rate / limit[name] for one, limit in zip(rounds, limits, strict=True)
            )
            found[name] = round(median(ratios), 3)
            absolute[f"{name}_limit"] = round(median(limit[name] for limit in limits))
        elif name.startswith("postgres"):
            found[name] = round(
                median(one[name].rate / one["end_to_end_1"].rate for one in rounds), 3
            )
    rest = _latency(samples) | _start(samples) | _written(samples) | {"cores": CORES}
    return found | rest | {"disturbed": _disturbed(samples), "absolute": absolute}


def _disturbed(samples: Samples) -> list[str]:
    """The limits that did not get their core: ratios to them are too good to be true."""
    return [name for name in LIMITS if any(not s.has_core for s in samples.get(name, ()))]


def _limits(rates: Mapping[str, float]) -> dict[str, float]:
    """What one core could do at most: the empty route, and a bare POST for each subscriber."""
    found = {}
    if "route" in rates:
        found["intake"] = rates["route"]
    if "route" in rates and "post" in rates:
        for subscribers in (1, 10):
            seconds = 1 / rates["route"] + subscribers / rates["post"]
            found[f"end_to_end_{subscribers}"] = 1 / seconds
    return found


def _latency(samples: Samples) -> dict[str, float]:
    every = [sample.latencies_ms for sample in samples.get("latency", ())]
    return {
        f"latency_{name}_ms": round(median(_quantile(one, share) for one in every), 2)
        for name, share in (("p50", 0.50), ("p99", 0.99))
        if every
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _start(samples: Samples) -> dict[str, float]:
    """Every phase that runs the service starts one afresh."""
    started = [s for group in samples.values() for s in group if s.start_s]
    if not started:
        return {}
    return {
        "rss_idle_mb": round(median(s.idle_mb for s in started), 1),
        "start_s": round(median(s.start_s for s in started), 2),
    }


def _written(samples: Samples) -> dict[str, float]:
    """What a PostgreSQL server writes ahead and keeps, of one callback and its webhook."""
    written = [s for group in samples.values() for s in group if s.wal_kb]
    if not written:
        return {}
    return {
        "postgres_wal_kb": round(median(s.wal_kb for s in written), 1),
        "postgres_disk_kb": round(median(s.disk_kb for s in written), 1),
    }


def table(samples: Samples, found: Mapping[str, Any]) -> str:
    """How busy a core was: the measured processes, of that their main threads, the generator.

    However many processes: on two cores they share one, and the PostgreSQL server shares the
    other with the generator. Its ratios say what more processes cost on one core, not what they
    give on machines of their own.
    """
    head = f"{'phase':<14}{'per s':>8}{'ratio':>8}{'measured':>10}{'main':>6}{'generator':>11}"
    rows = [_row(name, group, found.get(name)) for name, group in samples.items()]
    rest = [f"{k:<16}{v}" for k, v in found.items() if k not in samples and k != "absolute"]
    return "\n".join([f"{head}  rounds", *rows, "", *rest])


def _row(name: str, group: Sequence[Sample], ratio: float | None) -> str:
    shares = (
        f"{median(s.measured for s in group):>8.0f} %"
        f"{median(s.main_thread for s in group):>4.0f} %"
        f"{median(s.generator for s in group):>9.0f} %"
    )
    rate = median(s.rate for s in group)
    rounds = " ".join(f"{s.rate:.0f}" for s in group)
    return f"{name:<14}{rate:>8.0f}{'' if ratio is None else ratio:>8}{shares}  {rounds}"


def last_line(found: Mapping[str, Any]) -> str:
    return msgspec.json.encode(found).decode()


def show_profile(file: Path) -> None:
    pstats.Stats(str(file)).sort_stats("tottime").print_stats(_SHOWN)
