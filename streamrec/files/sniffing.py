"""What a file is, by its first bytes and never by what its sender says. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import puremagic

HEAD_BYTES: Final = 65_536
UNKNOWN: Final = "unknown/unknown"
_TS_PACKET: Final = 188  # ISO/IEC 13818-1, 2.4.3.2
_SAME: Final = {"audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "application/ogg": "audio/ogg"}
_ZIP: Final = b"PK\x03\x04"  # before each member (APPNOTE.TXT, 4.3.7)
_MEMBER: Final = struct.Struct(
    "<4s2xH10xI4xHH"
)  # signature, flags, size, lengths of its name and of what is extra
_SIZE_FOLLOWS: Final = 8  # a flag: the size is told behind the member
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_OFFICE_FOLDERS: Final = {
    b"word": _OFFICE + "wordprocessingml.document",
    b"xl": _OFFICE + "spreadsheetml.sheet",
    b"ppt": _OFFICE + "presentationml.presentation",
}
_TEXT_CONTROLS: Final = frozenset("\t\n\r\f")


def media_type(head: bytes) -> str:
    """The media type of a file that begins with `head`, at most HEAD_BYTES of it; UNKNOWN if nothing tells."""
    if _is_transport_stream(head):
        return "video/mp2t"
    found = _by_signature(head)
    return found or ("text/plain" if _is_text(head) else UNKNOWN)


def _by_signature(head: bytes) -> str | None:
    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return None
    best = max((match for match in matches if match.mime_type), key=lambda match: match.confidence, default=None)
    if best is not None and head.startswith(_ZIP) and best.byte_match in head[: _MEMBER.size]:
        return _zip_type(head)  # by how it was compressed the library guesses that it is Word's, or Java's
    return None if best is None else _SAME.get(best.mime_type, best.mime_type)


def _zip_type(head: bytes) -> str:
    """An office's document if its members are named so, as far as the head goes."""
    names = list(_members(head))
    if b"[Content_Types].xml" in names:
        for name in names:
            if (found := _OFFICE_FOLDERS.get(name.partition(b"/")[0])) is not None:
                return found
    return "application/zip"


def _members(head: bytes) -> Iterator[bytes]:
    """The names of a zip's first members."""
    at = 0
    while head.startswith(_ZIP, at) and at + _MEMBER.size <= len(head):
        _, flags, size, name_bytes, extra_bytes = _MEMBER.unpack_from(head, at)
        name_at = at + _MEMBER.size
        yield head[name_at : name_at + name_bytes]
        content_at = name_at + name_bytes + extra_bytes
        at = head.find(_ZIP, content_at) if flags & _SIZE_FOLLOWS else content_at + size
        if at < 0:
            return


def _is_transport_stream(head: bytes) -> bool:
    """Three packets that begin with the sync byte; one alone is the letter G."""
    return len(head) > 2 * _TS_PACKET and all(head[at] == 0x47 for at in (0, _TS_PACKET, 2 * _TS_PACKET))


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; a character may be cut where the head ends."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return False
        text = head[: error.start].decode()
    return bool(text) and all(letter >= " " or letter in _TEXT_CONTROLS for letter in text)
