"""SHOUTcast's in-band metadata: taken out of the media exactly, and read. Pure.

Every `icy-metaint` bytes of media there is a byte n and then 16 n bytes of text, padded with NUL.
"""

from __future__ import annotations

import re
from typing import Final

from streamrec.recorder.events import Title

_BLOCK: Final = re.compile(rb"\s*[A-Za-z_]\w{0,39}\s*=")
_TITLE: Final = re.compile(rb"StreamTitle='(.*?)';?(?=\w+=|\s*\Z)", re.DOTALL)
_SIGN: Final = b"StreamTitle='"


class IcySplitter:
    """Takes the metadata out, however the bytes were cut.

    A station whose interval is a lie shows it: what stands where a block should be is no text. From then on
    everything is media (the framer drops what is none), but for blocks that are recognised by their first word.
    """

    def __init__(self, interval: int) -> None:
        """`interval` is `icy-metaint`, in bytes, above 0."""
        self._interval = interval
        self._left = interval  # bytes of media up to the next block
        self._block = b""  # of a block that has begun, what has come
        self._is_lost = False
        self._offset = 0
        self._announced: str | None = None
        self._titles: list[Title] = []
        self._pieces: list[bytes] = []

    @property
    def is_lost(self) -> bool:
        """Whether the interval proved to be a lie."""
        return self._is_lost

    def feed(self, data: bytes) -> tuple[bytes, list[Title]]:
        """The media in `data`, and titles with the number of media bytes before each."""
        if len(data) <= self._left and not self._is_lost:
            self._left -= len(data)
            self._offset += len(data)
            return data, []
        self._titles, self._pieces = [], []
        position = 0 if self._is_lost or self._block else self._take_untitled(data)
        while position < len(data):
            if self._is_lost:
                self._search(data[position:])
                break
            if self._left:
                piece = data[position : position + self._left]
                self._left -= len(piece)
                self._give(piece)
                position += len(piece)
            else:
                position = self._take_block(data, position)
        media, self._pieces = b"".join(self._pieces), []
        return media, self._titles

    def _take_untitled(self, data: bytes) -> int:
        """Take the media up to the first block that is not empty, as nearly all are; where the data goes on."""
        position, end = 0, self._left
        while end < len(data) and data[end] == 0:
            self._give(data[position:end])
            position, end = end + 1, end + 1 + self._interval
        self._left = end - position
        return position

    def _give(self, media: bytes) -> None:
        self._pieces.append(media)
        self._offset += len(media)

    def _take_block(self, data: bytes, position: int) -> int:
        """Collect a block, and read it once it is whole; where the data goes on."""
        size = 1 + 16 * (self._block or data[position : position + 1])[0]
        piece = data[position : position + size - len(self._block)]
        self._block += piece
        if len(self._block) == size:
            block, self._block = self._block, b""
            if size == 1 or _is_text(block[1:]):
                self._read(block[1:])
                self._left = self._interval
            else:
                self._is_lost = True
                self._search(block)
        return position + len(piece)

    def _search(self, data: bytes) -> None:
        """Give all but the blocks that show themselves; what may be the beginning of one is kept back."""
        data = self._block + data
        while (found := data.find(_SIGN, 1)) > 0 and (end := found + 16 * data[found - 1]) <= len(data):
            if end - found >= len(_SIGN):
                self._give(data[: found - 1])
                self._read(data[found:end])
                data = data[end:]
            else:  # no block is so short
                self._give(data[: found + 1])
                data = data[found + 1 :]
        kept = found - 1 if found > 0 else max(0, len(data) - len(_SIGN))
        self._give(data[:kept])
        self._block = data[kept:]

    def _read(self, block: bytes) -> None:
        match = _TITLE.search(block.rstrip(b"\0"))
        if match is None:
            return
        title = _text(match[1])
        if title != self._announced:
            self._announced = title
            self._titles.append(Title(title, self._offset))


def _is_text(block: bytes) -> bool:
    return _BLOCK.match(block) is not None or not block.strip(b"\0")


def _text(title: bytes) -> str:
    """UTF-8, or else what most stations mean that send no UTF-8: Icecast announces MP3 titles in ISO-8859-1."""
    try:
        return title.decode()
    except UnicodeDecodeError:
        return title.decode("cp1252", errors="replace")
