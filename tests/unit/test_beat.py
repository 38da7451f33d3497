"""The recorder's one wake-up a second."""

from __future__ import annotations

import asyncio

from streamrec.recorder.beat import Beat
from tests.fakes import FakeClock


def test_all_who_feel_it_are_called_every_second_until_they_leave() -> None:
    async def story() -> tuple[int, int]:
        clock, first, second = FakeClock(), list[float](), list[float]()
        beat = Beat(clock)
        with beat.felt_by(lambda: first.append(clock.monotonic())):
            with beat.felt_by(lambda: second.append(clock.monotonic())):
                await clock.advance(2.5)
            await clock.advance(2)
        await clock.advance(5)
        return len(first), len(second)

    assert asyncio.run(story()) == (4, 2)


def test_it_begins_again_after_all_have_left() -> None:
    async def story() -> int:
        clock, calls = FakeClock(), list[float]()
        beat = Beat(clock)
        for _ in range(2):
            with beat.felt_by(lambda: calls.append(clock.monotonic())):
                await clock.advance(1.5)
        return len(calls)

    assert asyncio.run(story()) == 2


def test_one_who_fails_does_not_stop_the_others() -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def story() -> int:
        clock, calls = FakeClock(), list[float]()
        beat = Beat(clock)
        with beat.felt_by(fail), beat.felt_by(lambda: calls.append(clock.monotonic())):
            await clock.advance(2.5)
        return len(calls)

    assert asyncio.run(story()) == 2
