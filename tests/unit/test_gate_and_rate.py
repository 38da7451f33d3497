"""How fast attempts begin, and the bit rate that is shown."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from itertools import groupby

from streamrec.framing.units import FLICKS
from streamrec.recorder.gate import Gate
from streamrec.recorder.status import BitRate
from tests.fakes import FakeClock


def test_a_hundred_attempts_take_their_turns():
    """A second's worth at once, the rest at the rate."""

    async def scenario() -> list[int]:
        clock, through = FakeClock(), []
        gate = Gate(clock, rate=16)

        async def attempt() -> None:
            (await gate.enter("a")).good()
            through.append(clock.monotonic())

        tasks = [asyncio.create_task(attempt()) for _ in range(100)]
        counts = []
        for _ in range(5):
            await clock.advance(1.0)
            counts.append(len(through))
        await clock.advance(1.0)
        await asyncio.gather(*tasks)
        return counts

    assert asyncio.run(scenario()) == [32, 48, 64, 80, 96]


def test_attempts_wait_for_descriptors_and_hold_no_place_meanwhile():
    """F61: three for each that began in the last ten seconds; who tries another host is told the same."""

    async def scenario() -> list[int]:
        clock, through, room = FakeClock(), [], 6
        gate = Gate(clock, has_room=lambda wanted: wanted <= room)

        async def attempt(host: str) -> None:
            (await gate.enter(host)).end()
            through.append(host)

        tasks = [asyncio.create_task(attempt(host)) for host in ("a", "a", "a", "b")]
        counts = []
        for seconds in (5.0, 7.0):
            await clock.advance(seconds)
            counts.append(len(through))
        room = 100
        await clock.advance(2.0)
        await asyncio.gather(*tasks)
        return [*counts, len(through)]

    assert asyncio.run(scenario()) == [2, 4, 4]


class Crowd:
    """Channels that try again and again to get media from one host, which has none until it `lives`."""

    def __init__(self, gate: Gate, clock: FakeClock, count: int, host: str = "cdn.invalid") -> None:
        self.gate, self.clock, self.host = gate, clock, host
        self.attempts, self.connected, self.most = 0, 0, 0
        self.lives = False
        self._under_way = 0
        self.tasks = [asyncio.create_task(self._channel()) for _ in range(count)]

    async def _channel(self) -> None:
        while not self.lives or self.attempts == 0:
            turn = await self.gate.enter(self.host)
            self.attempts += 1
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            await self.clock.sleep(0.1)
            self._under_way -= 1
            if self.lives:
                turn.good()
                self.connected += 1
                return
            turn.end()


async def cancelled(tasks: Iterable[asyncio.Task[None]]) -> list[BaseException | None]:
    """What each of them ends with."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_dead_host_is_tried_for_all_its_channels_by_one():
    """About every two seconds, however many wait; and all go on within seconds when it is back."""

    async def scenario() -> tuple[int, int, int]:
        clock = FakeClock()
        crowd = Crowd(Gate(clock, uniform=random.Random(7).uniform), clock, 100)
        await clock.advance(10)
        before = crowd.attempts
        await clock.advance(60)
        probes = crowd.attempts - before
        crowd.lives = True
        await clock.advance(10)
        await asyncio.gather(*crowd.tasks)
        return probes, crowd.most, crowd.connected

    probes, most, connected = asyncio.run(scenario())

    assert 25 <= probes <= 31
    assert most <= 8
    assert connected == 100


def test_hosts_that_died_together_are_not_all_tried_in_the_same_moments():
    """Otherwise stations that come back together are asked by all their listeners at once."""

    async def scenario() -> list[bool]:
        clock = FakeClock()
        gate = Gate(clock, uniform=random.Random(7).uniform)
        crowds = [Crowd(gate, clock, 5, host) for host in "abcdefghij"]
        await clock.advance(30)
        is_silent = []
        for _ in range(40):
            before = sum(crowd.attempts for crowd in crowds)
            await clock.advance(0.1)
            is_silent.append(sum(crowd.attempts for crowd in crowds) == before)
        await cancelled(task for crowd in crowds for task in crowd.tasks)
        return is_silent

    longest = max(len(list(run)) for silent, run in groupby(asyncio.run(scenario())) if silent)
    assert longest <= 6  # tenths of a second; 11 where all hosts keep step


def test_all_who_wait_for_a_host_may_give_up_at_once():
    async def scenario() -> list[BaseException | None]:
        clock = FakeClock()
        crowd = Crowd(Gate(clock), clock, 20)
        await clock.advance(30)
        return await cancelled(crowd.tasks)

    assert {type(result) for result in asyncio.run(scenario())} == {asyncio.CancelledError}


def test_another_host_does_not_wait_for_a_dead_one():
    async def scenario() -> float:
        clock = FakeClock()
        gate = Gate(clock)
        crowd = Crowd(gate, clock, 20)
        await clock.advance(30)
        asked = clock.monotonic()
        (await gate.enter("other.invalid")).good()
        await cancelled(crowd.tasks)
        return clock.monotonic() - asked

    assert asyncio.run(scenario()) == 0.0


def test_a_host_with_a_listener_is_not_dead_whatever_else_fails_there():
    """One mount of many is missing: that keeps nobody from the others."""

    async def scenario() -> float:
        clock = FakeClock()
        gate = Gate(clock)
        (await gate.enter("a")).good()
        for _ in range(10):
            (await gate.enter("a")).end()
        asked = clock.monotonic()
        await clock.advance(1)
        (await gate.enter("a")).good()
        return clock.monotonic() - asked

    assert asyncio.run(scenario()) == 1.0


def test_who_gives_up_waiting_leaves_its_place_to_the_next():
    async def scenario() -> bool:
        clock = FakeClock()
        gate = Gate(clock)
        turns = [await gate.enter("a") for _ in range(8)]
        gone, next_one = (asyncio.create_task(gate.enter("a")) for _ in range(2))
        await clock.idle()
        gone.cancel()
        turns[0].good()
        await clock.advance(1)
        return next_one.done()

    assert asyncio.run(scenario())


def test_a_burst_does_not_inflate_the_bit_rate():
    """Bits per second of media, not of arrival."""
    rate = BitRate()

    shown = [rate.add(n * FLICKS, n * 16_000) for n in (4, 5, 6)]

    assert shown == [128_000] * 3


def test_the_bit_rate_follows_the_last_ten_seconds():
    """An hour ago does not count."""
    rate = BitRate()
    for n in range(1, 3600):
        rate.add(n * FLICKS, n * 16_000)
    size = 3599 * 16_000

    shown = [rate.add((3599 + n) * FLICKS, size + n * 8_000) for n in range(1, 15)]

    assert shown[-1] == 64_000
