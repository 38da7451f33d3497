"""Playlists: what they say, and what they may not make us do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.hls import playlist
from streamrec.recorder.hls.lists import ranked
from streamrec.recorder.hls.playlist import Key, Master, Media, Part, Variant

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n"
TAGS = [
    *(
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-TARGETDURATION:",
        "#EXTINF:4,",
        "#EXTINF:",
    ),
    *("#EXT-X-MEDIA-SEQUENCE:-1", "#EXT-X-MEDIA-SEQUENCE:x", "#EXT-X-DISCONTINUITY", "#EXT-X-GAP", "#EXTINF:nan,"),
    *(
        '#EXT-X-KEY:METHOD=AES-128,URI="k"',
        "#EXT-X-KEY:METHOD=AES-128",
        '#EXT-X-KEY:IV=0xzz,URI="k",METHOD=AES-128',
    ),
    *('#EXT-X-MAP:URI="i",BYTERANGE="5@x"', "#EXT-X-MAP:", "#EXT-X-BYTERANGE:5", "#EXT-X-BYTERANGE:5@0", "s.ts"),
    *("#EXT-X-STREAM-INF:BANDWIDTH=x", "#EXT-X-STREAM-INF:BANDWIDTH=1", "v.m3u8", "#EXT-X-PROGRAM-DATE-TIME:then"),
    *(
        "#EXT-X-ENDLIST",
        '#EXT-X-PART:DURATION=1,URI="p"',
        "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
        "#EXT-X-DATERANGE:ID=1",
    ),
    *('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n"', "#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES", "#EXT-X-CUE-OUT:x"),
    *("#EXT-X-TILES:", "#EXT-X-START:", "#EXT-X-PRELOAD-HINT:", "#EXT-X-RENDITION-REPORT:", "#EXT-X-BITRATE:x"),
    *("#EXT-X-SERVER-CONTROL:", "#EXT-X-PART-INF:", "#EXT-X-SESSION-DATA:", "#EXT-X-I-FRAME-STREAM-INF:"),
]


def media(text: str) -> Media:
    read = playlist.parse(text.encode())
    assert isinstance(read, Media)
    return read


def refusal(data: bytes) -> GapReason:
    with pytest.raises(Refused) as raised:
        playlist.parse(data)
    return raised.value.reason


@settings(deadline=None)
@given(st.lists(st.sampled_from(TAGS) | st.text(max_size=20), max_size=30))
def test_whatever_is_listed_is_read_or_refused(lines: list[str]) -> None:
    try:
        read = playlist.parse("\n".join(["#EXTM3U", *lines]).encode("utf-8", "replace"))
    except Refused:
        return
    if isinstance(read, Media):
        assert 0 < read.target <= playlist.LONGEST
        assert all(0 <= segment.duration <= playlist.LONGEST for segment in read.segments)
        numbers = [segment.sequence for segment in read.segments]
        assert numbers == sorted(set(numbers))


PLAIN = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "#EXT-X-DISCONTINUITY\n"]),
        st.sampled_from(["", "#EXT-X-PROGRAM-DATE-TIME:2026-11-26T15:22:26.275+0000\n"]),
        st.sampled_from(["#EXTINF:2,\n", "#EXTINF:2.000000,a title, more\n", "#EXTINF:9.96,\n", "#EXTINF:99,\n"]),
        st.sampled_from(["", "#EXT-X-PROGRAM-DATE-TIME:2026-02-26T15:22:26Z\n"]),
        st.sampled_from(["a.ts\n", "https://a.example/b/c.ts?d=e#f\n", "/x,y.ts\r\n", "a b.ts\n", "#EXTINF:1,\n"]),
    ),
)
HEADS = st.lists(
    st.sampled_from(
        ["#EXT-X-TARGETDURATION:2\n", "#EXT-X-MEDIA-SEQUENCE:1795706546\n", "#EXT-X-DISCONTINUITY-SEQUENCE:4\n"]
    )
)


@settings(deadline=None)
@given(HEADS, st.lists(PLAIN, max_size=4))
def test_a_plain_list_is_read_as_the_library_reads_it(head: list[str], entries: list[str]) -> None:
    """A comment means nothing, and makes a list one for the library."""
    text = "".join(["#EXTM3U\n", *head, *entries])

    assert read_or_refused(text) == read_or_refused(text + "# a comment\n")


def read_or_refused(text: str) -> object:
    try:
        return playlist.parse(text.encode())
    except Refused as exc:
        return exc.reason, exc.detail


@settings(deadline=None)
@given(st.binary(max_size=200).filter(lambda data: b"#EXTM3U" not in data))
def test_whatever_is_no_playlist_is_refused(data: bytes) -> None:
    assert refusal(data) is GapReason.NOT_MEDIA


@pytest.mark.parametrize("said", ["1970-01-01T00:00:00Z", "2031-07-01T00:00:00+14:00", "9999-99-99", ""])
def test_a_station_s_own_clock_changes_nothing(said: str) -> None:
    """F29: wrong by years, or no time at all; only differences of it are ever looked at."""
    plain = HEAD + "#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n"

    read = media(plain.replace("#EXTINF", f"#EXT-X-PROGRAM-DATE-TIME:{said}\n#EXTINF"))

    assert [segment._replace(said_at=None) for segment in read.segments] == list(media(plain).segments)


def test_ranges_follow_each_other() -> None:
    listed = "#EXT-X-BYTERANGE:{}\n#EXTINF:4,\na.ts\n"

    read = media(HEAD + listed.format("500@20") + listed.format("300") + listed.format("10@0"))

    assert [each.media for each in read.segments] == [
        Part("a.ts", 20, 500), Part("a.ts", 520, 300), Part("a.ts", 0, 10)]  # fmt: skip


def test_a_range_without_a_beginning_is_refused() -> None:
    listed = "#EXT-X-BYTERANGE:500\n#EXTINF:4,\na.ts\n"

    assert refusal((HEAD + listed).encode()) is GapReason.NOT_MEDIA


def test_the_number_is_the_vector_where_none_is_written() -> None:
    written = '#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x0102030405060708090a0b0c0d0e0f10\n#EXTINF:4,\nb.ts\n'

    read = media(HEAD + '#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:4,\na.ts\n' + written)

    assert [each.key for each in read.segments] == [
        Key("k", bytes(15) + b"\x07"), Key("k", bytes(range(1, 17)))]  # fmt: skip


def test_discontinuities_are_counted_on() -> None:
    listed = "#EXTINF:4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n"

    read = media(HEAD + "#EXT-X-DISCONTINUITY-SEQUENCE:3\n" + listed)

    assert [(each.sequence, each.discontinuities) for each in read.segments] == [(7, 3), (8, 4), (9, 4)]


def test_a_name_does_not_change_with_its_token() -> None:
    (one, two) = media(HEAD + "#EXTINF:4,\n/x/a.ts?t=1\n#EXTINF:4,\nhttps://cdn/y/a.ts?t=2\n").segments

    assert one.name == two.name


@pytest.mark.parametrize("seconds", ["61", "1e9", "inf", "-1"])
def test_segments_of_impossible_length_are_refused(seconds: str) -> None:
    refusal(f"{HEAD}#EXTINF:{seconds},\na.ts\n".encode())


def test_the_parts_of_an_unfinished_segment_are_not_listed() -> None:
    read = media(HEAD + '#EXTINF:4,\na.ts\n#EXT-X-PART:DURATION=1,URI="p"\n')

    assert [each.media.uri for each in read.segments] == ["a.ts"]


def test_a_rendition_with_an_address_has_the_sound_apart() -> None:
    lines = ['#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=YES,URI="a.m3u8"']
    lines += [
        '#EXT-X-STREAM-INF:BANDWIDTH=9,AUDIO="a"',
        "v.m3u8",
        '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"',
        "a.m3u8",
    ]

    read = playlist.parse("\n".join(["#EXTM3U", *lines]).encode())

    assert isinstance(read, Master)
    assert [each.sound_uri for each in read.variants] == ["a.m3u8", None]


def variant(bandwidth: int, codecs: str = "") -> Variant:
    return Variant(f"{bandwidth}.m3u8", bandwidth, codecs, None)


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, [3, 2, 1]), (2, [2, 1]), (1, [1]), (0, [1, 2, 3])], ids=str
)
def test_the_best_variant_below_the_limit_comes_first(limit: int | None, expected: list[int]) -> None:
    found = ranked([variant(2), variant(3), variant(1)], limit)

    assert [each.bandwidth for each in found] == expected


def test_a_variant_of_subtitles_is_none() -> None:
    assert ranked([variant(9, "wvtt"), variant(1, "mp4a.40.2,wvtt")], None) == [variant(1, "mp4a.40.2,wvtt")]
