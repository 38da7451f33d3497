"""What a file is, by its first bytes and never by what its sender says. Pure."""

from __future__ import annotations

from typing import Final

import puremagic

HEAD_BYTES: Final = 65_536
UNKNOWN: Final = "unknown/unknown"
_TS_PACKET: Final = 188  # ISO/IEC 13818-1, 2.4.3.2
_SAME: Final = {"audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "application/ogg": "audio/ogg"}
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
    return None if best is None else _SAME.get(best.mime_type, best.mime_type)


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
