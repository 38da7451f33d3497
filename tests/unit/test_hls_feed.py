"""A presentation followed in virtual time, by a process that is stopped at any moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.egress import StreamUrl, parse
from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.hls.feed import Feed, Fetched, Missing
from streamrec.recorder.hls.lists import SECONDS
from streamrec.recorder.hls.playlist import Media, Part, Segment


class StoppedClock:
    """Time passes at once, but for stops (when, how long): what would wake in one wakes at its end."""

    def __init__(self, *stops: tuple[float, float]) -> None:
        self.seconds = 0.0
        self._stops = stops

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        until = self.seconds + max(0.0, seconds)
        for begin, length in self._stops:
            if self.seconds <= begin <= until:
                until = max(until, begin + length)
        self.seconds = until


@dataclass
class Reply:
    body: bytes


class Station:
    """Lists and a session in one: a segment appears each second from `phase` on, and is unlike all others.

    From `jump_at` on its numbers are greater by `jump`.
    """

    is_other_variant = False
    jump_at = float("inf")
    jump = 0

    def __init__(self, clock: StoppedClock, phase: float, answer_seconds: float, window: int) -> None:
        self._clock, self._phase, self._answer_seconds, self._window = clock, phase, answer_seconds, window
        self.address: StreamUrl = parse("http://station.example/live.m3u8")

    async def load(self) -> Media:
        asked_at, newest = self._clock.seconds, int(self._clock.seconds + 100 - self._phase)
        await self._clock.sleep(self._answer_seconds)
        if self._clock.seconds - asked_at > SECONDS:
            raise Refused(GapReason.STALLED, "The server did not answer in time.")
        parts = [(number, Part(f"{number}.aac")) for number in range(newest - self._window + 1, newest + 1)]
        jump = self.jump if asked_at >= self.jump_at else 0
        listed = [
            Segment(number + jump, 0, part, 1.0, None, None, is_gap=False, said_at=None) for number, part in parts
        ]
        return Media(1.0, tuple(listed), is_over=False, is_on_demand=False)

    async def find_again(self) -> None:
        """There is but one variant."""

    async def get(self, url: StreamUrl, **_: object) -> Reply:
        await self._clock.sleep(self._answer_seconds)
        return Reply(url.url.encode())


async def _steps(feed: Feed, clock: StoppedClock, until: float) -> list[Fetched | Missing]:
    steps: list[Fetched | Missing] = []
    with suppress(Refused):  # a list that was asked for before the stop may be the last straw
        while clock.seconds < until:
            steps.append(await feed.next())
    return steps


PHASES, ANSWERS, WINDOWS = st.floats(0, 1), st.floats(0.001, 0.2), st.sampled_from([3, 8])
STOPS = st.tuples(st.floats(4, 40), st.floats(0.5, 11))


@given(PHASES, STOPS, ANSWERS, WINDOWS, st.floats(0.1, 15), st.floats(0, 4))
@settings(max_examples=1000)
def test_after_a_stop_a_segment_that_was_never_listed_is_told_with_its_length(
    phase: float, stop: tuple[float, float], answer_seconds: float, window: int, ago: float, seconds: float
) -> None:
    """Wherever the stop, the look before it and the look after it lie in a segment; also soon after another."""
    clock = StoppedClock((max(1.0, stop[0] - ago - seconds), seconds), stop)
    station = Station(clock, phase, answer_seconds, window)
    feed = Feed(station, station, clock)  # type: ignore[arg-type]

    steps = asyncio.run(_steps(feed, clock, sum(stop) + 10))

    numbers = [step.segment.sequence for step in steps if isinstance(step, Fetched)]
    told = [step.seconds for step in steps if isinstance(step, Missing)]
    assert told == [pytest.approx(after - before - 1) for before, after in pairwise(numbers) if after > before + 1]


@given(PHASES, st.floats(12, 30), st.integers(1, 3), st.floats(0.001, 0.4), WINDOWS)
@settings(max_examples=500)
def test_numbers_that_jump_are_no_hole_however_slow_the_lists(
    phase: float, at: float, by: int, answer_seconds: float, window: int
) -> None:
    """A packager that begins to count elsewhere leaves nothing out."""
    clock = StoppedClock()
    station = Station(clock, phase, answer_seconds, window)
    station.jump_at, station.jump = at, by
    feed = Feed(station, station, clock)  # type: ignore[arg-type]

    steps = asyncio.run(_steps(feed, clock, at + 10))

    assert [step for step in steps if isinstance(step, Missing)] == []
