"""`python -m tests.chaos.outage`: the database is stopped for as long as is asked for; the recorder records on.

M9 of docs/reliability.md. Nothing else fails, so nothing at all may be lost: every frame once, no gap, every row.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import httpx
import psutil
import psycopg2

from streamrec.settings import Settings
from tests.chaos import course, faults
from tests.chaos.plan import QUIET_SECONDS, Plan, Step
from tests.chaos.planted import Watch
from tests.chaos.verdict import Verdict
from tests.chaos.world import SPARE, World, built, on_air
from tests.station import programs

SAMPLE_SECONDS = 5.0
SEGMENT_SECONDS = 5.0  # as World.create asks for
BACKLOG_SECONDS = 600.0  # after which it is given up
_TOLD = """
    SELECT count(DISTINCT channel_id), extract(epoch FROM min(until))
    FROM (SELECT channel_id, max(end_time) AS until FROM coverage GROUP BY channel_id) AS told
"""


class Sample(NamedTuple):
    """What the outage costs at a moment."""

    spool_bytes: int
    recorder_bytes: int


def run(channels: int, minutes: float, folder: Path) -> Verdict:
    """Record so many channels, take the database away, give it back, and judge."""
    plan = Plan(0, channels, minutes * 60, ())
    with built(folder, plan, has_small_disk=False) as world:
        course.witness(world)
        watch = Watch(world, channels + SPARE)
        for mount in on_air(world, plan):
            world.create(mount)
        course.await_running(world)
        _pass(QUIET_SECONDS)
        before = _sample(world)
        facts = _away(world, plan.seconds)
        facts["before"] = before._asdict()
        course.heal(world)
        found = course.judged(world, plan.seed, watch)
    found.violations += [f"{seconds} s were lost ({why})" for why, seconds in found.facts["lost_seconds"].items()]
    found.facts |= {"minutes": minutes, "outage": facts}
    return found


def _away(world: World, seconds: float) -> dict[str, Any]:
    """Stop the database for so long; what was seen."""
    recorder = world.recorder()
    injected = faults.inject(world, Step(0.0, "database_away", None, seconds))
    assert injected is not None, "there is no database to take away"
    done, undo = injected
    try:
        samples, answers = _watch(world, time.monotonic() + seconds)
    finally:
        undo()
    done.ended = time.time()
    programs.eventually(partial(_told, world), 60, "the database is back", every=0.05)
    back = time.monotonic()
    programs.eventually(partial(_is_told, world), BACKLOG_SECONDS, "all rows are there", every=0.1)
    return {
        "backlog_seconds": round(time.monotonic() - back, 2),
        "spool_bytes": max(sample.spool_bytes for sample in samples),
        "recorder_bytes": max(sample.recorder_bytes for sample in samples),
        "answers_meanwhile": answers,
        "is_same_recorder": world.recorder() == recorder,
    }


def _watch(world: World, until: float) -> tuple[list[Sample], dict[str, int]]:
    """Look every few seconds, and ask the API as a client would."""
    samples: list[Sample] = []
    answers: dict[str, int] = {}
    while time.monotonic() < until:
        samples.append(_sample(world))
        told = _asked(world)
        answers[told] = answers.get(told, 0) + 1
        _pass(min(until - time.monotonic(), SAMPLE_SECONDS))
    return samples, answers


def _pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    programs.eventually(lambda: time.monotonic() >= until, seconds + 5, "the time has come", every=0.02)


def _asked(world: World) -> str:
    """What the API says, and whether it says when to come back."""
    try:
        answer = world.instance.client.get("/channel")
    except httpx.TransportError as exc:
        return type(exc).__name__
    return f"{answer.status_code}{' with Retry-After' if 'Retry-After' in answer.headers else ''}"


def _sample(world: World) -> Sample:
    spool = sum(path.stat().st_size for path in (world.instance.data / "spool").rglob("*") if path.is_file())
    recorder = world.recorder()
    memory = 0
    with suppress(psutil.NoSuchProcess):
        memory = recorder.memory_info().rss if recorder is not None else 0
    return Sample(spool, memory)


def _told(world: World) -> tuple[int, float] | None:
    """How many channels have rows, and up to when (seconds since 1970) all of them do; None without a database."""
    settings = Settings(data_dir=world.instance.data)
    url = settings.database().set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = psycopg2.connect(url)
    except psycopg2.OperationalError:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute(_TOLD)
            row = cursor.fetchone()
    finally:
        connection.close()
    return (int(row[0]), float(row[1] or 0)) if row else None


def _is_told(world: World) -> bool:
    """Whether the rows have come up to now, but for the file that is open: the oldest come first."""
    told = _told(world)
    return told is not None and told[0] == len(world.channels) and told[1] >= time.time() - 2 * SEGMENT_SECONDS


@click.command()
@click.option("--channels", default=40, show_default=True, type=click.IntRange(1))
@click.option("--minutes", default=60.0, show_default=True, help="For how long the database is away.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where everything is kept; a new one if not given."
)
def main(channels: int, minutes: float, folder: Path | None) -> None:
    """Print what was found as one JSON object; the exit status is 1 if anything was lost."""
    folder = folder or Path(tempfile.mkdtemp(prefix="streamrec-outage-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = run(channels, minutes, folder)
    (folder / "verdict.json").write_text(found.written())
    click.echo(found.written())
    sys.exit(1 if found.violations else 0)


if __name__ == "__main__":
    main()
