"""What goes wrong when: drawn from a seed, written as JSON, and played again from there. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

QUIET_SECONDS: Final = 15.0  # before the first fault, when every channel has come to run
HEALING_SECONDS: Final = 25.0  # without a new fault in the end


@dataclass(frozen=True)
class Kind:
    """A fault: what it befalls, its length at most, how often it is drawn, the seconds of rest after it."""

    scope: str  # "source", "hls", "channel", "child", "recorder", "database", "disk" or "kills"
    seconds: float
    weight: int = 3
    rest: float = 12.0


KINDS: Final = {
    "fin": Kind("source", 0),
    "rst": Kind("source", 0),
    "stall": Kind("source", 7),
    "drip": Kind("source", 7, 1),
    "silent": Kind("source", 7, 1),
    "slow_head": Kind("source", 7, 1),
    "shut": Kind("source", 5),
    "denied": Kind("source", 5),
    "busy": Kind("source", 2),
    "web_page": Kind("source", 5, 1),
    "garbage": Kind("source", 5, 1),
    "page": Kind("source", 0, 1),
    "torn": Kind("source", 0, 1),
    "flips": Kind("source", 6, 1),
    "hls_away": Kind("hls", 14, 2),
    "hls_blink": Kind("hls", 4, 2),
    "hls_frozen": Kind("hls", 18, 1),
    "hls_gone": Kind("hls", 5, 2),
    "hls_broken": Kind("hls", 2, 2),
    "hls_torn": Kind("hls", 3, 2),
    "hls_variant": Kind("hls", 6, 2),
    "hls_reset": Kind("hls", 0, 2),
    "hls_jump": Kind("hls", 0, 2),
    "hls_back": Kind("hls", 0, 1),
    "hls_break": Kind("hls", 0, 2),
    "disable": Kind("channel", 4, 2),
    "rename": Kind("channel", 0, 1),
    "move": Kind("channel", 0, 2),
    "delete": Kind("channel", 0, 1),
    "create": Kind("channel", 0, 1),
    "child_kill": Kind("child", 0, 3, 8),
    "recorder_kill": Kind("recorder", 0, 4, 18),
    "recorder_freeze": Kind("recorder", 3, 2, 12),
    "recorder_long_freeze": Kind("recorder", 10, 2, 20),
    "recorder_restart": Kind("recorder", 0, 3, 18),
    "backend_kill": Kind("database", 0, 2, 12),
    "database_restart": Kind("database", 0, 2, 15),
    "database_freeze": Kind("database", 4, 2, 12),
    "database_away": Kind("database", 10, 0),
    "disk_full": Kind("disk", 5, 2, 15),
    "recorder_replace": Kind("recorder", 0, 0),
    "database_kill": Kind("kills", 0, 0),
    "all_kill": Kind("kills", 0, 0),
}
ALL: Final = range(1)  # the whole instance, which there is once
KILLS: Final = {"recorder_kill": 6, "backend_kill": 2, "database_kill": 1, "all_kill": 1}
"""What `kills` draws from, by weight."""
COSTLESS: Final = {"recorder_replace"}
"""What nothing may be lost by: it explains no gap."""
TURN_SECONDS: Final = (0.1, 3.0)  # after the start of the recorder: often before all is up again


@dataclass(frozen=True)
class Step:
    """At so many seconds, this kind befalls this channel (or the whole instance) for so long."""

    at: float
    kind: str
    channel: int | None
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    channels: int
    seconds: float
    steps: tuple[Step, ...]
    sounds: int = 0
    """How many of the channels are sound in HLS: those behind the radios."""
    pictures: int = 0
    """How many are television in HLS: the last ones."""
    waits: bool = False
    """Whether each step waits until there is a recorder, and `at` counts from there."""
    by_ffmpeg: int = 0
    """How many of the radios are captured by ffmpeg: the first ones."""

    @property
    def radios(self) -> int:
        """How many channels are radios: the first ones."""
        return self.channels - self.sounds - self.pictures

    def written(self) -> str:
        """As JSON, for `--replay`."""
        return json.dumps(asdict(self), indent=1)


def read(text: str) -> Plan:
    """What `Plan.written` wrote; raises ValueError if it is something else."""
    found = json.loads(text)
    return Plan(**{**found, "steps": tuple(Step(**step) for step in found["steps"])})


def draw(
    seed: int,
    channels: int,
    seconds: float,
    every: float,
    scopes: Sequence[str],
    *,
    sounds: int = 0,
    pictures: int = 0,
    by_ffmpeg: int = 0,
) -> Plan:
    """A plan with a fault every `every` seconds, each kind of these `scopes` once before any comes by its weight.

    What befalls one thing never meets itself; different things fail together. Of the `channels`, `sounds` and
    `pictures` are HLS, and so many radios are captured `by_ffmpeg`.
    """
    dice = random.Random(seed)
    radios = channels - sounds - pictures
    ranges = {"source": range(radios), "hls": range(radios, channels), "channel": range(channels)}
    kinds = {
        name: kind
        for name, kind in KINDS.items()
        if kind.scope in scopes and kind.weight and ranges.get(kind.scope, ALL)
        if kind.scope != "child" or by_ffmpeg
    }
    first = list(kinds)
    dice.shuffle(first)
    busy: dict[str, float] = {}
    steps: list[Step] = []
    for at in _times(seconds, every):
        step = _drawn(dice, kinds, first, busy, ranges, at)
        if step is not None:
            steps.append(step)
    return Plan(seed, channels, seconds, tuple(steps), sounds, pictures, by_ffmpeg=by_ffmpeg)


def kills(seed: int, channels: int, count: int) -> Plan:
    """A plan with nothing but so many kills, each a random moment after a recorder has started again."""
    dice = random.Random(seed)
    names = dice.choices(list(KILLS), list(KILLS.values()), k=count)
    return Plan(seed, channels, 0.0, _in_turn(dice, names), waits=True)


def replacements(seed: int, channels: int, count: int) -> Plan:
    """A plan in which nothing happens but that the recorder is replaced in place, so many times."""
    return Plan(seed, channels, 0.0, _in_turn(random.Random(seed), ["recorder_replace"] * count), waits=True)


def _in_turn(dice: random.Random, names: Sequence[str]) -> tuple[Step, ...]:
    return tuple(Step(round(dice.uniform(*TURN_SECONDS), 3), name, None, 0.0) for name in names)


def _times(seconds: float, every: float) -> Iterator[float]:
    at = QUIET_SECONDS
    while at < seconds - HEALING_SECONDS:
        yield round(at, 3)
        at += every


def _drawn(
    dice: random.Random,
    kinds: dict[str, Kind],
    first: list[str],
    busy: dict[str, float],
    ranges: Mapping[str, range],
    at: float,
) -> Step | None:
    """The next step; None if nothing that is free was drawn."""
    for _ in range(50):
        name = first[-1] if first else dice.choices(list(kinds), [kind.weight for kind in kinds.values()])[0]
        kind = kinds[name]
        channel = dice.choice(ranges[kind.scope]) if kind.scope in ranges else None
        place = kind.scope if channel is None else f"channel {channel}"
        if busy.get(place, 0.0) > at:
            dice.shuffle(first)
            continue
        if first:
            first.remove(name)
        lasts = round(kind.seconds * dice.uniform(0.6, 1.0), 3)
        busy[place] = at + lasts + kind.rest
        return Step(at, name, channel, lasts)
    return None
