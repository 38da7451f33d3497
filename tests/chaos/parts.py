"""I5: files that are being written for longer than their segments may be, or that nobody writes any more."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from streamrec.archive import layout
from streamrec.clock import now
from tests.station import programs

SLACK_SECONDS = 10.0  # in which a segment that is over is closed, or what a crash has left is settled


def old(archive: Path, seconds: float) -> list[str]:
    """What is a `.part`, though what it begins with was on air longer ago than that."""
    ages = {name: _age(name) for name in _names(archive)}
    return [f"I5: {name} was begun {age:.1f} s ago" for name, age in sorted(ages.items()) if age > seconds]


def abandoned(archive: Path, seconds: float) -> list[str]:
    """The same where nothing is captured: waits until none is left but what is as old as that."""
    has_settled = partial(_has_settled, archive, seconds)
    programs.eventually(has_settled, seconds + SLACK_SECONDS, "no file is being written", every=0.05)
    return old(archive, seconds)


def _has_settled(archive: Path, seconds: float) -> bool:
    return len(old(archive, seconds)) == len(_names(archive))


def _names(archive: Path) -> list[str]:
    return [path.relative_to(archive).as_posix() for path in archive.rglob(f"*{layout.PART}")]


def _age(name: str) -> float:
    """Seconds since its first frame was on air, as its name says; endless where it says nothing."""
    try:
        start = layout.parse(name.removesuffix(layout.PART)).start_time
    except ValueError:
        return float("inf")
    return (now() - start).total_seconds()
