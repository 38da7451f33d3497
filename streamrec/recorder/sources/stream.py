"""A live body: drained without waiting, freed of transfer coding and in-band metadata."""

from __future__ import annotations

import fcntl
import ssl
import sys
import termios
from typing import Final

from streamrec.models import GapReason
from streamrec.recorder.events import Closed, Title
from streamrec.recorder.fetch import wire
from streamrec.recorder.fetch.body import BadBody, Plain, Sized, body_of
from streamrec.recorder.fetch.request import Answer
from streamrec.recorder.sources.alarm import Alarm, Hangups
from streamrec.recorder.sources.metadata import IcySplitter

RECEIVE_BYTES: Final = 262_144  # seconds of any MP3 or ADTS stream, left with the kernel until the next tick
_STEP_BYTES: Final = 65_536
_NONE: Final = bytes(4)  # an int of the machine's
_MOST_INTERVAL: Final = 1 << 20
ENDED: Final = Closed(GapReason.SOURCE_ENDED, "The stream ended.")
_RESET: Final = Closed(GapReason.SOURCE_ENDED, "The connection was reset.")
_LYING: Final = Closed(GapReason.SOURCE_ERROR, "The titles are not where the server said; it goes on without.")
_BROKEN: Final = Closed(GapReason.SOURCE_ERROR, "The server broke the rules of chunked transfer.")


class Stream:
    """What comes from one answer. Whoever holds it closes it."""

    def __init__(self, answer: Answer, hangups: Hangups, *, was_asked: bool = True) -> None:
        """`was_asked` is whether the metadata is there because we wanted it, and would not be if we did not."""
        self._was_asked = was_asked
        self._sock = answer.sock
        self._is_tls = isinstance(answer.sock, ssl.SSLSocket)
        self._body = body_of(answer.head)
        self._is_plain = isinstance(self._body, Plain)
        interval = answer.head.number("icy-metaint") or 0
        self._splitter = IcySplitter(interval) if 0 < interval <= _MOST_INTERVAL else None
        self._first = answer.rest
        self.url = answer.url
        self.is_sized = isinstance(self._body, Sized)
        self.ended: Closed | None = None
        """Why nothing more comes, once that is so."""
        self.alarm = Alarm()
        """Rings when the server hangs up."""
        self._hangups = hangups
        hangups.watch(self._sock, self.alarm)

    @property
    def is_lying(self) -> bool:
        """Whether the metadata is not where the server said it would be."""
        return self._splitter is not None and self._splitter.is_lost

    def waiting_bytes(self) -> int:
        """How much lies with the kernel, coded and encrypted as it came; 0 for a connection that broke."""
        try:
            return int.from_bytes(fcntl.ioctl(self._sock, termios.FIONREAD, _NONE), sys.byteorder)
        except OSError:
            return 0

    def drain(self, limit: int) -> tuple[bytes, list[Title]]:
        """The media that is there now, from at most about `limit` bytes, and the titles in it."""
        return self.understood(self.receive(limit))

    def understood(self, data: bytes) -> tuple[bytes, list[Title]]:
        """The media in what was received, and the titles."""
        if not self._is_plain:
            data = self._decoded(data)
        if self._splitter is None:
            return data, []
        found = self._splitter.feed(data)
        if self._splitter.is_lost and self._was_asked:
            self.ended = self.ended or _LYING
        return found

    def receive(self, limit: int) -> bytes:
        """What is there now, at most about `limit` bytes, as it was sent."""
        pieces = [self._first] if self._first else []
        self._first = b""
        room = limit
        try:
            while room > 0 and self.ended is None:
                step = min(room, _STEP_BYTES)
                piece = wire.receive(self._sock, step)
                if piece is None:
                    break
                if not piece:
                    self.ended = ENDED
                else:
                    pieces.append(piece)
                room -= len(piece)
                if len(piece) < step and not self._is_tls:
                    break  # that was all; asking again would cost a system call to learn it
        except OSError:
            self.ended = _RESET
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decoded(self, data: bytes) -> bytes:
        if self.ended is _BROKEN:
            return b""
        try:
            data = self._body.feed(data)
        except BadBody:
            self.ended = _BROKEN
            return b""
        if self._body.is_complete:
            self.ended = ENDED
        return data

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._sock.fileno() >= 0:
            self._hangups.unwatch(self._sock)
            self._sock.close()
