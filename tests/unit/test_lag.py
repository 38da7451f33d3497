"""How long the loop kept others waiting."""

from __future__ import annotations

from streamrec.recorder.lag import Lag


def test_the_longest_wait_and_what_nearly_all_stay_below_are_known() -> None:
    lag = Lag()
    for number in range(200):
        lag.observe(number / 1000)

    assert (lag.most, lag.p99) == (0.199, 0.198)


def test_a_loop_that_never_waited_has_no_lag() -> None:
    assert (Lag().most, Lag().p99) == (0.0, 0.0)
