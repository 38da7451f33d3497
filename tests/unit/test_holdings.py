"""A recorder's own part of the plan, with placement in memory."""

from __future__ import annotations

from uuid import UUID

from streamrec.recorder.holdings import Held, Holdings
from streamrec.recorder.placement.interface import Member
from streamrec.recorder.placement.memory import MemoryPlacement

A, B = UUID(int=1), UUID(int=2)


class World:
    """Two recorders and one clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.placement = MemoryPlacement(lambda: self.now)

    def recorder(self, who: UUID) -> Holdings:
        made = Holdings(self.placement, Member(who, 10), monotonic=lambda: self.now)
        made.join()
        return made


def turn(holdings: Holdings, count: int = 2) -> Held:
    return holdings.take(holdings.look({channel_id: {} for channel_id in range(1, count + 1)}))


def test_a_lone_recorder_takes_all():
    world = World()

    assert turn(world.recorder(A)) == Held({1: 1, 2: 1}, {}, {})


def test_the_next_one_stands_by_for_its_share_and_gets_it():
    """The holder sees when its successor has media, and the successor when it has become the holder."""
    world = World()
    old, new = world.recorder(A), world.recorder(B)
    world.placement.claim(A, {1: 0, 2: 0})
    standing = turn(new)
    ((channel_id, epoch),) = standing.standing_by.items()
    new.make_ready(channel_id, epoch)
    asked = turn(old)
    released = old.release(channel_id, epoch)

    assert (standing.epochs, standing.has_peers) == ({}, True)
    assert asked.to_hand_over == {channel_id: epoch}
    assert released
    assert turn(new).epochs == {channel_id: epoch + 1}


def test_nothing_is_claimed_while_the_lease_is_in_doubt():
    """Four seconds after the last renewal; what is held is still held."""
    world = World()
    holdings = world.recorder(A)
    turn(holdings, 1)
    world.now = 4.5
    doubtful = (holdings.is_sure, turn(holdings).epochs)
    holdings.beat()

    assert doubtful == (False, {1: 1})
    assert (holdings.is_sure, turn(holdings).epochs) == (True, {1: 1, 2: 1})


def test_one_that_was_buried_joins_again_and_sees_what_it_has_lost():
    world = World()
    asleep, awake = world.recorder(A), world.recorder(B)
    world.placement.claim(A, {1: 0})
    world.placement.bury(A)
    look = awake.look({1: {}})
    awake.take(look)
    asleep.beat()

    assert look.is_takeover
    assert turn(asleep, 1).epochs == {}
    assert asleep.is_sure


def test_it_looks_again_when_another_would_be_dead():
    world = World()
    mine, other = world.recorder(A), world.recorder(B)
    world.now = 2.0
    mine.beat()

    assert turn(mine).look_again_seconds == 4.05
    other.leave()
    assert turn(mine).look_again_seconds is None


def test_one_that_drains_is_offered_nothing():
    world = World()
    leaving = world.recorder(A)
    leaving.drain()

    assert turn(leaving).epochs == {}
    assert world.placement.view().members[A].is_leaving


def test_after_an_outage_the_others_are_given_a_lease_to_renew_theirs():
    """Nobody could: that theirs ran out says nothing of whether they live. What nobody held is free at once."""
    world = World()
    back, late, dead = world.recorder(A), world.recorder(B), UUID(int=3)
    world.recorder(dead)
    world.placement.claim(B, {1: 0})
    world.placement.claim(dead, {2: 0})
    world.now = 30.0
    back.beat()
    at_once, look_again = turn(back, 3).epochs, turn(back, 3).look_again_seconds
    world.now = 32.0
    for each in (back, late):
        each.beat()
    world.now = 34.0
    for each in (back, late):
        each.beat()
    world.now = 36.1
    later = turn(back, 3).epochs

    assert (at_once, look_again) == ({3: 1}, 6.05)
    assert later == {2: 2, 3: 1}
