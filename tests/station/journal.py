"""The station's ground truth: which frames were sent to whom when, and what was done to the station."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Stretch:
    """Frames `[first, end)` of a mount's part, sent to one listener between two moments (seconds since 1970)."""

    mount: str
    listener: int
    part: int
    first: int
    end: int
    began: float
    ended: float


@dataclass(frozen=True)
class Event:
    """Something that happened: a listener came or went, a fault began or ended."""

    at: float
    mount: str
    what: str
    facts: dict[str, object] = field(default_factory=dict)


class Journal:
    """Grows by a line for each event and each unbroken stretch of frames, not for each piece that is sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stretches: list[Stretch] = []
        self._open: dict[int, Stretch] = {}
        self._lock = threading.Lock()

    def note(self, mount: str, what: str, **facts: object) -> None:
        """Write down that this happened now."""
        with self._lock:
            self.events.append(Event(time.time(), mount, what, facts))

    def sent(self, mount: str, listener: int, part: int, first: int, end: int) -> None:
        """Frames `[first, end)` have just been handed to the listener's socket."""
        if end <= first:
            return
        now = time.time()
        last = self._open.get(listener)
        if last is not None and (last.part, last.end) == (part, first):
            last.end, last.ended = end, now
            return
        self._open[listener] = stretch = Stretch(mount, listener, part, first, end, now, now)
        with self._lock:
            self.stretches.append(stretch)

    def of(self, mount: str, *whats: str) -> list[Event]:
        """A mount's events of these kinds, in order."""
        with self._lock:
            return [event for event in self.events if event.mount == mount and (not whats or event.what in whats)]

    def frames(self, mount: str, part: int = 0) -> set[int]:
        """Every frame of a mount's part that was sent to anybody."""
        with self._lock:
            found = [one for one in self.stretches if (one.mount, one.part) == (mount, part)]
        return {number for stretch in found for number in range(stretch.first, stretch.end)}

    def has_begun_within(self, mount: str, first: int, last: int, part: int = 0) -> bool:
        """Whether a row of frames that was sent to somebody begins with one of these."""
        with self._lock:
            return any(
                first <= one.first <= last for one in self.stretches if (one.mount, one.part) == (mount, part)
            )

    def write(self, path: Path) -> None:
        """Keep everything as JSON lines, events and stretches each in order of time."""
        with self._lock:
            rows = [*map(asdict, self.events), *map(asdict, self.stretches)]
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
