"""How a station puts media on the wire: titles woven in, and chunks."""

from __future__ import annotations

from tests.station.mount import Mount

_MOST_UNITS = 255


def title_block(title: str | bytes) -> bytes:
    """An in-band metadata block of SHOUTcast's: a length in units of 16 bytes, then text, padded with NUL."""
    raw = title if isinstance(title, bytes) else title.encode()
    text = (b"StreamTitle='" + raw + b"';")[: _MOST_UNITS * 16]
    units = -(-len(text) // 16)
    return bytes([units]) + text.ljust(units * 16, b"\0")


class Tags:
    """Puts the mount's title into the stream after every interval, when it is new."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._left = self._interval
        self._announced: str | bytes = ""

    @property
    def _interval(self) -> int:
        return self._mount.manner.real_metaint or self._mount.manner.metaint

    def tagged(self, data: bytes) -> bytes:
        """`data` with the blocks that fall into it."""
        pieces: list[bytes] = []
        while len(data) >= self._left:
            title = self._mount.title
            pieces += [data[: self._left], b"\0" if title == self._announced else title_block(title)]
            data, self._announced = data[self._left :], title
            self._left = self._interval
        self._left -= len(data)
        return b"".join([*pieces, data])


def chunk(data: bytes) -> bytes:
    """RFC 9112 section 7.1; nothing for no bytes, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
