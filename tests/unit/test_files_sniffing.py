"""What stored files are, by their first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.files.sniffing import UNKNOWN, media_type

TS = (b"\x47" + bytes(187)) * 3


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" * 4, "audio/mpeg"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"fLaC\x00\x00\x00\x22", "audio/flac"),
        (b"OggS\x00\x02", "audio/ogg"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "video/mp4"),
        (TS, "video/mp2t"),
        (b"%PDF-1.7\n", "application/pdf"),
        ("Ein schöner Text\n".encode(), "text/plain"),
        (b"\x00\x01\x02\x03", UNKNOWN),
        (b"", UNKNOWN),
    ],
)
def test_a_type_is_found_in_the_content(head: bytes, expected: str) -> None:
    assert media_type(head) == expected


def test_text_whose_last_character_is_cut_is_text() -> None:
    assert media_type("ä".encode() * 10 + b"\xc3") == "text/plain"


@given(st.binary(max_size=2000))
def test_whatever_comes_has_some_type(head: bytes) -> None:
    kind, _, subtype = media_type(head).partition("/")

    assert kind
    assert subtype
