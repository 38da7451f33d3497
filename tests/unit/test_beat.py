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
