"""What every driver of placement keeps, whichever store is behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from streamrec import db
from streamrec.models import Recorder
from streamrec.recorder.placement.interface import Assignment, Member, Placement
from streamrec.recorder.placement.memory import MemoryPlacement
from streamrec.recorder.placement.postgres import PostgresPlacement
from tests.factories import channel


@dataclass
class Driver:
    """A placement, the channels it can place, and a way to let its clock run on."""

    placement: Placement
    channels: list[int]
    elapse: Callable[[float], None]

    def joined(self, **about: object) -> UUID:
        member = Member(**{"id": uuid4(), "capacity": 10, **about})
        self.placement.join(member)
        return member.id

    def holder(self, channel_id: int) -> UUID | None:
        return self.placement.view().assignments[channel_id].holder


def in_memory() -> Driver:
    times = [0.0]

    def elapse(seconds: float) -> None:
        times[0] += seconds

    return Driver(MemoryPlacement(lambda: times[0]), [1, 2, 3], elapse)


def in_postgres() -> Driver:
    """Its clock cannot be moved, so heartbeats are set back instead."""

    def elapse(seconds: float) -> None:
        age = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        with db.Session.begin() as session:
            session.execute(sa.update(Recorder).values(heartbeat_at=Recorder.heartbeat_at - age))

    with db.Session.begin() as session:
        channels = [channel(session, keyname=f"keyname-{n:02}").id for n in range(3)]
    return Driver(PostgresPlacement(), channels, elapse)


@pytest.fixture(params=["memory", "postgres"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "postgres":
        request.getfixturevalue("engine")
        yield in_postgres()
    else:
        yield in_memory()


def test_a_member_lives_until_its_time_is_over(driver: Driver):
    """And each renewal gives it another six seconds."""
    me = driver.joined(capacity=7, labels={"site": "north"})
    driver.elapse(4)
    renewed = driver.placement.renew(me)
    driver.elapse(4)
    alive = driver.placement.view()
    driver.elapse(4)

    assert renewed
    assert alive.members == {me: Member(me, 7, {"site": "north"})}
    assert alive.seconds_left == {me: pytest.approx(2, abs=0.9)}
    assert driver.placement.view().members == {}


def test_a_silent_member_that_renews_lives_again(driver: Driver):
    """If nobody buried it."""
    me = driver.joined()
    driver.elapse(60)

    assert driver.placement.renew(me)
    assert me in driver.placement.view().members


@pytest.mark.parametrize("end", ["leave", "bury"])
def test_who_has_left_or_was_buried_must_join_again(driver: Driver, end: str):
    """A renewal does not bring it back."""
    me = driver.joined()
    getattr(driver.placement, end)(me)

    assert not driver.placement.renew(me)
    assert not driver.placement.renew(uuid4())
    assert driver.placement.view().members == {}


def test_a_leaving_member_says_so(driver: Driver):
    """It still lives."""
    me = driver.joined()
    driver.placement.drain(me)

    assert driver.placement.view().members[me].is_leaving


def test_a_free_channel_is_got_under_the_next_epoch(driver: Driver):
    """The first is one."""
    me, (first, second, _) = driver.joined(), driver.channels

    assert driver.placement.claim(me, {first: 0, second: 0}) == {first: 1, second: 1}
    assert driver.placement.view().assignments == {first: Assignment(1, me), second: Assignment(1, me)}


def test_what_a_living_member_holds_is_not_got(driver: Driver):
    """Neither by another, whatever epoch it has seen, nor again by itself."""
    me, other, (first, *_) = driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})

    assert [driver.placement.claim(who, {first: seen}) for who in (me, other) for seen in (0, 1, 2)] == [{}] * 6
    assert driver.holder(first) == me


def test_what_a_dead_member_held_is_got_by_one(driver: Driver):
    """The loser has seen an epoch that is past."""
    dead, (first, *_) = driver.joined(), driver.channels
    driver.placement.claim(dead, {first: 0})
    driver.elapse(7)
    one, two = driver.joined(), driver.joined()

    assert [driver.placement.claim(who, {first: 1}) for who in (one, two)] == [{first: 2}, {}]
    assert driver.holder(first) == one


def test_a_dead_member_gets_nothing(driver: Driver):
    """It woke up, and has not renewed yet."""
    me = driver.joined()
    driver.elapse(7)

    assert driver.placement.claim(me, {driver.channels[0]: 0}) == {}


def test_nothing_is_got_for_nothing(driver: Driver):
    assert driver.placement.claim(driver.joined(), {}) == {}


def test_what_is_released_is_free_under_a_new_epoch(driver: Driver):
    """The epoch grows at once, so that nothing can be written under the old one."""
    me, (first, *_) = driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})

    assert driver.placement.release(me, first, 1)
    assert driver.placement.view().assignments[first] == Assignment(2, None)
    assert driver.placement.claim(me, {first: 2}) == {first: 3}


def test_only_the_holder_releases_and_only_its_own_epoch(driver: Driver):
    """Whoever was taken over changes nothing."""
    me, other, (first, *_) = driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})

    assert [driver.placement.release(other, first, 1), driver.placement.release(me, first, 2)] == [False, False]
    assert driver.placement.view().assignments[first] == Assignment(1, me)


def test_a_ready_successor_gets_what_is_released(driver: Driver):
    """Make before break: there is no moment at which nobody holds the channel."""
    me, heir, (first, *_) = driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})
    steps = [driver.placement.offer(heir, first, 1), driver.placement.make_ready(heir, first, 1)]
    standing = driver.placement.view().assignments[first]
    steps.append(driver.placement.release(me, first, 1))

    assert steps == [True, True, True]
    assert standing == Assignment(1, me, heir, is_ready=True)
    assert driver.placement.view().assignments[first] == Assignment(2, heir)


@pytest.mark.parametrize("case", ["not ready", "dead", "withdrawn"])
def test_a_successor_that_could_not_go_on_gets_nothing(driver: Driver, case: str):
    """Then nobody holds it, and all may claim."""
    me, heir, (first, *_) = driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})
    driver.placement.offer(heir, first, 1)
    if case != "not ready":
        driver.placement.make_ready(heir, first, 1)
    if case == "dead":
        driver.placement.bury(heir)
    if case == "withdrawn":
        driver.placement.withdraw(heir, first)
    driver.placement.release(me, first, 1)

    assert driver.placement.view().assignments[first] == Assignment(2, None)


def test_one_successor_at_a_time(driver: Driver):
    """Another one only when it is dead or has withdrawn; never the holder, and never to a dead holder."""
    me, one, two, (first, *_) = driver.joined(), driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})
    asked = [driver.placement.offer(who, first, epoch) for who, epoch in ((me, 1), (one, 2), (one, 1), (two, 1))]
    driver.placement.bury(one)
    asked.append(driver.placement.offer(two, first, 1))
    driver.placement.bury(me)
    asked.append(driver.placement.offer(two, first, 1))

    assert asked == [False, False, True, False, True, False]
    assert not driver.placement.make_ready(one, first, 1)


def test_a_successor_may_claim_when_the_holder_dies(driver: Driver):
    """As anybody may; it is then no successor any more."""
    me, heir, (first, *_) = driver.joined(), driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})
    driver.placement.offer(heir, first, 1)
    driver.placement.bury(me)

    assert driver.placement.claim(heir, {first: 1}) == {first: 2}
    assert driver.placement.view().assignments[first] == Assignment(2, heir)


def test_joining_again_keeps_what_is_held(driver: Driver):
    """Under the same epoch, if nobody took it meanwhile."""
    me, (first, *_) = driver.joined(), driver.channels
    driver.placement.claim(me, {first: 0})
    driver.placement.bury(me)
    driver.joined(id=me)

    assert driver.holder(first) == me
    assert me in driver.placement.view().members


def test_of_many_that_claim_at_once_each_channel_goes_to_one(driver: Driver):
    """All saw it free at the same moment."""
    members = [driver.joined() for _ in range(6)]
    gate = threading.Barrier(len(members))

    def claim(who: UUID) -> dict[int, int]:
        gate.wait(10)
        return driver.placement.claim(who, dict.fromkeys(driver.channels, 0))

    with ThreadPoolExecutor(len(members)) as threads:
        got = list(threads.map(claim, members))

    assert sorted(channel_id for each in got for channel_id in each) == sorted(driver.channels)
    assert {epoch for each in got for epoch in each.values()} == {1}


def test_a_view_is_quick_enough_to_ask_often(driver: Driver):
    """Every recorder asks once a second."""
    driver.placement.claim(driver.joined(), dict.fromkeys(driver.channels, 0))
    began = time.monotonic()
    for _ in range(20):
        driver.placement.view()

    assert time.monotonic() - began < 2.0
