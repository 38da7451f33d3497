"""Fleets in virtual time: what must hold whatever happens to them, and that a seed says all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from tests.sim import virtual
from tests.sim.figures import Outcome, peak
from tests.sim.scenarios import QUIET_SECONDS, SCENARIOS, play
from tests.sim.virtual import RUNNING_AS, Process, VirtualLoop
from tests.sim.world import Plan, World

PLAN = Plan(channels=40, recorders=4, hosts=4)
SMALL = Plan(channels=16, recorders=4, hosts=2)
TAKEOVER_SECONDS = 8.0


def played(scenario: str, plan: Plan = SMALL, seed: int = 1) -> Outcome:
    return play(SCENARIOS[scenario], plan, seed)


def told_once(outcome: Outcome) -> bool:
    """Whether every second of every channel is told up to the end, and none twice, and nothing went wrong."""
    wrong = ("overlaps", "unaccounted_seconds")
    is_told = all(outcome.counts[name] == 0 for name in wrong) and outcome.counts["untold_at_the_end_seconds"] < 2
    return not outcome.errors and is_told


def test_what_a_killed_recorder_had_is_recorded_by_the_others_within_eight_seconds():
    outcome = played("worker-loss", PLAN)

    assert len(outcome.seconds["recording"]) == PLAN.channels / PLAN.recorders
    assert max(outcome.seconds["recording"]) < TAKEOVER_SECONDS
    assert told_once(outcome)


def test_while_the_database_is_away_all_is_recorded_and_nobody_takes_anything_from_the_living_afterwards():
    """Their leases have run out together, and the first to renew its own must not take that for their deaths."""
    outcome = played("database-away")

    names = ("interrupted", "moved", "claims_after_return", "gaps")
    assert {name: outcome.counts[name] for name in names} == dict.fromkeys(names, 0)
    assert told_once(outcome)


def test_one_that_was_stopped_beyond_its_lease_tells_nothing_that_the_others_have_told():
    """And has its channels back soon: under this seed at once, and then goes on from where the others ended."""
    outcome = played("freeze", seed=3)

    assert outcome.counts["quarantined_seconds"] > 0
    assert told_once(outcome)


def test_one_that_leaves_has_handed_all_over_within_two_seconds():
    outcome = played("drain")

    assert len(outcome.seconds["handed_over"]) == SMALL.channels / SMALL.recorders
    assert max(outcome.seconds["left"]) < 2.0
    assert outcome.counts["gaps"] == 0
    assert told_once(outcome)


@pytest.mark.parametrize("after", [0.1, 0.4, 0.65, 0.7, 1.0])
def test_a_channel_that_is_disabled_while_it_changes_hands_is_listened_to_by_nobody(after: float) -> None:
    """Wherever the hand-over is by then: whoever stood by, or has it now, lets go of it."""

    async def disabled(world: World, _: Outcome) -> None:
        await world.begin()
        leaving = asyncio.create_task(world.living[0].drain())
        await asyncio.sleep(after)
        world.store.disable()
        await leaving
        hosts = world.network.hosts.values()
        await world.until(lambda: not any(host.open for host in hosts), 10, "no station is listened to")
        await world.until(lambda: not any(map(world.held_by, world.living)), 10, "nobody living has any")

    outcome = play(disabled, SMALL, 1)

    assert not outcome.errors


def test_an_outage_of_all_stations_is_one_gap_a_channel_and_their_return_no_storm():
    """No recorder begins more attempts in a second than its gate lets through: what it saved up, and its rate."""
    outcome = played("blackout")

    assert outcome.counts["gaps"] == SMALL.channels
    assert outcome.peaks["attempts"]["recorder"] <= 60
    assert told_once(outcome)


@pytest.mark.parametrize("state", ["refuses", "404", "silent"])
def test_fifty_channels_of_a_dead_host_are_a_line_each_at_first_and_then_one_a_minute_in_all(state: str) -> None:
    lines: list[tuple[int, str]] = []

    async def dead(world: World, _: Outcome) -> None:
        await world.begin()
        await asyncio.sleep(QUIET_SECONDS)
        died = world.loop.time()
        world.network.fail(*world.network.hosts.values(), state)
        await asyncio.sleep(4 * 60)
        lines.extend((int((line.at - died) // 60), line.event) for line in world.lines if line.at >= died)

    play(dead, Plan(channels=50, recorders=1, hosts=1), 1)

    minutes = Counter(lines)
    assert [minutes.pop((minute, "a host brings no media")) for minute in range(4)] == [1, 1, 1, 1]
    assert minutes == {(0, "capture moved"): 50}


def test_the_same_seed_is_the_same_course_and_another_is_not():
    first, again, other = (played("worker-loss", SMALL, seed) for seed in (7, 7, 8))

    assert first == again
    assert first.seconds != other.seconds


def test_a_week_passes_at_once_and_in_order():
    async def sleepers(loop: VirtualLoop) -> list[float]:
        woken: list[float] = []

        async def sleeper(days: float) -> None:
            await asyncio.sleep(days * 86_400)
            woken.append(round(loop.time() / 86_400, 6))

        await asyncio.gather(*map(sleeper, (7, 0.5, 3)))
        return woken

    began = time.monotonic()

    assert virtual.run(sleepers) == [0.5, 3, 7]
    assert time.monotonic() - began < 5


def test_nothing_of_a_halted_process_runs_until_it_goes_on_and_then_in_order():
    """Timers that ran out meanwhile too; one that was cancelled since does not."""

    async def scenario(loop: VirtualLoop) -> tuple[list[str], list[str]]:
        process, ran = Process("p"), list[str]()
        before = RUNNING_AS.set(process)
        loop.call_later(1, ran.append, "first")
        late = loop.call_later(2, ran.append, "cancelled")
        loop.call_later(3, ran.append, "third")
        RUNNING_AS.reset(before)
        loop.freeze(process)
        await asyncio.sleep(5)
        while_halted = list(ran)
        late.cancel()
        loop.thaw(process)
        await asyncio.sleep(0.1)
        return while_halted, ran

    assert virtual.run(scenario) == ([], ["first", "third"])


def test_who_waits_for_nothing_is_found_out():
    async def waits(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(RuntimeError, match="everybody waits"):
        virtual.run(waits)


def test_a_peak_is_of_any_second_and_not_of_those_that_a_clock_counts():
    assert peak([0.9, 1.0, 1.5, 2.0, 2.5]) == 3
    assert peak([]) == 0
