"""What is read off a run, simulated or real: distributions, peaks, and whether every second is told once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import Any

from tests.sim.network import Came
from tests.sim.world import World


def peak(moments: Iterable[float], seconds: float = 1.0) -> int:
    """The most of them within any `seconds`."""
    ordered, first, most = sorted(moments), 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def peaks(came: Sequence[Came], seconds: float = 1.0) -> dict[str, int]:
    """The peak of the fleet, and the greatest of any recorder and of any host."""
    by: dict[str, defaultdict[str, list[float]]] = {"recorder": defaultdict(list), "host": defaultdict(list)}
    for each in came:
        by["recorder"][each.recorder].append(each.at)
        by["host"][each.host].append(each.at)
    fleet = peak((each.at for each in came), seconds)
    return {
        "fleet": fleet,
        **{of: max((peak(m, seconds) for m in found.values()), default=0) for of, found in by.items()},
    }


def distribution(figures: Iterable[float]) -> dict[str, float]:
    """Least, median, p90 and most, to the millisecond; the rank is the nearest above."""
    ordered = sorted(figures)
    if not ordered:
        return {"count": 0}
    ranks = {"min": 0.0, "p50": 0.5, "p90": 0.9, "max": 1.0}
    chosen = {name: round(ordered[max(0, ceil(share * len(ordered)) - 1)], 3) for name, share in ranks.items()}
    return {"count": len(ordered), **chosen}


@dataclass
class Outcome:
    """Of one scenario under one seed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)  # distributions by name
    peaks: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def audited(world: World, outcome: Outcome) -> None:
    """Every second of every channel, from its enabling to the end: told once."""
    overlaps, holes, rest = 0, timedelta(), timedelta()
    gaps: Counter[str] = Counter()
    for channel_id, enabled_at in world.store.enabled_at.items():
        rows = world.store.rows[channel_id]
        overlaps += sum(before.end > after.start for before, after in pairwise(rows))
        ends = [enabled_at, *(row.end for row in rows)]
        holes += sum(
            (max(timedelta(), row.start - end) for end, row in zip(ends, rows, strict=False)), timedelta()
        )
        rest = max(rest, world.finished_at - ends[-1])
        for row in rows:
            if not row.is_media:
                gaps[row.fact.reason.value] += 1  # type: ignore[union-attr]
    outcome.counts |= {
        "overlaps": overlaps,
        "unaccounted_seconds": round(holes.total_seconds(), 6),
        "untold_at_the_end_seconds": round(rest.total_seconds(), 3),
        "rows": sum(len(rows) for rows in world.store.rows.values()),
        "gaps": sum(gaps.values()),
        "quarantined_seconds": round(sum(each.settling.quarantined_seconds for each in world.recorders), 3),
        "row_changes_peak": peak(world.store.row_changes),
        "heartbeats": world.store.heartbeats,
    }
    outcome.counts |= {f"gaps.{reason}": count for reason, count in sorted(gaps.items())}
    outcome.errors += world.faults
    outcome.errors += sorted({line.event for line in world.lines if line.level in {"error", "critical"}})


def together(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One object for all seeds: figures of all put together, peaks and counts as distributions over the seeds."""
    seconds: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, list[float]] = defaultdict(list)
    highest: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for name, figures in outcome.seconds.items():
            seconds[name] += figures
        for name, count in outcome.counts.items():
            counts[name].append(count)
        for name, found in outcome.peaks.items():
            for of, most in found.items():
                highest[name][of].append(most)
    return {
        "seconds": {name: distribution(figures) for name, figures in seconds.items()},
        "peaks_in_a_second": {
            name: {of: distribution(figures) for of, figures in found.items()} for name, found in highest.items()
        },
        "counts": {name: _summed(figures) for name, figures in counts.items()},
        "errors": sorted({error for outcome in outcomes for error in outcome.errors}),
    }


def _summed(figures: Sequence[float]) -> Mapping[str, float] | float:
    """The figure itself if it was the same under every seed."""
    return figures[0] if len(set(figures)) == 1 else distribution(figures)
