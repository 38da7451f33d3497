"""One recorder and many mounts that all misbehave at once: what happened, and what is on record of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from streamrec import channels
from streamrec.channel_fields import checked
from streamrec.models import Capture, Coverage, CoverageKind, GapReason, Recording
from streamrec.settings import PROJECT, Settings
from tests.factories import fields
from tests.station import programs
from tests.station.content import Content, Key, Place, jumps, missing
from tests.station.mount import Mount

PROGRAM = ("-m", "streamrec", "recorder")
EXPECTED = frozenset({GapReason.STARTING, GapReason.DISABLED})


@dataclass(frozen=True)
class Gap:
    """A gap's row."""

    start_time: datetime
    end_time: datetime
    reason: GapReason
    detail: str | None

    @property
    def seconds(self) -> float:
        return (self.end_time - self.start_time).total_seconds()


@dataclass(frozen=True)
class Attempt:
    """One without media: when it began (seconds since 1970), how long it lasted, why it ended."""

    began: float
    seconds: float
    error: str


@dataclass
class Track:
    """A channel: when its mount failed and was well again (seconds since 1970), and what is on record of it."""

    channel_id: int
    mount: Mount | None
    failed: float = 0.0
    healed: float = 0.0
    title: str | None = None
    recordings: list[Recording] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    moves: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def places(self) -> list[Place]:
        """The mount's frames that are archived, in the order of the files."""
        return [place for content in self.contents for place in content.places if place is not None]

    @property
    def unknown(self) -> int:
        """How many frames are archived that the mount never sent so."""
        return sum(place is None for content in self.contents for place in content.places)

    @property
    def lost_seconds(self) -> float:
        """Media between the first and the last frame that is archived, and is not."""
        assert self.mount is not None
        parts = self.mount.parts
        return sum(
            len(frames) * parts[part].programme.frame_seconds for part, frames in missing(self.places).items()
        )

    @property
    def later_gaps(self) -> list[Gap]:
        """All gaps but that before the first media, and that before the channel was disabled."""
        return [gap for gap in self.gaps if gap.reason not in EXPECTED]

    @property
    def resumed(self) -> float:
        """When the first frame was on air that is archived after the mount was well again."""
        assert self.mount is not None
        moments = (self.mount.parts[place.part].on_air(place.frame).timestamp() for place in self.places)
        return min((moment for moment in moments if moment >= self.healed), default=float("inf"))

    @property
    def deviations(self) -> list[float]:
        """How far, in seconds, the files' beginnings are from when their first known frame was on air."""
        assert self.mount is not None
        found = []
        for row, content in zip(self.recordings, self.contents, strict=True):
            if content.places and (place := content.places[0]) is not None:
                on_air = self.mount.parts[place.part].on_air(place.frame)
                found.append((row.start_time - on_air).total_seconds())
        return found

    def bounds(self, gap: Gap) -> tuple[float, float]:
        """How far a gap's bounds are from the frames between which it lies, in seconds."""
        assert self.mount is not None
        parts = self.mount.parts
        begins = [parts[a.part].on_air(a.frame + 1) for a, _ in jumps(self.places)]
        ends = [parts[b.part].on_air(b.frame) for _, b in jumps(self.places)]
        return (
            min(abs((gap.start_time - moment).total_seconds()) for moment in begins),
            min(abs((gap.end_time - moment).total_seconds()) for moment in ends),
        )

    def attempts(self, since: float = 0.0) -> list[Attempt]:
        """Those that ended without media, in order."""
        pairs = [
            (one, two) for one, two in pairwise(self.moves) if (one["new"], two["new"]) == ("starting", "backoff")
        ]
        found = [Attempt(one["at"], two["at"] - one["at"], two["error"] or "") for one, two in pairs]
        return [attempt for attempt in found if attempt.began >= since]

    def waits(self, since: float = 0.0) -> list[float]:
        """Seconds between the end of an attempt and the next."""
        pairs = [
            (one, two) for one, two in pairwise(self.moves) if (one["new"], two["new"]) == ("backoff", "starting")
        ]
        return [two["at"] - one["at"] for one, two in pairs if one["at"] >= since]

    def fell_back(self, since: float) -> float:
        """When it first fell back to waiting from `since` on."""
        return min(float(move["at"]) for move in self.moves if move["new"] == "backoff" and move["at"] >= since)


class Ordeal:
    """A recorder of its own on a database of its own."""

    def __init__(self, engine: Engine, settings: Settings, folder: Path) -> None:
        self.engine = engine
        self.settings = settings
        self.folder = folder
        self.log = folder / "recorder.log"
        self.tracks: dict[str, Track] = {}

    @contextmanager
    def recorder(
        self, reachable: list[str], *, program: Sequence[str] = PROGRAM, **variables: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A recorder that may capture from these; `program` are the interpreter's arguments."""
        assert self.settings.database_url is not None
        environment = {
            **os.environ,
            "DATABASE_URL": self.settings.database_url.get_secret_value(),
            "STREAMREC_DATA_DIR": str(self.settings.data_dir),
            "STREAMREC_EGRESS_ALLOW": ",".join(reachable),
            "STREAMREC_LOG_FORMAT": "json",
            "STREAMREC_LOG_LEVEL": "debug",  # tells every attempt
            **variables,
        }
        with programs.running([sys.executable, *program], self.log, environment=environment, cwd=PROJECT) as child:
            yield child

    def add(self, name: str, url: str, mount: Mount | None = None, **changes: object) -> Track:
        """A channel, five seconds a file."""
        body = fields(url=url, keyname=name.ljust(10, "-"), segment_seconds=5, **changes)
        draft = checked(body, resolve=lambda host: [], allow=[_authority(url)])
        with Session(self.engine) as session, session.begin():
            self.tracks[name] = Track(channels.create(session, draft).id, mount)
        return self.tracks[name]

    def change(self, name: str, **changes: object) -> None:
        """Write a channel's row anew."""
        allow = [_authority(str(changes["url"]))] if "url" in changes else []
        draft = checked(changes, allow=allow)
        with Session(self.engine) as session, session.begin():
            channels.update(session, self.tracks[name].channel_id, draft)

    def await_recorder(self, seconds: float = 60.0) -> None:
        """Until it is among the recorders: what is added before then begins with a time without one."""

        def is_there() -> bool:
            return self.log.exists() and "the archive can be written" in self.log.read_text()

        programs.eventually(is_there, seconds, "the recorder is there", every=0.2)

    def await_running(self, names: list[str], seconds: float = 30.0) -> None:
        """Until these captures run."""
        wanted = {self.tracks[name].channel_id for name in names}
        running = sa.select(Capture.channel_id).where(Capture.state == "running")

        def probe() -> bool:
            with Session(self.engine) as session:
                return wanted <= set(session.scalars(running))

        programs.eventually(probe, seconds, "the captures run", every=0.2)

    def take_titles(self) -> None:
        """What each capture shows while it runs."""
        with Session(self.engine) as session:
            titles = {row.channel_id: row.title for row in session.scalars(sa.select(Capture))}
        for track in self.tracks.values():
            track.title = titles.get(track.channel_id)

    def gather(self) -> None:
        """Take down what is on record of every channel."""
        moves = self._moves()
        with Session(self.engine, expire_on_commit=False) as session:
            for track in self.tracks.values():
                track.moves = [move for move in moves if move["channel_id"] == track.channel_id]
                track.recordings = list(session.scalars(_in_order(Recording, track)))
                gaps = session.scalars(_in_order(Coverage, track).where(Coverage.kind == CoverageKind.GAP))
                track.gaps = [
                    Gap(row.start_time, row.end_time, row.reason, row.detail)
                    for row in gaps
                    if row.reason is not None
                ]
                if track.mount is not None:
                    key = Key(track.mount)
                    paths = (self.settings.archive_dir / row.path for row in track.recordings)
                    track.contents = [key.read(path) for path in paths]

    def _moves(self) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            if '"capture moved"' in line:
                move = json.loads(line)
                found.append({**move, "at": datetime.fromisoformat(move["timestamp"]).timestamp()})
        return found


def _in_order(table: Any, track: Track) -> Any:
    return sa.select(table).where(table.channel_id == track.channel_id).order_by(table.start_time)


def _authority(url: str) -> str:
    return url.split("/")[2].rpartition("@")[2]


def play(course: list[tuple[float, Callable[[], None]]]) -> None:
    """Do each thing so many seconds after now."""
    began = time.monotonic()
    for at, act in sorted(course, key=lambda step: step[0]):
        threading.Event().wait(max(0.0, began + at - time.monotonic()))
        act()
