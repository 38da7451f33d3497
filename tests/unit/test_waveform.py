"""Waveforms of ranges: each bin of a recording counts in the pixel in which it begins, and gaps are flat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from streamrec.pictures.waveform import Part, waveform
from streamrec.timeline import Span

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def loud(count: int, high: int = 100) -> bytes:
    """So many hundredths of a second."""
    return bytes([256 - high, high]) * count


def test_a_recording_over_the_whole_range_fills_every_pixel() -> None:
    found = waveform(Span(T0, T0 + seconds(10)), 10, [Part(T0, loud(1000))])

    assert found.pairs == [(-100, 100)] * 10
    assert found.samples_per_pixel == 48_000


def test_a_gap_is_flat() -> None:
    parts = [Part(T0, loud(300)), Part(T0 + seconds(6), loud(400))]

    found = waveform(Span(T0, T0 + seconds(10)), 10, parts)

    assert [high for _, high in found.pairs] == [100] * 3 + [0] * 3 + [100] * 4


def test_a_recording_that_began_before_the_range_is_cut() -> None:
    part = Part(T0 - seconds(5), loud(500, 10) + loud(200, 99))

    found = waveform(Span(T0, T0 + seconds(4)), 4, [part])

    assert [high for _, high in found.pairs] == [99, 99, 0, 0]


def test_the_loudest_bin_of_a_pixel_wins() -> None:
    part = Part(T0, loud(99, 10) + loud(1, 120) + loud(100, 5))

    assert waveform(Span(T0, T0 + seconds(2)), 2, [part]).pairs == [(-120, 120), (-5, 5)]


@given(
    st.integers(1, 3000),
    st.integers(1, 400),
    st.lists(st.tuples(st.integers(-2000, 4000), st.integers(0, 600)), max_size=5),
)
def test_any_range_and_any_parts_give_as_many_pixels_as_asked_for(
    hundredths: int, pixels: int, parts: list[tuple[int, int]]
) -> None:
    given_parts = [Part(T0 + seconds(start / 100), loud(count)) for start, count in parts]

    found = waveform(Span(T0, T0 + seconds(hundredths / 100)), pixels, given_parts)

    assert len(found.pairs) == pixels
    assert {high for _, high in found.pairs} <= {0, 100}
    assert len(found.document()["data"]) == 2 * pixels


def test_a_drawing_is_well_formed_and_has_a_line_for_each_pixel() -> None:
    drawn = waveform(Span(T0, T0 + seconds(3)), 30, [Part(T0, loud(100))]).svg()

    path = ElementTree.fromstring(drawn).find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    assert path.attrib["d"].count("M") == 30
