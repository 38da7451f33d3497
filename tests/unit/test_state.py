"""States of a capture and the waits between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.models import CaptureState, GapReason
from streamrec.recorder import state
from streamrec.recorder.state import Backoff


def longest(low: float, high: float) -> float:
    return high


def test_a_capture_that_runs_can_fall_back_and_start_again():
    """RUNNING, BACKOFF, STARTING is the circle of a station that drops us."""
    circle = [CaptureState.BACKOFF, CaptureState.STARTING, CaptureState.RUNNING]

    moved = [state.move(old, new) for old, new in zip([CaptureState.RUNNING, *circle], circle, strict=False)]

    assert moved == circle


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CaptureState.STOPPED, CaptureState.RUNNING),
        (CaptureState.BACKOFF, CaptureState.RUNNING),
        (CaptureState.STOPPING, CaptureState.STARTING),
        (CaptureState.RUNNING, CaptureState.STARTING),
    ],
)
def test_an_illegal_move_is_a_bug(old, new):
    """There is no way around the table."""
    with pytest.raises(AssertionError):
        state.move(old, new)


def test_the_first_failure_is_tried_again_at_once():
    """A station that drops us is asked again without a wait."""
    assert Backoff(uniform=longest).delay(GapReason.SOURCE_ENDED, 0) == 0


def test_waits_double_up_to_the_cap():
    """0.5 x 2^n seconds, at most 15."""
    backoff = Backoff(uniform=longest)

    waits = [backoff.delay(GapReason.SOURCE_REFUSED, n) for n in range(8)]

    assert waits == [0, 1, 2, 4, 8, 15, 15, 15]


def test_what_lasts_goes_straight_to_the_cap():
    """A 404 is not asked for ten times in ten seconds."""
    assert Backoff(uniform=longest).delay(GapReason.SOURCE_DENIED, 0) == 15


@pytest.mark.parametrize("second", [0, 4000])
def test_a_disk_that_is_mended_is_not_waited_for_longer_than_four_seconds(second: float):
    """F50, F53: after minutes and after an hour."""
    backoff = Backoff(uniform=longest)

    waits = [backoff.delay(GapReason.DISK_FULL, second * n) for n in range(12)]

    assert max(waits) == 4


def test_after_an_hour_the_cap_is_a_minute():
    """The failure's age counts, not the number of attempts."""
    backoff = Backoff(uniform=longest)
    backoff.delay(GapReason.SOURCE_DENIED, 0)

    assert backoff.delay(GapReason.SOURCE_DENIED, 3600) == 60


@pytest.mark.parametrize(("asked", "least", "most"), [(7.0, 7.0, 9.0), (9_999_999.0, 60.0, 60.0), (0.0, 0.0, 1.0)])
def test_a_server_that_asks_for_time_gets_it_up_to_a_minute(asked: float, least: float, most: float):
    """Retry-After, also on the first failure and above the cap."""
    assert least <= Backoff().delay(GapReason.SOURCE_ERROR, 0, asked) <= most


def test_good_media_forgives_and_a_little_does_not():
    """Only 30 s of media make the next attempt a first one again."""
    backoff = Backoff(uniform=longest)
    backoff.delay(GapReason.SOURCE_REFUSED, 0)
    backoff.good(29.9)
    still_failing = backoff.delay(GapReason.SOURCE_REFUSED, 1)
    backoff.good(30)

    assert (still_failing, backoff.delay(GapReason.SOURCE_REFUSED, 2)) == (1, 0)


@given(st.lists(st.sampled_from(list(GapReason)), min_size=1, max_size=200))
def test_no_wait_is_ever_longer_than_the_cap(reasons):
    """It never gives up, and never waits longer than it may."""
    backoff = Backoff()

    assert all(0 <= backoff.delay(reason, second) <= 15 for second, reason in enumerate(reasons))
