"""Spans and their arithmetic."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.timeline import Span, merged, subtracted, total

EPOCH = datetime(2026, 11, 20, tzinfo=UTC)


def span(start: int, end: int) -> Span:
    """Seconds after the epoch of these tests."""
    return Span(EPOCH + timedelta(seconds=start), EPOCH + timedelta(seconds=end))


def seconds(spans: list[Span]) -> set[int]:
    """The whole seconds that `spans` cover: a second, slow and obvious account."""
    return {
        second
        for one in spans
        for second in range(int((one.start - EPOCH).total_seconds()), int((one.end - EPOCH).total_seconds()))
    }


spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: span(pair[0], pair[0] + pair[1])),
    max_size=8,
)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
def test_a_span_that_does_not_end_after_its_start_is_refused(start: int, end: int) -> None:
    """An empty or backwards span is a bug of its maker."""
    with pytest.raises(ValueError, match="must end after"):
        span(start, end)


def test_spans_that_touch_do_not_overlap() -> None:
    """Half-open: the end belongs to the next span."""
    assert not span(0, 5).overlaps(span(5, 9))


def test_clipping_outside_the_window_leaves_nothing() -> None:
    """What only touches the window is not in it."""
    assert span(0, 5).clipped(span(5, 9)) is None


def test_clipping_keeps_the_part_inside() -> None:
    """Both ends are cut to the window."""
    assert span(0, 9).clipped(span(3, 5)) == span(3, 5)


def test_touching_spans_merge_into_one() -> None:
    """Adjacent recordings are one stretch of time."""
    assert merged([span(5, 9), span(0, 5)]) == [span(0, 9)]


@given(spans)
def test_merging_keeps_exactly_the_seconds_covered(some: list[Span]) -> None:
    """The union is disjoint, sorted and covers what its parts cover."""
    union = merged(some)

    assert seconds(union) == seconds(some)
    assert all(left.end < right.start for left, right in itertools.pairwise(union))


@given(spans, spans)
def test_subtracting_leaves_the_seconds_that_no_hole_covers(some: list[Span], holes: list[Span]) -> None:
    """Subtraction agrees with set difference second by second."""
    assert seconds(subtracted(some, holes)) == seconds(some) - seconds(holes)


@given(spans)
def test_the_total_counts_no_second_twice(some: list[Span]) -> None:
    """Overlaps count once."""
    assert total(some) == timedelta(seconds=len(seconds(some)))
