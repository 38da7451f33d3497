"""How fast attempts begin, and the bit rate that is shown."""

from __future__ import annotations

import asyncio

from streamrec.recorder.framing.units import FLICKS
from streamrec.recorder.gate import Gate
from streamrec.recorder.status import BitRate
from tests.fakes import FakeClock


def test_a_hundred_attempts_take_their_turns():
    """A second's worth at once, the rest at the rate."""

    async def scenario() -> list[int]:
        clock, through = FakeClock(), []
        gate = Gate(clock, rate=16)

        async def attempt() -> None:
            await gate.enter()
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
