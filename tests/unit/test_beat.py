"""The recorder's one wake-up for all."""

from __future__ import annotations

import asyncio

from streamrec.recorder.beat import SECONDS, Beat
from tests.fakes import FakeClock


def test_all_who_feel_it_are_called_with_every_beat_until_they_leave() -> None:
    async def story() -> tuple[int, int]:
        clock, first, second = FakeClock(), list[float](), list[float]()
        beat = Beat(clock)
        with beat.felt_by(lambda: first.append(clock.monotonic())):
            with beat.felt_by(lambda: second.append(clock.monotonic())):
                await clock.advance(2.5 * SECONDS)
            await clock.advance(2 * SECONDS)
        await clock.advance(5 * SECONDS)
        return len(first), len(second)

    assert asyncio.run(story()) == (4, 2)


def test_it_begins_again_after_all_have_left() -> None:
    async def story() -> int:
        clock, calls = FakeClock(), list[float]()
        beat = Beat(clock)
        for _ in range(2):
            with beat.felt_by(lambda: calls.append(clock.monotonic())):
                await clock.advance(1.5 * SECONDS)
        return len(calls)

    assert asyncio.run(story()) == 2


def test_one_who_fails_does_not_stop_the_others() -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def story() -> int:
        clock, calls = FakeClock(), list[float]()
        beat = Beat(clock)
        with beat.felt_by(fail), beat.felt_by(lambda: calls.append(clock.monotonic())):
            await clock.advance(2.5 * SECONDS)
        return len(calls)

    assert asyncio.run(story()) == 2


def test_who_sleeps_is_woken_by_the_nearest_beat() -> None:
    async def story() -> float:
        clock = FakeClock()
        beat = Beat(clock)
        with beat.felt_by(lambda: None):
            await clock.advance(0.3 * SECONDS)
            sleeper = asyncio.create_task(_slept(beat, clock, 2 * SECONDS))
            await clock.advance(3 * SECONDS)
        return await sleeper

    assert asyncio.run(story()) == 2 * SECONDS


def test_who_sleeps_where_no_beat_is_felt_is_woken_in_time() -> None:
    async def story() -> float:
        clock = FakeClock()
        sleeper = asyncio.create_task(_slept(Beat(clock), clock, 2.3))
        await clock.advance(3)
        return await sleeper

    assert asyncio.run(story()) == 2.3


def test_who_sleeps_is_woken_though_the_beat_ends() -> None:
    async def story() -> float:
        clock = FakeClock()
        beat = Beat(clock)
        with beat.felt_by(lambda: None):
            sleeper = asyncio.create_task(_slept(beat, clock, 2 * SECONDS))
            await clock.advance(SECONDS)
        await clock.advance(3 * SECONDS)
        return await sleeper

    assert asyncio.run(story()) == 3 * SECONDS


async def _slept(beat: Beat, clock: FakeClock, seconds: float) -> float:
    """When the sleeper was woken."""
    await beat.sleep(seconds)
    return clock.monotonic()
