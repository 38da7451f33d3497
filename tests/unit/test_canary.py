"""The canary's comparison: every frame once, in order and in time, or a fault is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamrec import canary
from streamrec.canary import Piece, compare
from streamrec.framing import framer_for
from streamrec.models import FileFormat

FIRST = 74_000_000_000
MS = timedelta(milliseconds=1)


def piece(start: int, end: int, *, late: timedelta = timedelta(), data: bytes | None = None) -> Piece:
    """The recording of frames `[start, end)` after FIRST."""
    whole = b"".join(canary.frame(FIRST + number) for number in range(start, end))
    return Piece(
        canary.on_air(FIRST + start) + late,
        canary.on_air(FIRST + end) + late,
        whole if data is None else data,
    )


def test_frames_are_frames_and_say_their_numbers() -> None:
    data = b"".join(canary.frame(number) for number in range(FIRST, FIRST + 50))
    framer = framer_for(FileFormat.MP3)
    units = [*framer.feed(data), *framer.flush()]

    assert [canary.number_of(unit.data) for unit in units] == list(range(FIRST, FIRST + 50))
    assert canary.live(canary.on_air(FIRST)) == FIRST


def test_what_was_recorded_as_it_was_sent_has_no_fault() -> None:
    verdict = compare([piece(0, 1250), piece(1250, 2500, late=200 * MS), piece(3000, 3100)])

    assert (verdict.frames, verdict.faults) == (1250 + 1250 + 100, 0)


def test_a_gap_in_the_account_may_miss_what_it_is_long() -> None:
    assert compare([piece(0, 100), piece(200, 300)]).faults == 0


def frames(*numbers: int) -> bytes:
    return b"".join(canary.frame(FIRST + number) for number in numbers)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([piece(0, 4, data=frames(0, 1, 3))], "follows"),
        ([piece(0, 4, data=frames(0, 1, 1, 2))], "follows"),
        ([piece(0, 4, data=frames(0, 2, 1, 3))], "follows"),
        ([piece(0, 4, data=frames(0, 1) + bytes(96) + frames(3))], "not one of the signal"),
        ([piece(0, 4, data=frames(0, 1, 2, 3)[:-1])], "not one of the signal"),
        ([piece(0, 4, data=b"")], "cannot be read"),
        ([Piece(canary.on_air(FIRST), canary.on_air(FIRST), None)], "cannot be read"),
        ([piece(0, 100, late=1100 * MS)], "off by 1.100 s"),
        ([piece(0, 100), piece(100, 200, data=frames(*range(101, 200)))], "are missing"),
        ([piece(0, 100), piece(90, 200)], "are missing"),
    ],
)
def test_whatever_is_not_so_is_a_fault(pieces: list[Piece], words: str) -> None:
    verdict = compare(pieces)

    assert verdict.faults > 0
    assert words in str(verdict.detail)


def test_what_was_compared_before_is_not_told_again_but_gone_on_from() -> None:
    spoiled = piece(0, 4, data=bytes(96) + frames(1, 2, 3))
    verdict = compare([spoiled, piece(4, 10)], is_first_known=True)

    assert (verdict.frames, verdict.faults) == (6, 0)
    assert compare([spoiled, piece(4, 10, data=frames(*range(5, 10)))], is_first_known=True).faults == 1
