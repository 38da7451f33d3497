"""A little chaos, always the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import course, outage, plan
from tests.chaos.test_plan import SCOPES

SEED = 1643
KINDS = {
    *("recorder_kill", "recorder_restart", "recorder_freeze", "child_kill", "database_restart", "disk_full"),
    *("stall", "torn", "move", "disable", "hls_break", "hls_broken", "hls_jump", "hls_reset", "hls_torn"),
}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_three_minutes_of_chaos_violate_nothing(tmp_path: Path) -> None:
    """Twenty channels, a fault every five seconds in whatever can fail; then the oracle has nothing to say."""
    drawn = plan.draw(SEED, 20, 180, 5, SCOPES, sounds=3, pictures=2, by_ffmpeg=3)

    found = course.run(drawn, tmp_path)

    assert {step.kind for step in drawn.steps} >= KINDS  # what it must have, if plans are ever drawn otherwise
    assert found.violations == [], found.written()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_while_the_database_is_away(tmp_path: Path) -> None:
    """For twelve seconds, longer than two files: no gap, every frame once, every row."""
    found = outage.run(3, 0.2, tmp_path)

    assert found.violations == [], found.written()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_fifty_kills_at_random_moments_violate_nothing(tmp_path: Path) -> None:
    """The recorder, the database's backends, the whole database, or all of it, often before it is up again."""
    drawn = plan.kills(SEED, 4, 50)

    found = course.run(drawn, tmp_path)

    assert {step.kind for step in drawn.steps} == set(plan.KILLS)
    assert found.violations == [], found.written()
