"""Backups: a recorder leaves a station that fails, and comes back to it without a hole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.models import Capture, Coverage, CoverageKind, GapReason, Recording, Run
from streamrec.settings import Settings
from tests.recorder.test_worker import add, recorder, recordings, scalar, state, unaccounted, wait
from tests.station import hls
from tests.station.content import Key, Told
from tests.station.faulty import Fault, Mount, Station
from tests.station.hls import Origin
from tests.station.journal import Journal
from tests.station.live import Live, LiveFault
from tests.station.mount import BURST_FRAMES
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedPictures, NumberedSound

LONG_BURST = 2 * BURST_FRAMES  # a source without media is left after two seconds and up to two beats
QUICK = {"STREAMREC_SOURCE_PATIENCE_SECONDS": "2", "STREAMREC_SOURCE_RETURN_SECONDS": "3"}


def source() -> object:
    return scalar(sa.select(Capture.source_index))


def rows() -> list[Recording]:
    with db.Session.begin() as session:
        found = session.scalars(sa.select(Recording).order_by(Recording.start_time)).all()
        session.expunge_all()
    return list(found)


def gaps() -> list[Coverage]:
    wanted = (Coverage.kind == CoverageKind.GAP, Coverage.reason != GapReason.STARTING)
    with db.Session.begin() as session:
        found = session.scalars(sa.select(Coverage).where(*wanted).order_by(Coverage.start_time)).all()
        session.expunge_all()
    return list(found)


def frames(settings: Settings, *programmes: Numbered) -> list[tuple[int, int]]:
    """What is archived, in order: which programme, and which frame of it."""
    data = b"".join((settings.archive_dir / row.path).read_bytes() for row in rows())
    whole = [data[at : at + 384] for at in range(0, len(data), 384)]
    return [next((p.station, n) for p in programmes if (n := p.number_of(frame)) is not None) for frame in whole]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "recorder.log"


@pytest.fixture
def quick(engine: Engine, settings: Settings, station: Station, log: Path) -> Iterator[None]:
    """A recorder that is quick to leave a source and to come back."""
    with recorder(settings, log, station.port, **QUICK):
        yield


def test_a_station_that_dies_is_left_for_its_backup_and_returned_to_without_a_hole(
    quick: None, settings: Settings, station: Station
) -> None:
    """Two encoders: the outage is one gap, the return none, and each file says where it came from."""
    one, two = Numbered(1), Numbered(2)
    primary = station.add("a", one)
    station.add("b", two, burst_frames=0)
    channel_id = add(station.url("a"), backup_urls=[station.url("b")])
    wait(lambda: recordings() >= 1, "a file", 20)
    primary.fault = Fault.END
    wait(lambda: source() == 1 and state(channel_id) == "running", "the backup is recorded", 20)
    primary.fault = None
    wait(lambda: source() == 0, "the primary is back", 30)
    wait(lambda: [row.source_index for row in rows()][-1:] == [0] and recordings() >= 4, "its files", 30)

    found = frames(settings, one, two)
    assert {row.source_index for row in rows()} == {0, 1}
    [outage] = gaps()
    assert outage.reason is GapReason.SOURCE_ENDED
    assert outage.end_time == next(row.start_time for row in rows() if row.source_index == 1)
    assert unaccounted(channel_id) == timedelta()
    turns = [after for before, after in pairwise(found) if before[0] != after[0]]
    assert [which for which, _ in turns] == [2, 1]
    urls = scalar(sa.select(sa.func.array_agg(sa.distinct(Run.source_url))))
    assert set(urls) == {station.url("a"), station.url("b")}


@dataclass
class Pair:
    """A channel that is on the first of two doors of one encoder, and what the encoder makes."""

    programme: Told
    doors: tuple[Mount, Mount] | tuple[Live, Live]
    channel_id: int

    @property
    def source(self) -> object:
        return scalar(sa.select(Capture.source_index).where(Capture.channel_id == self.channel_id))

    @property
    def rows(self) -> list[Recording]:
        return [row for row in rows() if row.channel_id == self.channel_id]

    def numbers(self, settings: Settings) -> list[int | None]:
        """The frames that are archived, in order."""
        paths = [settings.archive_dir / row.path for row in self.rows]
        places = [place for path in paths for place in Key(self.doors[0]).read(path).places]
        return [place.frame if place else None for place in places]

    def shut(self) -> None:
        """The first door keeps its listeners and sends nothing, as a radio; or answers 503, as HLS does."""
        self.doors[0].fault = LiveFault.AWAY if isinstance(self.doors[0], Live) else Fault.STALL

    def open(self) -> None:
        if isinstance(self.doors[0], Mount):
            self.doors[0].hang_up()
        self.doors[0].fault = None


def radio(station: Station, name: str, programme: Numbered | NumberedSound) -> Pair:
    doors = tuple(station.add(f"{name}-{each}", programme, burst_frames=LONG_BURST) for each in ("one", "two"))
    doors[1].parts[0] = doors[0].parts[0]
    one, two = (station.url(door.name) for door in doors)
    return Pair(programme, doors, add(one, name=name, keyname=f"{name:_<10}", backup_urls=[two]))


def presentation(origin: Origin, name: str, programme: NumberedSound | NumberedPictures) -> Pair:
    began, journal = time.time() - 20, Journal()
    doors = Live(f"{name}-one", programme, journal, began), Live(f"{name}-two", programme, journal, began)
    origin.lives.update({door.name: door for door in doors})
    one, two = (origin.url(f"{door.name}/live.m3u8") for door in doors)
    return Pair(programme, doors, add(one, name=name, keyname=f"{name:_<10}", backup_urls=[two]))


def test_two_doors_of_one_encoder_are_joined_at_the_very_frame(
    engine: Engine, settings: Settings, station: Station, log: Path
) -> None:
    """Both ways, because the burst or the window of one holds the last frames of the other: MP3, AAC and HLS."""
    with hls.running() as origin, recorder(settings, log, station.port, origin.port, **QUICK):
        pairs = {
            "mp3": radio(station, "mp3", Numbered(1)),
            "aac": radio(station, "aac", NumberedSound(2)),
            "sound": presentation(origin, "sound", NumberedSound(3)),
            "packed": presentation(origin, "packed", NumberedSound(4, is_packed=True)),
            "pictures": presentation(origin, "pictures", NumberedPictures(5)),
        }
        all_of = list(pairs.values())
        wait(lambda: all(pair.rows for pair in all_of), "files", 20)
        for pair in all_of:
            pair.shut()
        is_away = lambda pair: pair.source == 1 and state(pair.channel_id) == "running"  # noqa: E731
        wait(lambda: all(map(is_away, all_of)), "the backups are recorded", 20)
        for pair in all_of:
            pair.open()
        wait(lambda: all(pair.source == 0 for pair in all_of), "the primaries are back", 30)
        is_done = lambda pair: len(pair.rows) >= 4 and pair.rows[-1].source_index == 0  # noqa: E731
        wait(lambda: all(map(is_done, all_of)), "their files", 30)

    numbers = {name: pair.numbers(settings) for name, pair in pairs.items()}
    assert all({row.source_index for row in pair.rows} == {0, 1} for pair in all_of)
    assert gaps() == []
    assert numbers == {name: list(range(found[0], found[0] + len(found))) for name, found in numbers.items()}
