"""A body's bytes without the way they were sent: to the end, by length, or in chunks. Pure."""

from __future__ import annotations

from typing import Final, Protocol

from streamrec.recorder.fetch.head import Head

_LINE_BYTES: Final = 4096


class BadBody(Exception):
    """The bytes do not follow their own coding; nothing after them can be trusted."""


class Body(Protocol):
    """Takes what comes from the socket and gives what was meant."""

    @property
    def is_complete(self) -> bool:
        """Whether the end has come; what follows belongs to the next answer."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises BadBody."""
        ...


def body_of(head: Head) -> Body:
    """What decodes the body of an answer to a GET (RFC 9112 section 6.3)."""
    if head.is_chunked:
        return Chunked()
    length = head.number("content-length")
    return Plain() if length is None else Sized(length)


class Plain:
    """Lasts as long as the connection."""

    is_complete = False

    def feed(self, data: bytes) -> bytes:
        return data


class Sized:
    """Has a length."""

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def is_complete(self) -> bool:
        return self.left == 0

    def feed(self, data: bytes) -> bytes:
        data = data[: self.left]
        self.left -= len(data)
        return data


class Chunked:
    """RFC 9112 section 7.1: a line with the size in hexadecimal, so many bytes, an empty line; 0 ends it.

    Trailer fields are passed over.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._line = b""
        self._left = 0  # of this chunk
        self._is_behind = False  # a chunk has ended, and its line end is still to come
        self._is_trailer = False

    def feed(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        position = 0
        while position < len(data) and not self.is_complete:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                position += len(piece)
                self._is_behind = self._left == 0
            else:
                position = self._take_line(data, position)
        return b"".join(pieces)

    def _take_line(self, data: bytes, position: int) -> int:
        """Collect a line up to its end, and do what it says; where the next byte is."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > _LINE_BYTES:
            raise BadBody("a line is too long")
        if end >= 0:
            line, self._line = self._line.strip(), b""
            self._follow(line)
        return stop

    def _follow(self, line: bytes) -> None:
        if self._is_behind and not line:
            self._is_behind = False
        elif self._is_trailer:
            self.is_complete = not line
        else:
            self._left = _size(line)
            self._is_trailer = self._left == 0


def _size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
        raise BadBody("a chunk has no size")
    return int(digits, 16)
