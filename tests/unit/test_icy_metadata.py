"""Media in, media out: what SHOUTcast puts between is told and leaves no trace, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.events import Title
from streamrec.recorder.sources.metadata import IcySplitter


def block(text: bytes) -> bytes:
    """A block as a server writes it."""
    count = -(-len(text) // 16)
    return bytes([count]) + text.ljust(count * 16, b"\0")


def titled(text: str) -> bytes:
    return block(b"StreamTitle='" + text.encode() + b"';StreamUrl='';")


def woven(media: bytes, interval: int, blocks: list[bytes]) -> bytes:
    """Media with a block after every `interval` bytes; empty ones once `blocks` are used up."""
    pieces, rest = [], list(blocks)
    for start in range(0, len(media), interval):
        piece = media[start : start + interval]
        pieces += [piece, (rest.pop(0) if rest else b"\0") if len(piece) == interval else b""]
    return b"".join(pieces)


def split(splitter: IcySplitter, data: bytes, cuts: list[int]) -> tuple[bytes, list[Title]]:
    media, titles = b"", []
    for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]):
        piece, found = splitter.feed(data[start:end])
        media += piece
        titles += found
    return media, titles


titles = st.text(st.characters(exclude_characters="'\0", exclude_categories=["Cs"]), max_size=60)


@given(
    st.binary(min_size=1, max_size=300),
    st.integers(1, 80),
    st.lists(titles, max_size=4),
    st.lists(st.integers(0, 900)),
)
def test_media_comes_out_whole_however_it_is_cut(media: bytes, interval: int, texts: list[str], cuts: list[int]):
    """Titles are told once each time they change, at the byte where they stood."""
    texts = texts[: len(media) // interval]
    expected, last = [], None
    for number, text in enumerate(texts, 1):
        if text != last:
            expected.append(Title(text, number * interval))
        last = text

    found = split(IcySplitter(interval), woven(media, interval, [titled(text) for text in texts]), cuts)

    assert found == (media, expected)


@given(st.binary(max_size=2000), st.integers(1, 100), st.lists(st.integers(0, 2000)))
def test_no_bytes_are_too_strange(data: bytes, interval: int, cuts: list[int]):
    """Nothing is raised, and nothing is invented."""
    media, _ = split(IcySplitter(interval), data, cuts)

    assert len(media) <= len(data)


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b"StreamTitle='It's a ';' day';StreamUrl='x';", "It's a ';' day"),
        (b"StreamTitle='caf\xe9 \x93q\x94';", "café “q”"),
        ("StreamTitle='Жук';".encode(), "Жук"),
        (b"StreamTitle='no end'", "no end"),
        (b"StreamTitle='';StreamUrl='u';", ""),
        (b"StreamTitle='a\0b\x1b[31m';", "a\0b\x1b[31m"),
        (b"StreamTitle='" + b"x" * 4063 + b"';", "x" * 4063),
    ],
)
def test_titles_are_read_as_stations_write_them(raw: bytes, title: str):
    """Apostrophes, other encodings, and the longest there is."""
    media, found = IcySplitter(4).feed(b"abcd" + block(raw) + b"efgh")

    assert (media, found) == (b"abcdefgh", [Title(title, 4)])


MEDIA = bytes(range(256)) * 40


def test_a_promise_of_metadata_that_is_not_kept_costs_nothing():
    """The header says 100, and there is none."""
    splitter = IcySplitter(100)

    media, _ = splitter.feed(MEDIA)

    assert media == MEDIA[: len(media)]
    assert len(MEDIA) - len(media) <= 16


@pytest.mark.parametrize(("real", "unseen"), [(700, 1), (1300, 0)])
def test_a_lying_interval_costs_no_more_than_its_blocks(real: int, unseen: int):
    """Blocks behind the first lie are found by their text; an empty one leaves its one byte."""
    blocks = [titled("One"), titled("Two"), b"\0", titled("Three")]

    media, found = split(IcySplitter(1000), woven(MEDIA, real, blocks), list(range(0, 20_000, 333)))

    assert [title.text for title in found] == ["One", "Two", "Three"][unseen:]
    assert media.count(b"StreamTitle") == unseen
    assert len(media) <= len(MEDIA) + unseen * len(blocks[0]) + len(MEDIA) // real
