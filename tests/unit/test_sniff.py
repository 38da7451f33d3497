"""What a body is, and when one stream has become another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.recorder.sources import frames, stations
from streamrec.recorder.sources.frames import AAC, MP3, Constancy
from streamrec.recorder.sources.sniff import ENOUGH_BYTES, Kind, kind_of
from tests.samples import sample


@pytest.mark.parametrize("name", ["mp3.mp3", "vbr.mp3", "aac.aac"])
@settings(deadline=None)  # the first example makes the sample
@given(start=st.integers(0, 5000))
def test_frames_are_recognised_from_anywhere_in_them(name: str, start: int):
    """A listener comes in the middle."""
    data = sample(name)[start : start + 16_384]

    assert kind_of(data, is_whole=False) is Kind.FRAMES


@pytest.mark.parametrize("name", ["layer2.mp3", "radio.ts", "tv.ts", "tv.mp4", "opus.mp4", "flac.mp4", "hevc.ts"])
def test_everything_else_is_for_ffmpeg(name: str):
    """Containers by their first bytes, the rest once it has had its chance."""
    assert kind_of(sample(name)[:ENOUGH_BYTES], is_whole=False) is Kind.MEDIA


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", Kind.HLS),
        (b"\xef\xbb\xbf#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\na", Kind.HLS),
        (b"#EXTM3U\n#EXTINF:-1,A\nhttp://a.example/\n", Kind.PLAYLIST),
        (b"http://a.example/\n", Kind.PLAYLIST),
        (b"[Playlist]\nFile1=http://a.example/\n", Kind.PLAYLIST),
        (b'<?xml version="1.0"?>\n<!-- a --><MPD xmlns="urn">', Kind.MANIFEST),
        (b"<html>", Kind.TEXT),
        (b'<?xml version="1.0"?><error/>', Kind.TEXT),
        (b"No such mount", Kind.TEXT),
        (b"", Kind.TEXT),
        (b"OggS\0\2", Kind.MEDIA),
        (b"\0\1\2\3", Kind.MEDIA),
    ],
)
def test_a_whole_body_is_something(data: bytes, kind: Kind):
    """Playlists, manifests, pages and what might be media."""
    assert kind_of(data, is_whole=True) is kind


@given(st.binary(max_size=2000))
def test_no_bytes_are_frames_by_chance(data: bytes):
    """Four headers in a row do not happen."""
    assert kind_of(data, is_whole=True) is not Kind.FRAMES


@pytest.mark.parametrize("data", [b"#EXTM3U\n", b"<?xml", b"\xff\xfb\x94\xc0", b"Sor", b"<html>"])
def test_too_little_is_waited_for(data: bytes):
    """More will come."""
    assert kind_of(data, is_whole=False) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[playlist]\nfile2 = b \nNumberOfEntries=2\nFile1=http://a/\nTitle1=x", ["b", "http://a/"]),
        (b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:1,x\r\n http://a/ \r\n\r\nb\r\n", ["http://a/", "b"]),
        (b"#EXTM3U\n", []),
        (b"a\n" * 100, ["a"] * 20),
    ],
)
def test_playlists_are_read_as_they_are_written(data: bytes, expected: list[str]):
    """In any case, with spaces, and not without end."""
    assert stations.entries(data) == expected


def constancy(name: str) -> Constancy:
    row = frames.recognised(sample(name))
    assert row is not None
    return Constancy(row)


@pytest.mark.parametrize("name", ["mp3.mp3", "vbr.mp3", "aac.aac"])
@settings(deadline=None)
@given(step=st.integers(300, 20_000))
def test_a_stream_that_goes_on_is_no_change(name: str, step: int):
    """However it is cut."""
    watch, data = constancy(name), sample(name)

    assert [watch.change(data[at : at + step]) for at in range(0, len(data), step)].count(None) == -(
        -len(data) // step
    )


@pytest.mark.parametrize(
    ("before", "after"), [("mp3.mp3", "aac.aac"), ("aac.aac", "mp3.mp3"), ("mp3.mp3", "vbr.mp3")]
)
def test_another_codec_or_rate_is_cut_off_where_it_begins(before: str, after: str):
    """In one chunk, at the very byte."""
    watch, new = constancy(before), sample(after)[:20_000]

    found = watch.change(sample(before) + new)

    assert found == (sample(before), new)
    assert watch.kind.codec is (AAC if after.endswith("aac") else MP3)


def test_the_speed_is_learned_from_frames():
    """128 kb/s are 16,000 bytes a second."""
    assert constancy("mp3.mp3").bytes_per_second == pytest.approx(16_000, rel=0.01)
