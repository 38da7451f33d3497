"""Media that is missing in mid-stream, told from media that is late."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from streamrec.recorder.holes import Holes


def heard(arrivals: Iterable[tuple[float, float]]) -> Holes:
    """What is said of `(when, media so far)`."""
    holes = Holes()
    for at, media in arrivals:
        holes.observe(media, at)
        if holes.lost_seconds:
            break
    return holes


def steady(first: int, last: int, *, tick: float, burst: float, late: float = 0.0) -> list[tuple[float, float]]:
    """Real time's pace from one tick to another, after a burst."""
    return [(number * tick, burst + number * tick - late) for number in range(first, last)]


@pytest.mark.parametrize("missing", [1.3, 3.5, 10.0])
@pytest.mark.parametrize("tick", [0.25, 1.0])
@pytest.mark.parametrize("burst", [0.0, 8.0])
def test_what_never_comes_is_known_within_four_seconds(missing: float, tick: float, burst: float) -> None:
    """The station was silent, and went on as if it had not been."""
    silent = int(10 / tick), int((10 + missing) / tick) + 1
    arrivals = steady(0, silent[0], tick=tick, burst=burst)
    arrivals += steady(silent[1], silent[1] + round(5 / tick), tick=tick, burst=burst, late=missing)

    holes = heard(arrivals)

    assert holes.lost_seconds == pytest.approx(missing, abs=0.1)


@pytest.mark.parametrize("speed", [1.4, 3.0, 1000.0])
def test_what_is_late_is_waited_for(speed: float) -> None:
    """After four seconds without a network all comes, as fast as the network is."""
    arrivals = steady(0, 10, tick=1, burst=0)
    arrivals += [(at, min(at, 9 + (at - 13) * speed)) for at in map(float, range(14, 40))]

    holes = heard(arrivals)

    assert (holes.lost_seconds, holes.is_doubtful) == (0.0, False)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_pieces_are_no_holes(step: float) -> None:
    """Some servers send a second or two at a time."""
    holes = heard([(at, at // step * step) for at in [number * 0.25 for number in range(400)]])

    assert holes.lost_seconds == 0.0


def test_a_burst_that_is_followed_by_a_pause_is_no_hole() -> None:
    """Media that was sent ahead is not missing later."""
    holes = heard([(0.0, 8.0), *((float(at), 8.0 + at - 7) for at in range(8, 60))])

    assert holes.lost_seconds == 0.0


@pytest.mark.parametrize("tick", [0.25, 1.0])
@pytest.mark.parametrize(("burst", "silence"), [(0, 2.0), (0.7, 2.7), (2, 4.0), (8, 2.3), (8, 5.7), (8, 11.0)])
def test_a_silence_just_after_the_beginning_is_a_hole_unless_it_is_as_long_as_the_burst(
    tick: float, burst: float, silence: float
) -> None:
    """Nobody can have known yet that what came was live; but a server's pause ends when that has been played."""
    first = round(1 / tick)
    arrivals = steady(0, first, tick=tick, burst=burst)
    again = first + round(silence / tick)
    arrivals += steady(again, again + round(5 / tick), tick=tick, burst=burst, late=silence)

    assert heard(arrivals).lost_seconds == pytest.approx(silence, abs=0.1)


def test_a_station_that_is_slow_at_first_and_catches_up_has_no_hole() -> None:
    """A frame, nothing for two seconds, and then all of it."""
    holes = heard([(0.0, 0.1), *((at / 4, at / 4) for at in range(8, 60))])

    assert (holes.lost_seconds, holes.is_doubtful) == (0.0, False)


@pytest.mark.parametrize("speed", [1.2, 2.0])
def test_what_is_late_at_first_is_waited_for_also_where_it_catches_up_slowly(speed: float) -> None:
    """Half a second, nothing for three, and then all of it, little faster than it plays."""
    holes = heard([(0.0, 0.5), *((at, min(at, 0.5 + (at - 3) * speed)) for at in (n / 4 for n in range(13, 200)))])

    assert (holes.lost_seconds, holes.is_doubtful) == (0.0, False)


def test_a_slow_station_is_no_hole() -> None:
    """A thousandth too slow, for a quarter of an hour."""
    assert heard([(float(at), at * 0.999) for at in range(900)]).lost_seconds == 0.0


@pytest.mark.parametrize("further", [1.1, 4.0])
def test_a_doubt_begins_anew_when_what_was_late_by_a_look_is_followed_by_a_silence(further: float) -> None:
    """What came as the silence began was read with the next look only."""
    holes = heard([*steady(0, 11, tick=1, burst=8), (11.1, 18.05)])
    assert holes.is_doubtful

    holes.observe(18.3, 11.35 + further)

    assert (holes.is_doubtful, holes.begins_anew) == (True, True)


@pytest.mark.parametrize("late", [1.6, 3.0])
def test_a_doubt_that_begins_with_what_is_very_late_stays_where_it_is(late: float) -> None:
    """A second silence behind a first."""
    holes = heard([*steady(0, 11, tick=1, burst=8), (10 + late, 18.0), (13 + late, 18.2)])

    assert (holes.is_doubtful, holes.begins_anew) == (True, False)
