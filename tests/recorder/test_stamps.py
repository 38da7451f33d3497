"""F31: a television whose time stamps are nonsense, through a whole capture: the account stays whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from streamrec.framing import psi
from streamrec.models import FileFormat
from streamrec.recorder.events import Opened
from tests import samples
from tests.recorder.stage import Stage, play, whole
from tests.stamps import TICKS, restamped

OPENED = Opened(FileFormat.TS, "h264,aac")
STEP_SECONDS = 0.24
LEAST_SECONDS = 4.9  # of six; where they jump, a picture that begins a file is awaited
HALF_SECONDS = samples.SECONDS / 2


def _from_half(ticks: int, number: int, stamp: int) -> int:
    """All stamps of the second half, moved."""
    return stamp + ticks if number >= HALF_SECONDS * 25 else stamp


STAMPS: dict[str, Callable[[int, int], int]] = {
    "wrap": lambda number, stamp: stamp + (1 << 33) - round(HALF_SECONDS * TICKS),
    "back": partial(_from_half, -10 * TICKS),
    "forward": partial(_from_half, 3600 * TICKS),
    "zero": lambda number, stamp: 0,
}


@pytest.mark.parametrize("kind", STAMPS)
def test_nonsense_in_the_stamps_leaves_the_account_whole(tmp_path: Path, kind: str) -> None:
    """They run over, jump back 10 s or forward an hour, or all are zero: no span is negative, none overlaps."""
    data = restamped(samples.sample("tv.ts"), STAMPS[kind])
    steps = round(samples.SECONDS / STEP_SECONDS)
    size = len(data) // psi.PACKET // steps * psi.PACKET

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.clock.idle()
        stage.source.push(OPENED)
        for step in range(steps):
            await stage.clock.advance(STEP_SECONDS)
            stage.source.media(data[step * size : (step + 1) * size if step < steps - 1 else len(data)])
        await stage.clock.idle()
        await stage.stop(until=samples.SECONDS + 1)

        end = whole(stage)
        recorded = [finish - begin for begin, finish in stage.files()]
        assert all(length > 0 for length in recorded)
        assert samples.SECONDS <= end <= samples.SECONDS + 1
        assert sum(recorded) >= LEAST_SECONDS

    play(tmp_path, scenario)
