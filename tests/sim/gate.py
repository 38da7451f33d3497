"""`python -m tests.sim.gate RUN...`: whether the simulator may be believed, by what `tests.sim.real` measured.

What questions and attempts take is drawn from those runs' undisturbed part. Then the same is simulated: for each
kill one as long after a heartbeat, for each run's blackouts one as long, after as many recorders were replaced as
in the run: every replacement mixes who holds which channels of a host, and that decides how many connect at once.
Medians must agree within 15 %.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from tests.sim import real
from tests.sim.figures import Outcome, distribution
from tests.sim.network import Waits
from tests.sim.scenarios import blackout, play, start, worker_loss
from tests.sim.store import Costs
from tests.sim.world import Plan
from tests.station.clips import MP3_FRAME_SECONDS
from tests.station.mount import BURST_FRAMES
from tests.station.playing import TICK_SECONDS

TOLERANCE = 0.15
FIRST, LAST = 0.1, 0.9
HALVINGS = 5
TTL_SECONDS = 6.0


@dataclass(frozen=True)
class Figure:
    """One figure of both sides, each from many rounds."""

    name: str
    real: dict[str, float]
    simulated: dict[str, float]
    is_held: bool = True  # to the tolerance; else it only explains

    @property
    def ratio(self) -> float:
        """Simulated by real, of the medians."""
        return self.simulated["p50"] / self.real["p50"] if self.real["p50"] else float("nan")

    @property
    def agrees(self) -> bool:
        return not self.is_held or abs(self.ratio - 1) <= TOLERANCE

    def shown(self) -> str:
        sides = (
            f"{side['p50']:8.2f} {side['p90']:8.2f} {side['max']:8.2f}" for side in (self.real, self.simulated)
        )
        return f"{self.name:34} {'   '.join(sides)}   {self.ratio:6.2f}{'' if self.agrees else '  *'}"


def calibrated(runs: Sequence[dict[str, Any]]) -> Plan:
    """A world as fast as the one that was measured."""
    found = {name: statistics.median(run["costs"][name] for run in runs) for name in runs[0]["costs"]}
    noticed = statistics.median(_all(runs, "noticed"))
    found["notice"] = max(0.001, noticed - found["wanted"] - found["view"] - found["change"])
    costs = Costs(**found, account_work=min(run["costs"]["account"] for run in runs))  # with nobody in the way
    connect = tuple(max(0.001, each - costs.account - costs.change) for each in _all(runs, "connect"))
    media, refusal = (tuple(_all(runs, name)) for name in ("first_media", "refusal"))
    waits = Waits(connect, media, refusal, 0.0, TICK_SECONDS, BURST_FRAMES * MP3_FRAME_SECONDS)
    sizes = (runs[0]["channels"], real.RECORDERS, real.HOSTS, real.SEGMENT_SECONDS)
    return _as_busy(Plan(*sizes, costs, waits, is_one_machine=True), [run["started"] for run in runs])


def _as_busy(plan: Plan, started: Sequence[Sequence[float]]) -> Plan:
    """Let an attempt cost so much of the machine that a start of all takes as long as those that were measured."""
    aim, most = statistics.median(map(_spread, started)), max(map(len, started))
    low, high = 0.0, aim / most / (LAST - FIRST)
    for _ in range(HALVINGS):
        work = (low + high) / 2
        tried = replace(plan, channels=most, waits=replace(plan.waits, work=work))
        is_enough = _spread(play(start, tried, seed=1).seconds["recording"]) >= aim
        low, high = (low, work) if is_enough else (work, high)
    return replace(plan, waits=replace(plan.waits, work=(low + high) / 2))


def _spread(started: Sequence[float]) -> float:
    """Seconds between the first and the last of a start, but for a tenth on both sides."""
    first, last = (started[round(share * (len(started) - 1))] for share in (FIRST, LAST))
    return last - first


def _all(runs: Iterable[dict[str, Any]], name: str) -> list[Any]:
    return [each for run in runs for each in run[name]]


def kills(runs: Sequence[dict[str, Any]], plan: Plan, seeds: int) -> list[Figure]:
    """Takeover times, all channels of all rounds together, and the peaks of connections of the rounds."""
    measured = _all(runs, "kills")
    rounds = [(*round_, seed) for run in runs for round_ in enumerate(run["kills"]) for seed in range(seeds)]
    played = [
        (kill["beat"], play(partial(worker_loss, beat=kill["beat"], replaced=replaced), plan, seed))
        for replaced, kill, seed in rounds
    ]
    pairs = [
        (
            f"{name}, s after the kill",
            _all(measured, name),
            [at for _, found in played for at in found.seconds[name]],
        )
        for name in ("claimed", "recording")
    ]
    expired = [at + kill["beat"] - TTL_SECONDS for kill in measured for at in kill["claimed"]]
    simulated = [at + beat - TTL_SECONDS for beat, found in played for at in found.seconds["claimed"]]
    race = Figure(
        "(claimed, s after the lease's end)", distribution(expired), distribution(simulated), is_held=False
    )
    return [*_figures("kill: ", pairs), race, *_peaks("kill: ", measured, [found for _, found in played])]


def blackouts(runs: Sequence[dict[str, Any]], plan: Plan, seeds: int) -> list[Figure]:
    """Times until all are recorded again, attempts that failed, and the peaks of connections."""
    measured = _all(runs, "blackouts")
    scenario = partial(blackout, seconds=real.AWAY_SECONDS)
    rounds = [(len(run["kills"]), seed) for run in runs if run["blackouts"] for seed in range(seeds)]
    played = [play(partial(scenario, replaced=replaced), plan, seed) for replaced, seed in rounds]
    again = [at for found in played for at in found.seconds["recording"]]
    pairs = [
        ("recording, s after the return", _all(measured, "recording"), again),
        ("failed attempts", [each["failed"] for each in measured], [found.counts["failed"] for found in played]),
    ]
    last = [max(each["recording"]) for each in measured], [max(found.seconds["recording"]) for found in played]
    pairs.append(("the last one recording, s", *last))
    return [*_figures("blackout: ", pairs), *_peaks("blackout: ", measured, played)]


def _figures(what: str, pairs: Iterable[tuple[str, list[float], list[float]]]) -> list[Figure]:
    return [Figure(what + name, distribution(real), distribution(simulated)) for name, real, simulated in pairs]


def _peaks(what: str, measured: Sequence[dict[str, Any]], played: Sequence[Outcome]) -> list[Figure]:
    return _figures(
        what,
        [
            (
                f"connects in a second, {of}",
                [each["connects"][of] for each in measured],
                [each.peaks["connects"][of] for each in played],
            )
            for of in ("fleet", "recorder", "host")
        ],
    )


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", default=3, show_default=True, help="For each kill, and for blackouts.")
def main(runs: Sequence[Path], seeds: int) -> None:
    """Exit status 1 if a median differs by more than 15 %; such a line has a star."""
    found = [json.loads(path.read_text()) for path in runs]
    plan = calibrated(found)
    counts = [len(_all(found, what)) for what in ("kills", "blackouts")]
    click.echo(f"{counts[0]} kills, {counts[1]} blackouts; {plan.costs}")
    waits = (statistics.median(plan.waits.connect), statistics.median(plan.waits.first_media))
    work = f"work of an attempt {plan.waits.work:.4f} s"
    click.echo(f"connect {waits[0]:.3f} s, first media {waits[1]:.3f} s (medians); {work}")
    click.echo(f"{'':34} {'real: p50':>8}      p90      max   simulated: p50   p90      max    ratio")
    figures = [
        *(kills(found, plan, seeds) if counts[0] else []),
        *(blackouts(found, plan, seeds) if counts[1] else []),
    ]
    for figure in figures:
        click.echo(figure.shown())
    sys.exit(not all(figure.agrees for figure in figures))


if __name__ == "__main__":
    main()
