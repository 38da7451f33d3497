"""When an attempt is judged to have no media."""

from __future__ import annotations

import pytest

from streamrec.models import GapReason
from streamrec.recorder.watchdog import Watchdog


def fed(arrivals: list[tuple[float, float]]) -> Watchdog:
    """A watchdog that has seen (time, media seconds in all)."""
    watchdog = Watchdog(0.0)
    for at, media in arrivals:
        watchdog.progress(media, at)
    return watchdog


def first_verdict(watchdog: Watchdog, start: float, end: float) -> tuple[float, GapReason] | None:
    """When, in tenths of a second, it first has something to say."""
    for tenth in range(int(start * 10), int(end * 10)):
        reason = watchdog.verdict(tenth / 10)
        if reason is not None:
            return tenth / 10, reason
    return None


def radio(seconds: int, *, burst: float = 4.0) -> list[tuple[float, float]]:
    """A burst, then media every fifth of a second."""
    return [(n / 5, burst + n / 5) for n in range(seconds * 5 + 1)]


def television(seconds: int, *, step: float) -> list[tuple[float, float]]:
    """A window of three segments, then one every `step` seconds."""
    return [(0.2 + n * step, (3 + n) * step) for n in range(int(seconds / step) + 1)]


def test_a_radio_that_stalls_is_noticed_within_five_seconds_once_it_is_known():
    """Media all the time, then none: three seconds are enough... if the cadence is known."""
    watchdog = fed([*radio(10), *[(10 + 0.6 * n, 14 + 0.6 * n) for n in range(1, 6)]])

    at, reason = first_verdict(watchdog, 13, 30)

    assert reason is GapReason.STALLED
    assert at == pytest.approx(16.0, abs=0.2)


def test_a_steady_radio_needs_no_steps_to_be_known():
    """Arrivals closer than half a second are a cadence too."""
    assert first_verdict(fed(radio(10)), 10, 30) == (pytest.approx(13.0, abs=0.2), GapReason.STALLED)


def test_a_source_that_sends_all_the_time_is_known_after_three_seconds():
    """A tick of a second looks like steps, of which others would have to show four."""
    watchdog = Watchdog(0.0)
    watchdog.is_continuous = True
    for at in (0.1, 1.0, 2.0, 3.0, 4.0):
        watchdog.progress(4.0 + at, at)

    assert first_verdict(watchdog, 4, 30) == (pytest.approx(7.0), GapReason.STALLED)


def test_what_is_left_unread_is_as_good_as_read():
    """A radio that is read every two seconds does not seem slower than it is."""
    watchdog = Watchdog(0.0)
    watchdog.is_continuous = True
    for second in range(1, 9):
        watchdog.came(second) if second % 2 else watchdog.progress(4.0 + second, second)
    watchdog.came(9.0)

    assert first_verdict(watchdog, 9, 30) == (pytest.approx(12.0), GapReason.STALLED)


def test_segments_of_six_seconds_are_no_stall():
    """Silence between HLS segments is normal."""
    watchdog = fed([])
    for at, media in television(60, step=6.0):
        watchdog.progress(media, at)
        assert first_verdict(watchdog, at, at + 6.5) is None


def test_the_first_segment_may_be_late():
    """Until the cadence is known, twelve seconds are forgiven."""
    watchdog = fed([(0.2, 18.0)])

    assert first_verdict(watchdog, 0.2, 30)[0] == pytest.approx(12.2, abs=0.2)


def test_a_drip_is_starved():
    """A tenth of real time keeps a socket alive, but it is no stream."""
    watchdog = fed([])
    verdicts = []
    for second in range(30):
        watchdog.progress(second / 10, float(second))
        verdicts.append(watchdog.verdict(float(second)))

    assert verdicts.index(GapReason.STARVED) in range(10, 13)


def test_a_burst_is_no_credit_for_ever():
    """What came ahead once does not hide that nothing much comes now."""
    watchdog = fed([(0.0, 60.0)])
    verdicts = []
    for second in range(1, 30):
        watchdog.progress(60 + second / 10, float(second))
        verdicts.append(watchdog.verdict(float(second)))

    assert GapReason.STARVED in verdicts[:13]


def test_nothing_at_all_is_a_stall():
    """Connected, or so it seems, and not a byte."""
    assert first_verdict(fed([]), 0, 60) == (20.0, GapReason.STALLED)


def test_our_own_delay_is_forgiven():
    """While the disk was busy nobody looked."""
    watchdog = fed(radio(10))
    watchdog.forgive(8.0)

    assert watchdog.verdict(19.0) is None
