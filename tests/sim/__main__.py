"""`python -m tests.sim`: play a scenario under some seeds, and print what was found as one JSON object."""

from __future__ import annotations

import json
import sys
import time

import click

from tests.sim.figures import together
from tests.sim.scenarios import SCENARIOS, play
from tests.sim.world import Plan


@click.command()
@click.option("--scenario", type=click.Choice(sorted(SCENARIOS)), required=True)
@click.option("--channels", default=200, show_default=True, type=click.IntRange(1))
@click.option("--recorders", default=4, show_default=True, type=click.IntRange(1))
@click.option("--hosts", default=10, show_default=True, type=click.IntRange(1), help="That the channels share.")
@click.option("--segment-seconds", default=10, show_default=True, type=click.IntRange(5, 3600))
@click.option("--seed", default=1, show_default=True, help="The first one.")
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1), help="How many, one after the other."
)
def main(
    scenario: str, channels: int, recorders: int, hosts: int, segment_seconds: int, seed: int, seeds: int
) -> None:
    """Exit status 1 if rows overlap, a second is not told, or something logged an error."""
    plan = Plan(channels, recorders, hosts, segment_seconds)
    began = time.process_time()
    outcomes = [play(SCENARIOS[scenario], plan, each) for each in range(seed, seed + seeds)]
    asked = {"scenario": scenario, "channels": channels, "recorders": recorders, "hosts": hosts}
    spent = {"seed": seed, "seeds": seeds, "cpu_seconds": round(time.process_time() - began, 1)}
    click.echo(json.dumps({**asked, **spent, **together(outcomes)}, indent=1))
    wrong = ("overlaps", "unaccounted_seconds")
    sys.exit(any(outcome.errors or any(outcome.counts[name] for name in wrong) for outcome in outcomes))


if __name__ == "__main__":
    main()
