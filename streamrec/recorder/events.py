"""What a source is given, and what it tells a capture, in the order in which it happened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streamrec.egress import Credentials
from streamrec.models import CaptureMode, FileFormat, GapReason


@dataclass(frozen=True, slots=True)
class Address:
    """Where a station is, and how it is to be captured; the credentials show in no repr."""

    url: str
    credentials: Credentials | None = None
    mode: CaptureMode = CaptureMode.AUTO
    tls_verify: bool = True  # whether a certificate must be valid
    max_bandwidth: int | None = None  # bit/s: the best HLS variant at or below it
    wanted_seconds: float | None = field(default=None, compare=False)
    """How far back media is wanted, where a server offers more than it sends of itself; the archive ends there."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is connected and its media is understood; a new run begins with the next chunk."""

    format: FileFormat
    codecs: str  # ffmpeg's names, video first: "h264+aac"
    source: str = "ffmpeg"  # the kind of source: icy, hls or ffmpeg
    is_continuous: bool = False  # whether it has no timestamps, and comes all the time


class Chunk(NamedTuple):
    """Media bytes, framed as `Opened.format` says."""

    data: bytes
    received_at: float  # Clock.monotonic() seconds when the last byte arrived, or earlier: when its end was live
    is_edge: bool = False  # whether its end is known to have been live then, so that it anchors a run's clock
    later_seconds: float = 0.0  # of media that was live by then, too, and comes behind it
    left_bytes: int = 0  # of `data`, about; they had come by `left_at` already, and lay unread
    left_at: float = 0.0
    older_seconds: float = 0.0  # than these say; the best guess while no end is known to have been live just then


@dataclass(frozen=True, slots=True)
class Skipped:
    """Media of this length could not be had; what follows goes on behind the hole, as a new run."""

    seconds: float
    detail: str  # one sentence for a person, without credentials


@dataclass(frozen=True, slots=True)
class Title:
    """The station announced what is on air; hostile text, not yet cleaned."""

    text: str
    offset: int = 0  # bytes of media that came before it in this attempt; 0 where that is not known
    media_seconds: float = 0.0  # the same in time, about


@dataclass(frozen=True, slots=True)
class Closed:
    """The attempt is over; nothing follows."""

    reason: GapReason
    detail: str  # one sentence for a person, without credentials
    retry_after_seconds: float | None = None  # what the server asked for, not yet bounded


class Pump(Protocol):
    """A source that need not be waited for: what comes lies in the kernel's buffer until it is asked for."""

    @property
    def is_rung(self) -> bool:
        """Whether there is something to be asked for at once: an end."""
        ...

    on_ring: Callable[[], None] | None
    """Called when `is_rung` becomes true."""

    def leaves(self) -> bool:
        """Leave what has come where it is until the next `poll`, if that costs nothing; whether it was done.

        Never twice in a row. What is polled then is told as if it had been polled now and then.
        """
        ...

    def poll(self) -> list[Event]:
        """What has happened up to now, without waiting; nothing follows a Closed."""
        ...


@dataclass(frozen=True, slots=True)
class Steady:
    """The beginning is over: whoever likes may `poll` the pump from here on instead of asking for events."""

    pump: Pump


Event = Opened | Chunk | Title | Skipped | Closed | Steady


class Source(Protocol):
    """One attempt at one URL. It always ends with exactly one Closed, whatever went wrong."""

    def events(self) -> AsyncGenerator[Event]:
        """The events of this attempt."""
        ...

    async def close(self) -> None:
        """End the attempt now; may be called twice, and from another task."""
        ...
