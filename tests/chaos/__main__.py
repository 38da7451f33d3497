"""`python -m tests.chaos`: draw a plan or play one again, and print what was found as one JSON object."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import click

from tests.chaos import course, plan
from tests.chaos.plan import KINDS

SCOPES = sorted({kind.scope for kind in KINDS.values() if kind.weight})


@click.command()
@click.option("--seed", type=int, default=None, help="What the dice begin with; the time, if not given.")
@click.option("--channels", default=20, show_default=True, type=click.IntRange(1), help="In all.")
@click.option("--sounds", default=0, show_default=True, help="How many of them are radios in HLS.")
@click.option("--pictures", default=0, show_default=True, help="How many of them are television in HLS.")
@click.option("--ffmpeg", default=0, show_default=True, help="How many of the radios are captured by ffmpeg.")
@click.option(
    "--seconds", default=180.0, show_default=True, help="From the first capture to the last fault healed."
)
@click.option("--every", default=5.0, show_default=True, help="Seconds between faults.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Only these kinds of faults.")
@click.option("--kills", type=click.IntRange(1), help="Nothing but so many kills, 0.1 to 3 s apart.")
@click.option("--replacements", type=click.IntRange(1), help="Nothing but so many replacements in place.")
@click.option("--replay", type=click.Path(exists=True, path_type=Path), help="A plan.json that was kept.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where everything is kept; a new one if not given."
)
@click.option("--only-draw", is_flag=True, help="Print the plan and do nothing.")
def main(
    seed: int | None,
    channels: int,
    sounds: int,
    pictures: int,
    ffmpeg: int,
    seconds: float,
    every: float,
    scopes: tuple[str, ...],
    kills: int | None,
    replacements: int | None,
    replay: Path | None,
    folder: Path | None,
    only_draw: bool,
) -> None:
    """Exit status 1 if anything was violated; the folder has the plan, the journals and the logs.

    An interrupt ends the course early; what was done so far is judged.
    """
    if replay is not None:
        drawn = plan.read(replay.read_text())
    else:
        seed = int(time.time()) if seed is None else seed
        kinds = {"sounds": sounds, "pictures": pictures, "by_ffmpeg": ffmpeg}
        if kills is not None:
            drawn = replace(plan.kills(seed, channels, kills), **kinds)
        elif replacements is not None:
            drawn = replace(plan.replacements(seed, channels, replacements), **kinds)
        else:
            drawn = plan.draw(seed, channels, seconds, every, scopes or SCOPES, **kinds)
    if only_draw:
        click.echo(drawn.written())
        return
    folder = folder or Path(tempfile.mkdtemp(prefix="streamrec-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(drawn.written())
    click.echo(f"seed {drawn.seed}, {len(drawn.steps)} faults, kept in {folder}", err=True)
    enough = Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: enough.set())
    found = course.run(drawn, folder, enough)
    (folder / "verdict.json").write_text(found.written())
    click.echo(found.written())
    sys.exit(1 if found.violations else 0)


if __name__ == "__main__":
    main()
