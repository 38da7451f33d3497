"""Plans, which are pure."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos import plan
from tests.chaos.plan import HEALING_SECONDS, KINDS, QUIET_SECONDS

SCOPES = sorted({kind.scope for kind in KINDS.values() if kind.weight})


@given(st.integers(0, 1 << 32), st.integers(1, 200), st.floats(60, 600), st.floats(1, 30))
def test_a_seed_gives_one_plan_and_json_gives_it_back(
    seed: int, channels: int, seconds: float, every: float
) -> None:
    """Drawn twice, it is the same; written and read, too."""
    drawn = plan.draw(seed, channels, seconds, every, SCOPES)

    assert drawn == plan.draw(seed, channels, seconds, every, SCOPES)
    assert plan.read(drawn.written()) == drawn


@given(st.integers(0, 1 << 32), st.integers(1, 50))
def test_nothing_is_befallen_again_before_it_has_rested(seed: int, channels: int) -> None:
    """The faults of a channel, and those of each part of the machine, do not overlap."""
    drawn = plan.draw(seed, channels, 600, 5, SCOPES)
    places = {(KINDS[step.kind].scope if step.channel is None else step.channel) for step in drawn.steps}

    for place in places:
        mine = [s for s in drawn.steps if place in {s.channel, KINDS[s.kind].scope if s.channel is None else None}]
        assert all(one.at + one.seconds < two.at for one, two in pairwise(mine))


@given(st.integers(0, 1 << 32))
def test_there_is_quiet_before_and_after(seed: int) -> None:
    """What is injected heals before the oracle looks."""
    drawn = plan.draw(seed, 20, 180, 5, SCOPES)

    assert drawn.steps[0].at >= QUIET_SECONDS
    assert max(step.at for step in drawn.steps) < 180 - HEALING_SECONDS


def test_a_long_plan_has_every_kind() -> None:
    """Each once, before any comes again by its weight."""
    drawn = plan.draw(1, 20, 600, 5, SCOPES, sounds=3, pictures=2, by_ffmpeg=2)

    assert {step.kind for step in drawn.steps} == {name for name, kind in KINDS.items() if kind.weight}


@given(st.integers(0, 1 << 32), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_fault_befalls_what_can_have_it(seed: int, radios: int, sounds: int, pictures: int) -> None:
    """Those of radios the radios, which are numbered first, those of HLS the others."""
    channels = radios + sounds + pictures
    drawn = plan.draw(seed, channels, 600, 5, SCOPES, sounds=sounds, pictures=pictures)

    assert drawn.radios == radios
    for step in drawn.steps:
        scope = KINDS[step.kind].scope
        assert (step.channel is None) is (scope not in {"source", "hls", "channel"})
        if step.channel is not None:
            assert scope == "channel" or (step.channel < radios) is (scope == "source")
            assert 0 <= step.channel < channels
