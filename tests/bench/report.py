"""The report: a table, and a last line of JSON for programs."""

import pstats
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from tests.bench.measure import LIMITS, Sample
from tests.bench.process import CORES

Samples = Mapping[str, Sequence[Sample]]
BASELINES: Final = {
    "half_dead": "all_well",
    "postgres_half_dead": "postgres_all_well",
    "owed": "end_to_end_1",
    "postgres_owed": "postgres_1",
    "postgres_2_2": "postgres_1",
}
SUBSCRIBERS: Final = {
    "intake": 0,
    "end_to_end_1": 1,
    "end_to_end_10": 10,
    "end_to_end_100": 100,
    "postgres_intake": 0,
    "postgres_1": 1,
    "postgres_10": 10,
    "postgres_100": 100,
}
_SHOWN: Final = 40
_WHOLE: Final = 100


def figures(samples: Samples, sync_ms: float) -> dict[str, Any]:
    """The ratios, each the median over the rounds, and the absolute figures behind them."""
    rounds = [
        dict(zip(samples, group, strict=True)) for group in zip(*samples.values(), strict=True)
    ]
    found: dict[str, Any] = {}
    absolute: dict[str, float] = {"sync_ms": round(sync_ms, 3)}
    for name in samples:
        absolute[name] = round(median(one[name].rate for one in rounds), 1)
        limits = [_limit(name, {n: sample.rate for n, sample in one.items()}) for one in rounds]
        known = [limit for limit in limits if limit is not None]
        if known:
            ratios = (one[name].rate / by for one, by in zip(rounds, known, strict=True))
            found[name] = round(median(ratios), 3)
            absolute[f"{name}_limit"] = round(median(known), 1)
    rest = _latency(samples) | _start(samples) | {"cores": CORES}
    return found | rest | {"disturbed": _disturbed(samples), "absolute": absolute}


def _disturbed(samples: Samples) -> list[str]:
    """The baselines that did not get a whole core: ratios to them are too high."""
    return [name for name in LIMITS if any(not s.has_core for s in samples.get(name, ()))]


def _limit(name: str, rates: Mapping[str, float]) -> float | None:
    """The baseline of a phase: another phase, or the most that one core could do.

    The latter is the empty route plus one bare POST per subscriber.
    """
    if name in BASELINES:
        return rates.get(BASELINES[name])
    if name not in SUBSCRIBERS or not rates.keys() >= {"route", "post"}:
        return None
    return 1 / (1 / rates["route"] + SUBSCRIBERS[name] / rates["post"])


def _latency(samples: Samples) -> dict[str, float]:
    found = {
        f"{phase}_{name}_ms": round(median(_quantile(s.latencies_ms, share) for s in group), 2)
        for phase, group in samples.items()
        for name, share in (("p50", 0.50), ("p99", 0.99))
        if group[0].latencies_ms
    }
    calm, among = (found.get(f"latency_{name}_p99_ms") for name in ("calm", "among_bad"))
    return found | ({"among_bad_p99": round(among / calm, 2)} if calm and among else {})


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _start(samples: Samples) -> dict[str, float]:
    """Every phase that runs the service starts a new one."""
    started = [s for group in samples.values() for s in group if s.start_s]
    if not started:
        return {}
    return {
        "rss_idle_mb": round(median(s.idle_mb for s in started), 1),
        "start_s": round(median(s.start_s for s in started), 2),
    }


def table(samples: Samples, found: Mapping[str, Any]) -> str:
    """CPU in percent of a core: the measured processes, their main threads, the load generator.

    On two cores all measured processes share one, and the PostgreSQL server shares the other with
    the generator. So the ratios of several processes show what they cost on one core, not what
    they achieve on machines of their own.
    """
    head = f"{'phase':<20}{'per s':>8}{'ratio':>8}{'measured':>10}{'main':>6}{'generator':>11}"
    rows = [_row(name, group, found.get(name)) for name, group in samples.items()]
    rest = [f"{k:<28}{v}" for k, v in found.items() if k not in samples and k != "absolute"]
    return "\n".join([f"{head}  rounds", *rows, "", *rest])


def _row(name: str, group: Sequence[Sample], ratio: float | None) -> str:
    shares = (
        f"{median(s.measured for s in group):>8.0f} %"
        f"{median(s.main_thread for s in group):>4.0f} %"
        f"{median(s.generator for s in group):>9.0f} %"
    )
    rate = median(s.rate for s in group)
    rounds = " ".join(_rate(s.rate) for s in group)
    return f"{name:<20}{_rate(rate):>8}{'' if ratio is None else ratio:>8}{shares}  {rounds}"


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= _WHOLE else f"{rate:.1f}"


def last_line(found: Mapping[str, Any]) -> str:
    return msgspec.json.encode(found).decode()


def show_profile(file: Path) -> None:
    pstats.Stats(str(file)).sort_stats("tottime").print_stats(_SHOWN)
