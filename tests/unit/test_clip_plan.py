"""Plans of clips: every moment of the range is in one part, whatever was recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.clips.plan import SEAM, Source, planned, stretches
from streamrec.clips.recipes import ClipFormat, recipe
from streamrec.errors import Invalid
from streamrec.framing import index
from streamrec.models import FileFormat
from streamrec.timeline import Span
from tests import samples

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def at(milliseconds: int) -> datetime:
    return T0 + timedelta(milliseconds=milliseconds)


def source(number: int, start: int, end: int) -> Source:
    span = Span(at(start), at(end))
    return Source(number, f"k{number}", span, 1, "ab" * 32, FileFormat.MP3, "mp3", uuid4())


@st.composite
def archives(draw: st.DrawFn) -> list[Source]:
    """Recordings in any order that do not overlap, some of which meet."""
    ends = sorted(draw(st.lists(st.integers(0, 20_000), min_size=2, max_size=12, unique=True)))
    kept = [pair for pair in pairwise(ends) if draw(st.booleans())]
    return draw(st.permutations([source(number, *pair) for number, pair in enumerate(kept)]))


@st.composite
def windows(draw: st.DrawFn) -> Span:
    start = draw(st.integers(0, 19_999))
    return Span(at(start), at(draw(st.integers(start + 1, 20_000))))


@given(archives(), windows())
def test_the_parts_are_the_window(sources: list[Source], window: Span) -> None:
    """Parts follow each other, at most a seam apart, and nothing of a recording in the window is left out."""
    plan = planned(sources, window)

    spans = [part if isinstance(part, Span) else part.span for part in plan.parts]
    assert spans[0].start - window.start <= SEAM
    assert window.end - spans[-1].end <= SEAM
    assert all(timedelta() <= after.start - before.end <= SEAM for before, after in pairwise(spans))
    taken = sum((take.span.duration for take in plan.takes), timedelta())
    clipped = [each.span.clipped(window) for each in sources]
    assert taken == sum((span.duration for span in clipped if span is not None), timedelta())


def test_the_start_time_that_the_api_shows_takes_in_nothing_of_the_recording_before() -> None:
    """It is cut off to milliseconds, and so lies in the one before."""
    seam = at(1000) + timedelta(microseconds=456)
    before, wanted = source(1, 0, 1000), source(2, 1001, 2000)
    before = replace(before, span=Span(before.span.start, seam))
    wanted = replace(wanted, span=Span(seam, wanted.span.end))

    plan = planned([before, wanted], Span(at(1000), at(2000)))

    assert [(take.source.recording_id, take.is_whole) for take in plan.takes] == [(2, True)]
    assert plan.holes == []


@given(archives(), windows())
def test_a_recording_inside_the_window_is_taken_whole(sources: list[Source], window: Span) -> None:
    for take in planned(sources, window).takes:
        inside = window.start <= take.source.span.start and take.source.span.end <= window.end
        assert take.is_whole == inside


@given(st.binary(max_size=2000), st.sampled_from([FileFormat.MP3, FileFormat.AAC]))
def test_bytes_that_are_no_frames_have_an_index_too(data: bytes, file_format: FileFormat) -> None:
    frames = index.indexed(data, file_format)

    assert len(frames.offsets) == len(frames) + 1
    assert frames.offsets == sorted(frames.offsets)
    assert all(0 <= offset <= len(data) for offset in frames.offsets)


@pytest.mark.parametrize("name", ["mp3.mp3", "vbr.mp3", "aac.aac"])
def test_the_index_knows_the_frames_that_the_framer_finds(name: str) -> None:
    units, _ = samples.framed(samples.format_of(name), [samples.sample(name)])
    data = b"".join(unit.data for unit in units)

    frames = index.indexed(data, samples.format_of(name))

    assert [data[a:b] for a, b in pairwise(frames.offsets)] == [unit.data for unit in units]
    assert [b - a for a, b in pairwise(frames.starts)] == [unit.duration for unit in units]


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_frames_are_found_in_order_of_time(first: int, second: int) -> None:
    """A later fraction never gives an earlier frame."""
    frames = index.Frames(range(8), [0, 3, 4, 8, 9, 14, 23, 25])
    early, late = sorted((first, second))

    assert frames.at(Fraction(early, 1000)) <= frames.at(Fraction(late, 1000))
    assert frames.at(Fraction(0)) == 0
    assert frames.at(Fraction(1)) == len(frames)


@given(archives(), st.data())
def test_a_stretch_is_of_one_run_and_without_a_hole(sources: list[Source], data: st.DataObject) -> None:
    runs = [uuid4(), uuid4()]
    of_runs = [replace(source, run_id=data.draw(st.sampled_from(runs))) for source in sources]
    takes = planned(of_runs, Span(at(0), at(20_000))).takes

    found = stretches(takes)

    assert [take for stretch in found for take in stretch] == takes
    meets = [all(b.span.start - a.span.end <= SEAM for a, b in pairwise(stretch)) for stretch in found]
    assert all(meets)
    assert all(len({take.source.run_id for take in stretch}) == 1 for stretch in found)
    assert all(
        b[0].source.run_id != a[0].source.run_id or b[0].span.start - a[-1].span.end > SEAM
        for a, b in pairwise(found)
    )


def test_bytes_are_copied_where_the_formats_are_the_same() -> None:
    assert recipe(FileFormat.MP3, "mp3", ClipFormat.MP3, exact=False).coding is None
    assert recipe(FileFormat.TS, "h264+aac", ClipFormat.TS, exact=False).coding is None


@pytest.mark.parametrize(
    ("codecs", "wanted", "exact", "lossless"),
    [
        ("h264+aac", "mp4", False, True),
        ("h264+aac", "mp4", True, False),
        ("h264+aac", "m4a", False, True),
        ("h264+aac", "wav", False, True),
        ("h264+aac", "mp3", False, False),
        ("h264+mp2", "mkv", False, True),
    ],
)
def test_a_recipe_says_whether_anything_is_lost(codecs: str, wanted: str, exact: bool, lossless: bool) -> None:
    assert recipe(FileFormat.TS, codecs, ClipFormat(wanted), exact=exact).is_lossless == lossless


def test_there_is_no_sound_of_a_silent_station() -> None:
    with pytest.raises(Invalid):
        recipe(FileFormat.TS, "h264", ClipFormat.MP3, exact=False)
