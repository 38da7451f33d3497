"""Indexes and a range become a playlist: everything in order, once, with its length and its number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from streamrec.archive import pieces
from streamrec.archive.pieces import Builder
from streamrec.models import FileFormat, Store
from streamrec.timeline import Span
from streamrec.timeshift import catalogue, playlist
from streamrec.timeshift.plan import Plan, Source, micros, plan
from tests.factories import T0, at

RUN = UUID(int=1)
FILE = st.tuples(
    st.lists(st.integers(1_000, 12_400_000), min_size=1, max_size=8),  # microseconds of each piece
    st.sampled_from([0, 0, 0, 50_000, 150_000, 7_000_000, 3_600_000_000]),  # of the gap before it
    st.booleans(),  # whether it begins a run
)


FILES = st.lists(FILE, min_size=1, max_size=6)
Raw = Sequence[tuple[Sequence[int], int, bool]]


def source(
    start: datetime, lengths: Sequence[int], run_id: UUID = RUN, form: FileFormat = FileFormat.MP3
) -> Source:
    builder = Builder(start, b"header" if form is FileFormat.MP4 else b"")
    since, size = 0, len(builder.header)
    for number, length in enumerate(lengths):
        since, size = since + length, size + 100 + number
        builder.end_piece(size, start + timedelta(microseconds=since))
    end = start + timedelta(microseconds=since)
    return Source(uuid4(), run_id, form, start, end, builder.index(), None)


def placed(files: Raw) -> list[Source]:
    """A channel's recordings, each in its place, as the recorder's rows have them."""
    made: list[Source] = []
    run, end = RUN, T0
    for lengths, gap, is_new_run in files:
        run = uuid4() if is_new_run or gap >= 150_000 else run
        one = source(end + timedelta(microseconds=gap), lengths, run)
        before = made[-1].neighbour() if made else None
        made.append(replace(one, place=pieces.place_after(before, run, one.start_time, one.index.header_crc)))
        end = one.end_time
    return made


def whole(files: Sequence[Source]) -> Plan:
    return plan(files, Span(files[0].start_time, files[-1].end_time))


@given(FILES)
def test_all_time_is_told_once_and_in_order(raw: Raw) -> None:
    """From the first file's start to the last one's end, but for holes too short to tell."""
    files = placed(raw)
    found = whole(files).entries

    assert found[0].since == micros(files[0].start_time)
    assert found[-1].since + found[-1].duration == micros(files[-1].end_time)
    assert all(0 <= b.since - (a.since + a.duration) < 100_000 for a, b in pairwise(found))


@given(FILES)
def test_every_byte_of_every_file_is_in_one_piece(raw: Raw) -> None:
    files = placed(raw)
    found = whole(files).entries

    for file in files:
        bounds = [(e.offset, e.offset + e.size_bytes) for e in found if e.source is file]
        assert bounds[0][0] == file.index.header_bytes
        assert bounds[-1][1] == file.index.size_bytes
        assert all(a[1] == b[0] for a, b in pairwise(bounds))


@given(FILES, st.integers(0, 60_000), st.integers(1, 60_000))
def test_a_window_has_what_overlaps_it_under_the_same_numbers(raw: Raw, start: int, length: int) -> None:
    """A player that follows a window finds each piece under the number that it had before."""
    files, window = placed(raw), Span(at(start / 1000), at((start + length) / 1000))
    everything = whole(files)

    found = plan(files, window)

    lower, upper = micros(window.start), micros(window.end)
    inside = [e for e in everything.entries if e.since + e.duration > lower and e.since < upper]
    assert list(found.entries) == inside
    if inside:
        number = everything.entries.index(inside[0])
        assert found.place.number == everything.place.number + number
        breaks = sum(entry.is_break for entry in everything.entries[1 : number + 1])
        assert found.place.discontinuity == everything.place.discontinuity + breaks


@given(FILES, st.data())
def test_numbers_stay_when_old_files_leave_the_window(raw: Raw, data: st.DataObject) -> None:
    """Rows that are no longer read change nothing: a file's place is kept with it."""
    files = placed(raw)
    first = data.draw(st.integers(0, len(files) - 1))
    window = Span(files[first].start_time, files[-1].end_time)

    assert plan(files[first:], window).place == plan(files, window).place


@given(FILES, st.data())
def test_files_that_are_lost_are_gaps_where_they_were(raw: Raw, data: st.DataObject) -> None:
    """What lies between them is told as before, and all time still once and in order."""
    files = placed(raw)
    inner = range(1, len(files) - 1)
    lost = data.draw(st.sets(st.sampled_from(inner))) if inner else set()
    left = [file for number, file in enumerate(files) if number not in lost]
    span = Span(files[0].start_time, files[-1].end_time)

    found = plan(left, span).entries

    assert all(0 <= b.since - (a.since + a.duration) < 100_000 for a, b in pairwise(found))
    before = [(e.since, e.offset, e.size_bytes) for e in plan(files, span).entries if e.source in left]
    assert [(e.since, e.offset, e.size_bytes) for e in found if e.source is not None] == before
    for number in lost:
        start, end = micros(files[number].start_time), micros(files[number].end_time)
        inside = [e for e in found if e.since < end and e.since + e.duration > start]
        assert all(e.source is None for e in inside)
        assert inside or end - start < 100_000


@given(FILES)
def test_no_length_exceeds_the_target(raw: Raw) -> None:
    """RFC 8216, 4.3.3.1: rounded to whole seconds."""
    files = placed(raw)
    found = whole(files)
    text = playlist.written(found, is_live=True)

    target = int(re.findall(r"#EXT-X-TARGETDURATION:(\d+)", text)[0])
    assert all(float(length) < target + 0.5 for length in re.findall(r"#EXTINF:([0-9.]+),", text))
    assert len(re.findall(r"#EXT-X-PROGRAM-DATE-TIME:", text)) == len(found.entries)


def test_a_gap_is_a_break_with_its_own_entries() -> None:
    first = source(at(0), [4_000_000, 5_000_000])
    second = source(at(19), [4_000_000], uuid4())

    text = playlist.written(plan([first, second], Span(at(0), at(60))), is_live=False, query="?access=x")

    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:8",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-01T12:00:00.000Z",
        "#EXTINF:4.00000,",
        "#EXT-X-BYTERANGE:100@0",
        f"media/{first.uuid}.0.mp3?access=x",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-01T12:00:04.000Z",
        "#EXTINF:5.00000,",
        "#EXT-X-BYTERANGE:101@100",
        f"media/{first.uuid}.100.mp3?access=x",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-01T12:00:09.000Z",
        "#EXTINF:6.00000,",
        "#EXT-X-GAP",
        "#EXT-X-BYTERANGE:10@0",
        "media/gap.mp3?access=x",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-01T12:00:15.000Z",
        "#EXTINF:4.00000,",
        "#EXT-X-GAP",
        "#EXT-X-BYTERANGE:10@0",
        "media/gap.mp3?access=x",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-01T12:00:19.000Z",
        "#EXTINF:4.00000,",
        "#EXT-X-BYTERANGE:100@0",
        f"media/{second.uuid}.0.mp3?access=x",
        "#EXT-X-ENDLIST",
    ]


def test_an_mp4_header_stands_where_it_changes() -> None:
    run = uuid4()
    starts = ((at(0), RUN), (at(4), RUN), (at(8), run))
    files = [source(start, [4_000_000], each, FileFormat.MP4) for start, each in starts]

    text = playlist.written(plan(files, Span(at(0), at(60))), is_live=False)

    assert [line for line in text.splitlines() if "MAP" in line or "DISCONTINUITY" in line] == [
        f'#EXT-X-MAP:URI="media/{files[0].uuid}.mp4",BYTERANGE="6@0"',
        "#EXT-X-DISCONTINUITY",
        f'#EXT-X-MAP:URI="media/{files[2].uuid}.mp4",BYTERANGE="6@0"',
    ]


def test_an_outage_goes_on_in_whole_parts() -> None:
    """A live list grows while nothing comes, and the numbers hold when something comes again."""
    first = source(at(0), [4_000_000])
    second = source(at(30), [4_000_000], uuid4())

    during = plan([first], Span(at(0), at(60)), gap_until=at(27))
    after = plan([first, second], Span(at(0), at(60)))

    assert [entry.since for entry in during.entries] == [micros(at(s)) for s in (0, 4, 10, 16)]
    assert [e[:2] for e in after.entries[:4]] == [e[:2] for e in during.entries]


def test_what_two_recorders_have_of_the_same_time_is_told_once() -> None:
    """The file that is being written may begin before the other recorder's last one ends."""
    first = source(at(0), [4_000_000, 4_000_000])
    growing = source(at(3), [4_000_000], uuid4())

    found = plan([first, growing], Span(at(0), at(60))).entries

    assert [entry.since for entry in found] == [micros(at(s)) for s in (0, 4)]


def closed(number: int, lengths: Sequence[int]) -> catalogue.Closed:
    made = source(T0, lengths)
    size = made.index.size_bytes
    place = ("a.mp3", FileFormat.MP3, made.start_time, made.end_time, size, Store.LOCAL, None)
    return catalogue.Closed(number, made.uuid, RUN, *place, made.index.encoded(), 0, 0)


def test_what_is_kept_of_a_recording_holds_for_its_version_alone() -> None:
    kept, row = catalogue.Kept(10), closed(1, [4_000_000])

    kept.add(("7", "8", row.size_bytes), row)

    assert kept.get(1, ("7", "8", row.size_bytes)) is row
    assert kept.get(1, ("9", "8", row.size_bytes)) is None
    assert kept.source(row) is kept.source(row)


def test_no_more_is_kept_than_so_many_pieces() -> None:
    kept, rows = catalogue.Kept(10), [closed(number, [4_000_000] * 4) for number in range(4)]

    for row in rows:
        kept.add(("7", "8", 1), row)

    assert [kept.get(row.id, ("7", "8", 1)) is row for row in rows] == [False, False, True, True]


@given(raw=FILES, access=st.text("abc-_", min_size=1, max_size=9))
def test_every_address_of_a_signed_list_carries_its_access_and_nothing_else_differs(raw: Raw, access: str) -> None:
    made = whole(placed(raw))
    query = f"?access={access}"

    signed = playlist.written(made, is_live=False, query=query)

    addresses = [line for line in signed.splitlines() if line.startswith("media/")]
    assert all(address.endswith(query) for address in addresses)
    assert len(addresses) == len(made.entries)
    assert signed.replace(query, "") == playlist.written(made, is_live=False)
