"""What a capture says of itself, and the totals of a recorder: plain values that the worker writes to rows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from streamrec.framing.units import FLICKS
from streamrec.indexes import Growing
from streamrec.models import CaptureState
from streamrec.recorder.lag import Lag

TITLE_LENGTH: Final = 500
RATE_SECONDS: Final = 10


@dataclass(slots=True)
class Totals:
    """Counted since the recorder's start."""

    media_bytes: int = 0
    media_seconds: float = 0.0
    restarts: int = 0
    lag: Lag = field(default_factory=Lag)


class Written(Protocol):
    """What there is to say of a file that is being written; SegmentWriter."""

    @property
    def key(self) -> str | None: ...
    @property
    def start_time(self) -> datetime | None: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def media_seconds(self) -> float: ...
    @property
    def growing(self) -> Growing | None: ...


@dataclass(slots=True)
class Status:
    """One capture's row in the making."""

    since: datetime
    state: CaptureState = CaptureState.STOPPED
    run_id: UUID | None = None
    path: str | None = None
    file_start_time: datetime | None = None
    file_bytes: int | None = None
    file_seconds: float | None = None
    bit_rate: int | None = None
    codecs: str | None = None
    title: str | None = None
    last_error: str | None = None
    source_index: int | None = None
    restarts: int = 0
    growing: Growing | None = None

    def writes(self, file: Written | None, bit_rate: int | None) -> None:
        """The run goes to `file`, if it has begun one."""
        if file is not None:
            self.path, self.file_start_time = file.key, file.start_time
            self.file_bytes, self.file_seconds = file.size_bytes, file.media_seconds
            self.bit_rate = bit_rate
            self.growing = file.growing

    def writes_nothing(self) -> None:
        """No run is under way."""
        self.run_id = self.path = self.file_start_time = self.bit_rate = None
        self.growing = None
        self.file_bytes = self.file_seconds = None


@dataclass(slots=True)
class BitRate:
    """Bits per second of media over the last RATE_SECONDS of it; a burst does not inflate it."""

    _points: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)]))

    def add(self, media: int, size_bytes: int) -> int | None:
        """The rate once `media` flicks and `size_bytes` have come in all; None until there is a second of it."""
        self._points.append((media, size_bytes))
        while len(self._points) > 2 and media - self._points[1][0] >= RATE_SECONDS * FLICKS:
            self._points.popleft()
        first_media, first_bytes = self._points[0]
        length = media - first_media
        return (size_bytes - first_bytes) * 8 * FLICKS // length if length >= FLICKS else None


def shown_title(text: str) -> str | None:
    """A station's title fit to be stored and shown: one line, printable, not endless."""
    words = "".join(c if c.isprintable() else " " for c in text[: 4 * TITLE_LENGTH]).split()
    return " ".join(words)[:TITLE_LENGTH] or None
