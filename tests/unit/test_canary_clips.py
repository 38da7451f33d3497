"""Clips of the canary: the stretches that are drawn, and what is told of a clip that is not the signal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec import canary
from streamrec.canary import FRAME
from streamrec.canary_clips import FARTHEST, Clip, Part, compare, drawn
from streamrec.timeline import Span

FIRST = 74_000_000_000
MS = timedelta(milliseconds=1)
LATE = 300 * MS  # of the account, as of most


def span(start: float, end: float) -> Span:
    """The time of frames `[start, end)` after FIRST, as the account has it."""
    return Span(*(canary.on_air(FIRST) + at * FRAME + LATE for at in (start, end)))


PARTS = [Part(span(0, 100), 100, FIRST), Part(span(100, 200), 100, FIRST + 100)]


def clip(*numbers: int) -> Clip:
    """A clip of frames 50 to 149, that holds these."""
    data = b"".join(canary.frame(FIRST + number) for number in numbers)
    return Clip(span(49.5, 149.5), 2.4, sha256(data).hexdigest(), data)


def test_the_frames_that_begin_in_the_window_are_without_fault() -> None:
    verdict = compare(clip(*range(50, 150)), PARTS)

    assert (verdict.frames, verdict.faults, verdict.detail) == (100, 0, None)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([*range(50, 99), *range(100, 150)], "follows 74000000098"),
        ([*range(50, 100), *range(99, 150)], "follows 74000000099"),
        ([*range(50, 98), 99, 98, *range(100, 150)], "follows 74000000097"),
        (range(51, 150), "are 74000000051 to 74000000149, and should be 74000000050 to 74000000149"),
        (range(49, 150), "are 74000000049"),
        (range(49, 149), "are 74000000049 to 74000000148"),
        (range(50, 149), "to 74000000148, and"),
        (range(50, 151), "to 74000000150, and"),
        ([], "are none"),
    ],
)
def test_a_clip_of_other_frames_is_told(numbers: list[int], words: str) -> None:
    assert words in str(compare(clip(*numbers), PARTS).detail)


def test_a_bit_that_is_another_is_told() -> None:
    data = bytearray(clip(*range(50, 150)).data)
    data[96 * 7 + 95] ^= 1
    altered = replace(clip(), data=bytes(data), sha256=sha256(data).hexdigest())

    assert compare(altered, PARTS).detail == (
        f"Frame 7 of the clip of {altered.window.start:%Y-%m-%d %H:%M:%S} UTC is not one of the signal."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"sha256": "0" * 64}, "another SHA-256"), ({"seconds": 2.43}, "told as 2.430 s, and is 2.400 s")],
)
def test_a_row_that_says_something_else_is_told(changes: dict[str, object], words: str) -> None:
    assert words in str(compare(replace(clip(*range(50, 150)), **changes), PARTS).detail)


@pytest.mark.parametrize("parts", [[], [PARTS[0], replace(PARTS[1], first=None)]])
def test_a_clip_whose_recordings_cannot_be_read_is_told(parts: list[Part]) -> None:
    assert "cannot be told" in str(compare(clip(*range(50, 150)), parts).detail)


@given(st.integers(), st.lists(st.integers(5, 5000), min_size=2, max_size=5))
def test_a_stretch_has_a_frame_on_each_side_of_a_border_and_stays_in_the_files(seed: int, ends: list[int]) -> None:
    sums = [sum(ends[:count]) for count in range(len(ends) + 1)]
    files = [span(*pair) for pair in pairwise(sums)]

    stretch = drawn(files, Random(seed))

    assert stretch is not None
    assert files[0].start <= stretch.start < stretch.end <= files[-1].end
    assert stretch.duration <= 2 * FARTHEST
    assert any(stretch.start <= file.start - FRAME and file.start + FRAME <= stretch.end for file in files)


@pytest.mark.parametrize("files", [[], [span(0, 100)], [span(0, 100), span(101, 200)]])
def test_files_that_do_not_meet_have_no_stretch(files: list[Span]) -> None:
    assert drawn(files, Random(1)) is None
