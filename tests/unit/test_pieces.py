"""Indexes keep what they were given, and places follow each other."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.archive import pieces
from streamrec.archive.pieces import Builder, Neighbour, Place
from tests.factories import T0, at

STEPS = st.lists(st.tuples(st.integers(1, 10_000_000), st.integers(1, 20_000_000)), max_size=30)


@given(STEPS, st.binary(max_size=100))
def test_pieces_follow_each_other_from_the_header_to_the_end(steps: list[tuple[int, int]], header: bytes) -> None:
    builder = Builder(T0, header)
    size, since = len(header), 0
    for more, later in steps:
        size, since = size + more, since + later
        builder.end_piece(size, T0 + timedelta(microseconds=since))

    index = pieces.decoded(builder.index().encoded())

    assert [(piece.size_bytes, piece.duration) for piece in index] == steps
    assert index.count == len(steps)
    assert (index.size_bytes, index.length) == (size, timedelta(microseconds=since))
    assert all(a.offset + a.size_bytes == b.offset and a.since + a.duration == b.since for a, b in pairwise(index))


def test_a_piece_without_bytes_is_none() -> None:
    builder = Builder(T0, b"head")
    for size, seconds in ((4, 1), (10, 4), (10, 5)):
        builder.end_piece(size, at(seconds))

    assert [piece.size_bytes for piece in builder.index()] == [6]


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(12)])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an index"):
        pieces.decoded(data)


@pytest.mark.parametrize(
    ("seconds", "parts"), [(0, 0), (-5, 0), (0.05, 0), (0.2, 1), (6, 1), (6.05, 1), (6.2, 2), (3600, 600)]
)
def test_a_gap_is_told_in_parts_of_six_seconds(seconds: float, parts: int) -> None:
    assert pieces.gap_parts(at(0), at(seconds)) == parts


def test_another_header_is_a_break() -> None:
    run = uuid4()
    before = Neighbour(run, at(0), at(8), pieces.Index(10, 77, bytes(16)), Place(5, 1))

    assert pieces.place_after(before, run, at(8), 77) == Place(7, 1)
    assert pieces.place_after(before, run, at(8), 78) == Place(7, 2)
    assert pieces.place_after(None, run, at(8), 78) == Place(0, 0)
