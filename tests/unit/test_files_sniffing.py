"""What stored files are, by their first bytes."""

from __future__ import annotations

import io
import zipfile
from typing import Any

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


def zipped(*names: str, content: bytes = b"some content", is_streamed: bool = False) -> bytes:
    """A zip with these members; where it is streamed, sizes stand behind them."""
    file = io.BytesIO()
    sink = Unseekable(file) if is_streamed else file
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


class Unseekable(io.RawIOBase):
    """What can only be written to, from the beginning to the end."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a",), "application/zip"),
        (("word/document.xml",), "application/zip"),
        (("[Content_Types].xml", "a"), "application/zip"),
        (("[Content_Types].xml", "_rels/.rels", "word/document.xml"), f"{OFFICE}wordprocessingml.document"),
        (("xl/workbook.xml", "[Content_Types].xml"), f"{OFFICE}spreadsheetml.sheet"),
        (("_rels/.rels", "[Content_Types].xml", "ppt/a.xml"), f"{OFFICE}presentationml.presentation"),
    ],
)
def test_a_zip_is_an_office_document_only_if_its_members_say_so(
    names: tuple[str, ...], expected: str, is_streamed: bool
) -> None:
    assert media_type(zipped(*names, is_streamed=is_streamed)) == expected


def test_a_zip_that_holds_an_office_document_is_none() -> None:
    document = zipped("[Content_Types].xml", "word/document.xml")

    assert media_type(zipped("a.docx", content=document)) == "application/zip"


@given(st.binary(max_size=200))
def test_whatever_follows_the_head_of_a_zip_has_some_type(rest: bytes) -> None:
    assert media_type(b"PK\x03\x04" + rest).count("/") == 1


@given(st.binary(max_size=2000))
def test_whatever_comes_has_some_type(head: bytes) -> None:
    kind, _, subtype = media_type(head).partition("/")

    assert kind
    assert subtype
