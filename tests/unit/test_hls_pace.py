"""When playlists are loaded: seldom, and yet so that the live edge is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.hls.pace import TICK, Pace


def follow(
    length: float, phase: float, count: int, *, listed: float | None = None, pace: Pace | None = None
) -> tuple[list[float], list[tuple[float, float]]]:
    """Look at a station whose segments appear every `length` from `phase` on, and are `listed` as so long.

    When it was looked at, and for each segment when it appeared and what was made of that.
    """
    pace, now, shown = pace or Pace(), 0.0, None
    looks: list[float] = []
    edges: list[tuple[float, float]] = []
    while len(edges) < count:
        now += pace.wait(now)
        looks.append(now)
        newest = int((now - phase) // length)
        if newest == shown:
            pace.nothing(now, listed or length)
        else:
            shown = newest
            edge = pace.news(now, listed or length, listed or length)
            if edge is not None:
                edges.append((phase + newest * length, edge))
    return looks, edges


@given(st.sampled_from([1.0, 2.0, 4.0, 6.0, 10.0]), st.floats(0, 1))
def test_the_first_segment_that_appears_is_seen_closely(length: float, part: float) -> None:
    _, edges = follow(length, -part * length, 1)

    appeared, seen = edges[0]
    assert abs(seen - appeared) <= max(0.25, length / 8) / 2 + 1e-6


def test_looks_that_are_far_apart_tell_no_end_until_two_are_close() -> None:
    pace = Pace()

    assert pace.news(0.0, 1.0, 1.0) is None
    assert pace.news(0.9, 1.0, 1.0) is None
    pace.nothing(1.8, 1.0)
    assert pace.news(2.0, 1.0, 1.0) == pytest.approx(1.9)


@given(st.sampled_from([2.0, 6.0]), st.floats(0, 1))
def test_lists_are_loaded_about_once_a_segment(length: float, part: float) -> None:
    looks, _ = follow(length, -part * length, 40)

    assert len(looks) <= 40 * 1.2 + 12


@given(st.sampled_from([2.0, 6.0]), st.floats(0, 1))
def test_segments_are_seen_soon_after_they_appear(length: float, part: float) -> None:
    _, edges = follow(length, -part * length, 40)

    assert max(seen - appeared for appeared, seen in edges[1:]) <= length / 4


@given(st.sampled_from([1.0, 2.0, 6.0]), st.floats(0, 1), st.integers(2, 60))
def test_how_late_a_segment_was_seen_is_known(length: float, part: float, count: int) -> None:
    """A look that found one late finds those after it almost as late: what is missing is reckoned from there."""
    pace = Pace()
    looks, edges = follow(length, -part * length, count, pace=pace)
    appeared, _ = edges[-1]

    assert abs(looks[-1] - pace.late_seconds - appeared) <= (max(0.25, length / 8) + TICK) / 2 + 1e-6


def test_a_segment_behind_a_silence_is_no_older_than_the_list_without_it() -> None:
    """It says nothing of how late those before were seen."""
    pace = Pace()
    pace.news(0.0, 6.0, 6.0)
    pace.nothing(5.5, 6.0)
    pace.news(6.2, 6.0, 6.0)
    for look in (12.6, 13.4, 16.4):
        pace.nothing(look, 6.0)

    pace.news(19.4, 6.0, 6.0)

    assert pace.late_seconds == pytest.approx(1.5)


def test_how_late_a_segment_was_seen_does_not_add_up() -> None:
    """Where segments are longer than the target duration, as rounding allows."""
    pace, at = Pace(), 0.1
    for _ in range(20):
        pace.nothing(at - 0.2, 2.0)
        pace.news(at, 2.4, 2.0, 2.4)
        at += 2.4
    for _ in range(20):
        pace.news(at, 2.4, 2.0, 2.4)
        at += 2.4

    assert pace.late_seconds == pytest.approx(0.1)


@given(st.floats(-500e-6, 500e-6))
def test_a_station_s_fast_or_slow_clock_is_followed(drift: float) -> None:
    """For hours; what is seen late would be recorded at the wrong time."""
    _, edges = follow(2.0 * (1 + drift), -0.7, 3000, listed=2.0)

    assert max(seen - appeared for appeared, seen in edges[-500:]) <= 0.5
    assert min(seen - appeared for appeared, seen in edges[-15:]) <= 0.25


def test_a_list_without_news_is_left_alone_for_half_a_target_duration() -> None:
    """RFC 8216 section 6.3.4, once it is clear that the station is late."""
    pace = Pace()
    pace.news(0.0, 4.0, 4.0)
    for look in range(20):
        pace.nothing(float(look), 4.0)

    assert pace.wait(19.0) == pytest.approx(2.0)


def test_what_appeared_while_we_did_not_look_is_not_taken_for_exact() -> None:
    """As after a stop of the process; the segment after it is seen closely again."""
    pace = Pace()
    assert pace.news(0.0, 1.0, 1.0) is None
    pace.nothing(0.9, 1.0)
    assert pace.news(1.0, 1.0, 1.0) is not None
    assert pace.news(2.0, 1.0, 1.0) is not None

    assert pace.news(12.0, 1.0, 1.0) is None

    pace.nothing(12.9, 1.0)
    assert pace.news(13.0, 1.0, 1.0) == pytest.approx(12.95)
