"""The run clock against simulated stations whose true emission times are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.framing.units import FLICKS
from streamrec.recorder.runclock import RunClock
from tests.fakes import NOON

START = 5000.0  # monotonic
Arrival = tuple[float, float]  # (seconds since START, media seconds)
Emitted = Callable[[float], float]  # media seconds -> seconds since START


def flicks(seconds: float) -> int:
    return round(seconds * FLICKS)


def icecast(
    *, burst: float, tick: float, jitter: float = 0.0, drift: float = 0.0, length: float = 120.0, seed: int = 1
) -> tuple[list[Arrival], Emitted]:
    """A burst within 100 ms, then real time in pieces of about `tick` seconds, each up to `jitter` late."""
    draw = random.Random(seed)
    arrivals = [(0.01 * part, burst * part / 8) for part in range(1, 9)] if burst else []
    at = 0.1
    while at < length:
        at += tick * draw.uniform(0.5, 1.5)
        arrivals.append((at + draw.uniform(0, jitter), burst + at * (1 + drift)))
    return list(_in_order(arrivals)), lambda media: (media - burst) / (1 + drift)


def hls(*, segment: float, phase: float, length: float = 120.0) -> tuple[list[Arrival], Emitted]:
    """Three segments at once, then one whenever it is complete; each comes in ten parts within 0.2 s."""
    arrivals = []
    at, number = 0.0, 0
    while at < length:
        at = max(at, (number - 2) * segment - phase + 0.05) if number > 2 else at
        for part in range(1, 11):
            at += 0.02
            arrivals.append((at, (number + part / 10) * segment))
        number += 1
    return arrivals, lambda media: media - 3 * segment - phase


def _in_order(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """What arrives late holds up what is behind it."""
    newest = 0.0
    for at, media in sorted(arrivals):
        newest = max(newest, media)
        yield at, newest


def observed(arrivals: Iterable[Arrival]) -> Iterator[tuple[RunClock, float, float]]:
    """A clock after each arrival, from its anchor on."""
    clock = RunClock(now=NOON, monotonic=START)
    for at, media in arrivals:
        clock.observe(flicks(media), START + at)
        if clock.is_anchored:
            yield clock, at, media


def error(clock: RunClock, media: float, emitted: Emitted) -> float:
    return (clock.wall(flicks(media)) - NOON).total_seconds() - emitted(media)


@given(
    burst=st.floats(0, 8),
    tick=st.floats(0.03, 1.1),
    jitter=st.floats(0, 0.4),
    drift=st.floats(-200e-6, 200e-6),
    seed=st.integers(0, 1000),
)
def test_icecast_is_told_to_a_quarter_of_a_second(
    burst: float, tick: float, jitter: float, drift: float, seed: int
) -> None:
    arrivals, emitted = icecast(burst=burst, tick=tick, jitter=jitter, drift=drift, seed=seed)

    for clock, at, media in observed(arrivals):
        assert abs(error(clock, media, emitted)) <= 0.25, at
        assert clock.disagreement is None


@pytest.mark.parametrize("tick", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("burst", [0.0, 4.0])
def test_icecast_is_anchored_within_three_seconds(tick: float, burst: float) -> None:
    arrivals, _ = icecast(burst=burst, tick=tick)

    _, at, _ = next(observed(arrivals))

    assert at <= 3


@given(segment=st.sampled_from([1.0, 2.0, 4.0, 6.0, 10.0]), phase=st.floats(0.05, 0.95))
def test_hls_is_told_to_its_download(segment: float, phase: float) -> None:
    """The newest segment arrives up to 0.25 s after it was complete; nothing else may be added to that."""
    arrivals, emitted = hls(segment=segment, phase=phase * segment)

    for clock, at, media in observed(arrivals):
        assert -0.05 <= error(clock, media, emitted) <= 0.5, at
        assert clock.disagreement is None


@given(segment=st.sampled_from([2.0, 4.0, 6.0, 10.0]), phase=st.floats(0.05, 0.95))
def test_silence_after_a_segment_is_enough_to_anchor(segment: float, phase: float) -> None:
    arrivals, emitted = hls(segment=segment, phase=phase * segment, length=30)
    ticks = [
        (tick / 2, max((media for at, media in arrivals if at <= tick / 2), default=0.0)) for tick in range(60)
    ]

    clock, at, media = next(observed(sorted([*arrivals, *ticks])))

    assert at <= segment + 3
    assert error(clock, media, emitted) <= 0.5


def test_no_burst_is_awaited_longer_than_twelve_seconds() -> None:
    """A server that keeps on sending faster than real time is sending a file."""
    arrivals = [(at / 10, at * 0.2) for at in range(1, 200)]

    _, at, _ = next(observed(arrivals))

    assert at == pytest.approx(12, abs=0.2)


@given(
    drift=st.floats(-400e-6, 400e-6), jitter=st.floats(0, 0.3), tick=st.floats(0.05, 1.0), seed=st.integers(0, 99)
)
def test_wall_time_grows_with_media_time(drift: float, jitter: float, tick: float, seed: int) -> None:
    """Whenever it is asked: the end of what has arrived is asked for again as the beginning of what follows."""
    arrivals, _ = icecast(burst=4, tick=tick, jitter=jitter, drift=drift, seed=seed, length=90)
    asked = []

    before = None
    for clock, _, media in observed(arrivals):
        if before is not None:
            asked.append(clock.wall(flicks(before)))
        asked.append(clock.wall(flicks(media)))
        before = media

    assert all(earlier <= later for earlier, later in pairwise(asked))


def test_steering_is_too_slow_to_be_heard() -> None:
    arrivals, _ = icecast(burst=4, tick=0.2, drift=2000e-6, length=60)

    for clock, _, media in observed(arrivals):
        minute = clock.wall(flicks(media + 60)) - clock.wall(flicks(media))
        assert abs(minute.total_seconds() - 60) <= 60 * 501e-6


def test_an_hour_of_drift_is_followed() -> None:
    arrivals, emitted = icecast(burst=4, tick=1.0, drift=200e-6, length=3600)

    clock, _, media = list(observed(arrivals))[-1]

    assert abs(error(clock, media, emitted)) < 0.1


def test_a_silent_loss_is_a_disagreement() -> None:
    """Two seconds that the server left out are told once no arrival of the last half minute contradicts."""
    arrivals, _ = icecast(burst=4, tick=0.2)
    lossy = [(at, media if at < 60 else media - 2) for at, media in arrivals if not 60 <= at < 62]

    told = [(at, clock.disagreement) for clock, at, _ in observed(lossy) if clock.disagreement]

    assert 60 < told[0][0] < 95
    assert told[0][1] is not None
    assert told[0][1].total_seconds() == pytest.approx(2, abs=0.2)


def test_a_burst_that_comes_again_is_a_disagreement_at_once() -> None:
    arrivals, _ = icecast(burst=4, tick=0.2)
    repeated = [(at, media if at < 60 else media + 4) for at, media in arrivals]

    told = [(at, clock.disagreement) for clock, at, _ in observed(repeated) if clock.disagreement]

    assert told[0][0] == pytest.approx(60, abs=0.5)
    assert told[0][1] is not None
    assert told[0][1].total_seconds() == pytest.approx(-4, abs=0.2)


def test_a_stall_that_is_made_good_is_no_disagreement() -> None:
    """The network held five seconds back and then delivered them."""
    arrivals, _ = icecast(burst=4, tick=0.2)
    held = list(_in_order([(at if not 60 <= at < 65 else 65.0, media) for at, media in arrivals]))

    assert not any(clock.disagreement for clock, _, _ in observed(held))


def test_a_run_that_ends_early_is_anchored_with_what_is_known() -> None:
    clock = RunClock(now=NOON, monotonic=START)
    clock.observe(flicks(4), START + 0.1)
    assert not clock.is_anchored

    clock.settle()

    assert clock.wall(flicks(4)) == NOON + timedelta(seconds=0.1)
    assert clock.wall(0) == NOON - timedelta(seconds=3.9)


def test_a_run_that_ends_early_begins_before_the_earliest_bound_that_two_lists_set() -> None:
    """Of HLS: three of the first list's four segments were fetched, then one, with two more listed behind it."""
    clock = RunClock(now=NOON, monotonic=START)
    for fetched in (1, 2, 3):
        clock.observe(flicks(fetched), START, later_seconds=4 - fetched)
    clock.observe(flicks(4), START + 1.6, later_seconds=2)

    clock.settle(0.5)

    assert clock.wall(flicks(6)) == NOON + timedelta(seconds=1.6 - 0.5)


def test_a_run_without_media_is_anchored_where_it_began() -> None:
    clock = RunClock(now=NOON, monotonic=START)

    clock.settle()

    assert clock.wall(0) == NOON
    assert clock.disagreement is None


def test_a_step_of_the_wall_clock_is_measured() -> None:
    clock = RunClock(now=NOON, monotonic=START)

    assert clock.stepped(NOON + timedelta(seconds=3610), START + 10) == timedelta(hours=1)


@pytest.mark.parametrize("burst", [0.5, 8.0])
def test_a_run_that_is_joined_to_another_goes_on_at_that_very_moment(burst: float) -> None:
    """While the burst lasts it says nothing of the time; afterwards it steers, and there is no disagreement."""
    arrivals, emitted = icecast(burst=burst, tick=0.25)
    clock = RunClock(now=NOON, monotonic=START)
    end = NOON + timedelta(seconds=emitted(0.4) + 0.3)
    for number, (at, media) in enumerate(arrivals):
        clock.observe(flicks(media), START + at)
        if number == 5:
            clock.join(flicks(0.4), end)
        if number >= 5:
            assert clock.disagreement is None
            assert -0.05 <= error(clock, media, emitted) <= 0.35

    assert clock.wall(flicks(0.4)) - end < timedelta(seconds=0.1)


@pytest.mark.parametrize("late", [-2.0, 2.0])
def test_a_joined_run_has_the_benefit_of_the_doubt_at_first(late: float) -> None:
    """One segment's arrival does not yet say how far apart segments arrive; half a minute of them does."""
    arrivals, emitted = hls(segment=2.0, phase=1.0)
    clock = RunClock(now=NOON, monotonic=START)
    judged = []
    for number, (at, media) in enumerate(arrivals):
        clock.observe(flicks(media), START + at)
        if number == 3:
            clock.join(flicks(media), NOON + timedelta(seconds=emitted(media) + late))
        judged.append((at, clock.disagreement))

    assert all(disagreement is None for at, disagreement in judged if at < 30)


def test_a_run_that_is_joined_at_the_wrong_time_disagrees_once_the_burst_is_over() -> None:
    """As when the media that was taken for the archive's end was an old one, played again."""
    arrivals, emitted = icecast(burst=4, tick=0.25)
    clock = RunClock(now=NOON, monotonic=START)
    clock.observe(flicks(0.5), START)
    clock.join(flicks(0.5), NOON + timedelta(seconds=emitted(0.5) - 20))
    for at, media in arrivals:
        clock.observe(flicks(media), START + at)

    assert clock.disagreement is not None
    assert clock.disagreement > timedelta(seconds=19)


def test_a_run_that_is_joined_never_passes_now() -> None:
    """A file that is sent in a loop brings the archive's end again, and then more than there has been time for."""
    clock = RunClock(now=NOON, monotonic=START)
    clock.observe(flicks(2), START)
    clock.join(flicks(0.5), NOON - timedelta(seconds=2))
    within = clock.disagreement
    clock.observe(flicks(8), START + 0.1)

    assert within is None
    assert clock.disagreement is not None
    assert clock.disagreement < timedelta(seconds=-4)
