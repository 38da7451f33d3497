"""What holds the simulator against real runs, on a run that is made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim import gate
from tests.sim.figures import distribution

RUN = {
    "channels": 16,
    "costs": {"wanted": 0.002, "view": 0.004, "account": 0.003, "change": 0.005},
    "noticed": [0.015],
    "connect": [0.018, 0.001],
    "first_media": [0.02],
    "refusal": [0.001],
    "started": [0.1 + 0.01 * number for number in range(11)],
}
KILL = {"beat": 1.5, "connects": {"fleet": 4, "recorder": 2, "host": 1}}


def test_waits_are_what_is_left_of_what_was_measured_once_the_questions_are_taken_off():
    plan = gate.calibrated([RUN])

    assert plan.costs.notice == pytest.approx(0.004)
    assert plan.waits.connect == pytest.approx((0.010, 0.001))
    assert 0 < plan.waits.work < 0.01
    assert plan.channels == 16


@pytest.mark.parametrize(("late", "agree"), [(0.0, True), (2.0, False)])
def test_a_kill_is_simulated_as_long_after_a_heartbeat_and_compared(late: float, agree: bool):
    """A lease of 6 s that has run for 1.5 s is over after 4.5; the race for its channels takes up to 0.5 s."""
    times = [4.6 + late, 4.8 + late, 5.0 + late]
    run = {**RUN, "kills": [{**KILL, "claimed": times, "recording": times}]}
    claimed, recording, *_ = gate.kills([run], gate.calibrated([RUN]), seeds=1)

    assert 4.5 < claimed.simulated["min"] <= claimed.simulated["max"] < 5.2
    assert (claimed.agrees, recording.agrees) == (agree, agree)


def test_as_many_recorders_were_replaced_before_a_kill_as_in_the_run():
    """Channels begin in order, so that a recorder has all it has of few hosts until they were mixed."""
    plan = replace(gate.calibrated([RUN]), channels=16, hosts=4, recorders=4)
    kill = {**KILL, "claimed": [4.6], "recording": [4.6]}

    *_, first = gate.kills([{**RUN, "kills": [kill]}], plan, seeds=1)
    *_, both = gate.kills([{**RUN, "kills": [kill, kill]}], plan, seeds=1)

    assert both.simulated["max"] == first.simulated["max"] > both.simulated["min"]


def test_a_line_shows_both_sides_and_marks_what_differs():
    same, other = distribution([4.0, 5.0, 6.0]), distribution([8.0])

    assert gate.Figure("takeover", same, same).shown().split() == [
        "takeover",
        *["5.00", "6.00", "6.00"] * 2,
        "1.00",
    ]
    assert gate.Figure("takeover", same, other).shown().endswith("1.60  *")
    assert gate.Figure("takeover", same, other, is_held=False).agrees
