"""The log of a capture: told once, and then once a minute."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from streamrec.models import CaptureState
from streamrec.recorder.moves import Moves
from tests.fakes import FakeClock

STARTING, RUNNING, BACKOFF = CaptureState.STARTING, CaptureState.RUNNING, CaptureState.BACKOFF


def told(seconds: int, every: int, *, is_quiet: bool = False) -> list[int | None]:
    """The counts in the lines at info of an outage in which an attempt fails every so many seconds."""

    async def scenario() -> None:
        clock = FakeClock()
        moves = Moves(clock)
        moves.say(7, RUNNING, BACKOFF, "The connection was refused.", is_quiet=False)
        for _ in range(seconds // every):
            await clock.advance(every)
            moves.say(7, BACKOFF, STARTING, None, is_quiet=is_quiet)
            moves.say(7, STARTING, BACKOFF, "The connection was refused.", is_quiet=is_quiet)

    with capture_logs() as lines:
        asyncio.run(scenario())
    return [line.get("failures") for line in lines if line["log_level"] == "info"]


def test_an_outage_is_told_at_once_and_then_once_a_minute_with_a_count() -> None:
    assert told(180, 5) == [1, 12, 12, 12]


def test_a_channel_for_which_others_speak_says_nothing_more() -> None:
    assert told(180, 5, is_quiet=True) == [1]
