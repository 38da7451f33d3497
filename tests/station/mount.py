"""A radio of our station: what is on air when, and what it does instead of playing."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.station.journal import Journal
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedSound
from tests.station.programme import Programme

Played = Programme | Numbered | NumberedSound

BURST_FRAMES = 170  # 65,280 bytes at 128 kb/s: Icecast's default burst, in whole frames


class Fault(enum.StrEnum):
    """What a mount does instead of playing; the first six drop every listener."""

    END = "answers 404"
    DENY = "answers 403"
    REFUSE = "answers what `refusal` says"
    SILENT = "takes requests and answers nothing"
    SLOW_HEAD = "sends its answer's head at a byte a second"
    SHUT = "has its door closed: connections are refused"

    STALL = "keeps connections open and sends nothing"
    DRIP = "sends a byte a second"
    SLOW = "plays at a third of its speed"
    GARBAGE = "sends web pages in the place of music"
    FLIP = "flips one bit in about 100,000"
    FAST = "plays ten times as fast as it sounds"
    FLOOD = "plays as fast as it is read"

    PAGE = "sends one web page in the middle of a frame, once"
    TRUNCATE = "sends half a frame, once"


DROPPING = frozenset({Fault.END, Fault.DENY, Fault.REFUSE, Fault.SILENT, Fault.SLOW_HEAD, Fault.SHUT})
ONCE = frozenset({Fault.PAGE, Fault.TRUNCATE})
PAGE = b"<html><body><h1>502 Bad Gateway</h1>" + b"<p>Back soon.</p>" * 60 + b"</body></html>"


@dataclass(frozen=True)
class Refusal:
    """An answer that is not the stream."""

    status: str = "404 Not Found"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Manner:
    """How a mount that plays answers: what real servers differ in, and lie about."""

    start: str = "HTTP/1.0 200 OK"
    content_type: str | None = None  # None: what it plays
    is_chunked: bool = False
    metaint: int = 16_000  # announced
    real_metaint: int | None = None  # kept to, if it is another one; may be changed while it plays
    credentials: str | None = None  # "user:password" that are asked for


@dataclass
class Part:
    """A programme from a moment on, until another one takes its place."""

    number: int
    programme: Played
    zero: float  # seconds since 1970 at which frame 0 begins
    end: int | None = None  # the first frame that is not played any more

    def live(self, now: float) -> int:
        """How many whole frames have been on air."""
        played = int((now - self.zero) / self.programme.frame_seconds)
        return played if self.end is None else min(played, self.end)

    def on_air(self, frame: int) -> datetime:
        """When frame `frame` began."""
        return datetime.fromtimestamp(self.zero + frame * self.programme.frame_seconds, UTC)


class Mount:
    """Plays a programme once, from the moment it was made. Its attributes may be set from any thread."""

    def __init__(self, name: str, programme: Played, journal: Journal, *, burst_frames: int) -> None:
        self.name = name
        self.parts = [Part(0, programme, time.time())]
        self.journal = journal
        self.burst_frames = burst_frames
        self.manner = Manner()
        self.refusal = Refusal()
        self.title: str | bytes = ""
        self.connects: list[float] = []
        self.door = 0
        """The port that it is reached at."""
        self.hang_ups = 0
        """Listeners who came before the last of these are dropped."""
        self.hang_up_resets = False
        self._fault: Fault | None = None

    @property
    def fault(self) -> Fault | None:
        """What it does instead of playing."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        if fault is not self._fault:
            self.journal.note(self.name, "fault", fault=fault.name if fault else None)
            self._fault = fault

    def refuse(self, status: str, body: bytes = b"", **headers: str) -> None:
        """Drop every listener and answer so from now on; header names are written with "_" for "-"."""
        self.refusal = Refusal(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)
        self.fault = Fault.REFUSE

    def hang_up(self, *, reset: bool = False) -> None:
        """Drop every listener, once: with FIN, or with RST."""
        self.hang_up_resets = reset
        self.hang_ups += 1

    def switch(self, programme: Played) -> None:
        """Play another programme from the next frame on, on the same connections."""
        part, now = self.part, time.time()
        part.end = part.live(now) + 1
        zero = part.zero + part.end * part.programme.frame_seconds
        self.parts.append(Part(part.number + 1, programme, zero))
        self.journal.note(self.name, "switch", end=part.end)

    # --- what is on air

    @property
    def part(self) -> Part:
        """The programme that is on now."""
        return self.parts[-1]

    @property
    def clip(self) -> bytes:
        """The bytes that are on now, from their beginning to their end."""
        return self.part.programme.data

    @property
    def zero(self) -> float:
        """Seconds since 1970 at which frame 0 of what is on now began."""
        return self.part.zero

    def live(self) -> int:
        """How many whole frames of what is on now have been on air."""
        return self.part.live(time.time())

    def on_air(self, frame: int) -> datetime:
        """When frame `frame` of what is on now began."""
        return self.part.on_air(frame)
