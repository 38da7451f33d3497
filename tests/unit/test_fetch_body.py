"""Bodies, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.fetch.body import BadBody, Body, Chunked, Plain, Sized, body_of
from streamrec.recorder.fetch.head import parse


def fed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    """What `body` makes of `data` when it comes in pieces that end at `cuts`."""
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return b"".join(body.feed(data[a:b]) for a, b in itertools.pairwise(bounds))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 400)), st.booleans())
def test_chunks_are_joined_however_they_are_cut(pieces: list[bytes], cuts: list[int], has_trailer: bool):
    """Content out as content in, and nothing of what comes behind it."""
    coded = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    trailer = b"X-Trailer: 1\r\n" if has_trailer else b""
    body = Chunked()

    found = fed(body, coded + b"0\r\n" + trailer + b"\r\nnext", cuts)

    assert found == b"".join(pieces)
    assert body.is_complete


@pytest.mark.parametrize(
    "data", [b"xyz\r\n", b"-1\r\n", b"\r\n", b"1" * 16 + b"\r\n", b"1" * 5000, b"1\r\na!\r\n"]
)
def test_chunks_that_are_none_are_refused(data: bytes):
    """Nothing after them can be trusted."""
    with pytest.raises(BadBody):
        Chunked().feed(data)


@given(st.binary(max_size=200), st.integers(0, 200), st.lists(st.integers(0, 200)))
def test_a_length_is_kept_to(data: bytes, length: int, cuts: list[int]):
    """And known to be reached."""
    body = Sized(length)

    assert fed(body, data, cuts) == data[:length]
    assert body.is_complete == (len(data) >= length)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (b"", Plain),
        (b"Content-Length: 5", Sized),
        (b"Content-Length: many", Plain),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", Chunked),
        (b"Transfer-Encoding: gzip, Chunked", Chunked),
    ],
)
def test_the_head_says_how_a_body_was_sent(fields: bytes, kind: type):
    """Chunks go before a length."""
    parsed = parse(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n")

    assert parsed is not None
    assert isinstance(body_of(parsed[0]), kind)
