"""The content ledger of one channel: its archive, frame by frame, against what its station sent when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from streamrec.models import Coverage, EnabledPeriod, Recording
from tests.chaos.world import Channel, OnAir
from tests.station.content import Content, Key
from tests.station.live import Live

TOLERANCE_SECONDS = 0.25  # of a radio, whose frames arrive one by one
LIVE_TOLERANCE = 0.5  # of a segment more, whose appearance is seen at the next look only
SPAN_SECONDS = 0.05
TORN_FRAMES = 2  # that a hit in mid-stream may cost without a gap
SEAM_SECONDS = 0.1  # that no clock can tell from nothing, where the station sent nothing of it again


class Spot(NamedTuple):
    """A frame in the archive: which mount's, which of it, and which file it is in."""

    mount: int
    frame: int
    file: int


@dataclass
class Finding:
    """What is wrong with one channel, and what was lost of it."""

    violations: list[str] = field(default_factory=list)
    files: int = 0
    frames: int = 0
    duplicates: int = 0
    seam_frames: int = 0
    is_live: bool = False
    """Whether it was ever HLS, and its times are those of segments."""
    lost_seconds: dict[str, float] = field(default_factory=dict)
    bound_errors: list[float] = field(default_factory=list)
    start_errors: list[float] = field(default_factory=list)

    def wrong(self, text: str) -> None:
        self.violations.append(text)


class Ledger:
    """Looks at one channel."""

    def __init__(
        self,
        channel: Channel,
        recordings: Sequence[Recording],
        gaps: Sequence[Coverage],
        enabled: Sequence[EnabledPeriod],
        archive: Path,
    ) -> None:
        """`recordings`, `gaps` and `enabled` are in order of time."""
        self._channel = channel
        self._recordings, self._gaps = recordings, gaps
        self._disabled = [(one.end_time, two.start_time) for one, two in pairwise(enabled) if one.end_time]
        self._mounts = channel.mounts
        self._contents = [_read(self._mounts, archive / row.path) for row in recordings]
        lives = [mount.seconds for mount in channel.mounts if isinstance(mount, Live)]
        self._tolerance = TOLERANCE_SECONDS + LIVE_TOLERANCE * max(lives, default=0.0)
        self.found = Finding(files=len(recordings), is_live=bool(lives))

    def run(self) -> Finding:
        """Everything that can be said."""
        spots = list(self._spots())
        self.found.frames = len(spots)
        self._count_twice(spots)
        for one, two in pairwise(spots):
            self._step(one, two)
        for number, _ in enumerate(self._recordings):
            self._file(number)
        return self.found

    def _spots(self) -> Iterator[Spot]:
        for file, by_mount in enumerate(self._contents):
            for places in zip(*(content.places for content in by_mount), strict=True):
                for mount, place in enumerate(places):
                    if place is not None:
                        yield Spot(mount, place.frame, file)

    def _count_twice(self, spots: list[Spot]) -> None:
        self.found.duplicates = len(spots) - len({spot[:2] for spot in spots})
        if self.found.duplicates:
            self._wrong(f"{self.found.duplicates} frames are archived twice")

    def _step(self, one: Spot, two: Spot) -> None:
        """From one frame to the next: on by one, or over a gap that says so."""
        if one.mount != two.mount:
            return None  # it was moved; what lies between is the account's affair
        jump = two.frame - one.frame
        if jump == 1 and one.file == two.file:
            return None
        if jump <= 0:
            return self._wrong(f"{self._name(two.file)}: frame {two.frame} comes after {one.frame}")
        gaps = self._between(one.file, two.file) if one.file != two.file else []
        if gaps:
            self._bounds(one, two, gaps)
        elif self._was_disabled(one, two):
            return None
        elif jump > 1 and self._is_seam(one, two):
            self.found.seam_frames += jump - 1
        elif jump > 1 and (jump > 1 + TORN_FRAMES or not is_spoiled(self._mounts[one.mount])):
            self._wrong(
                f"{self._name(two.file)}: {jump - 1} frames are missing after {one.frame}, and no gap says so"
            )
        return None

    def _was_disabled(self, one: Spot, two: Spot) -> bool:
        """Whether the channel was not wanted between two files, and wanted right before and behind that."""
        end, start = self._recordings[one.file].end_time, self._recordings[two.file].start_time
        slack = timedelta(seconds=SEAM_SECONDS)
        return any(off <= end + slack and start - slack <= on for off, on in self._disabled if off < start)

    def _is_seam(self, one: Spot, two: Spot) -> bool:
        """Whether another connection begins behind the last one's end, by less than any clock can tell.

        Of a live presentation, the window begins with a segment.
        """
        mount = self._mounts[one.mount]
        missing = (mount.on_air(two.frame) - mount.on_air(one.frame + 1)).total_seconds()
        runs = {self._recordings[spot.file].run_id for spot in (one, two)}
        if len(runs) != 2 or not 0 < missing <= SEAM_SECONDS:
            return False
        if isinstance(mount, Live):
            return two.frame % mount.programme.segment_frames == 0
        return mount.journal.has_begun_within(mount.name, one.frame + 2, two.frame)

    def _between(self, before: int, after: int) -> list[Coverage]:
        """The gaps that lie between two files."""
        start, end = self._recordings[before].end_time, self._recordings[after].start_time
        return [gap for gap in self._gaps if start <= gap.start_time and gap.end_time <= end]

    def _bounds(self, one: Spot, two: Spot, gaps: list[Coverage]) -> None:
        """A gap that touches a file ends where that file's frames begin or end; others touch disabled time."""
        mount = self._mounts[one.mount]
        begins, ends = gaps[0].start_time, gaps[-1].end_time
        if begins == self._recordings[one.file].end_time:
            self._bound(gaps[0], "begins", begins, mount.on_air(one.frame + 1))
        if ends == self._recordings[two.file].start_time:
            self._bound(gaps[-1], "ends", ends, mount.on_air(two.frame))
        for gap in gaps:
            lasted = (gap.end_time - gap.start_time).total_seconds()
            reason = gap.reason.value if gap.reason else "?"
            self.found.lost_seconds[reason] = self.found.lost_seconds.get(reason, 0.0) + lasted

    def _bound(self, gap: Coverage, verb: str, told: datetime, true: datetime) -> None:
        error = (told - true).total_seconds()
        self.found.bound_errors.append(abs(error))
        if abs(error) > self._tolerance:
            self._wrong(f"a gap ({gap.reason}) {verb} {error:+.3f} s off the station's time, at {_clock(told)}")

    def _file(self, number: int) -> None:
        """A file is frames alone, is as long as its span, and begins when its first frame was on air."""
        row, by_mount = self._recordings[number], self._contents[number]
        span = (row.end_time - row.start_time).total_seconds()
        if abs(span - by_mount[0].seconds) > SPAN_SECONDS:
            self._wrong(f"{self._name(number)} plays {by_mount[0].seconds:.3f} s, and its span is {span:.3f} s")
        if by_mount[0].foreign_bytes:
            self._wrong(f"{self._name(number)} has {by_mount[0].foreign_bytes} bytes that are no frame")
        firsts = [(mount, content.places[0]) for mount, content in enumerate(by_mount) if content.places]
        known = [(mount, place) for mount, place in firsts if place is not None]
        if not known:
            if not any(map(is_spoiled, self._mounts)):
                self._wrong(f"{self._name(number)} begins with what this channel's station never sent")
            return
        mount, place = known[0]
        error = (row.start_time - self._mounts[mount].on_air(place.frame)).total_seconds()
        self.found.start_errors.append(abs(error))
        if abs(error) > self._tolerance:
            self._wrong(f"{self._name(number)} begins {error:+.3f} s off the station's time")

    def _name(self, number: int) -> str:
        return str(self._recordings[number].path)

    def _wrong(self, text: str) -> None:
        self.found.wrong(f"channel {self._channel.number}: {text}")


def is_spoiled(mount: OnAir) -> bool:
    """Whether it ever sent what was no frame of its own."""
    events = mount.journal.of(mount.name, "flip", "spoiled", "fault")
    return any(event.what != "fault" or event.facts["fault"] == "GARBAGE" for event in events)


def _read(mounts: list[OnAir], path: Path) -> list[Content]:
    return [Key(mount).read(path) for mount in mounts]


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S.%f")[:-3]
