"""Backups: a recorder leaves a station that fails, and comes back to it without a hole."""

from __future__ import annotations

from collections.abc import Iterator
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
from tests.station.faulty import Fault, Station
from tests.station.numbered import Numbered

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
    assert outage.end_time - outage.start_time < timedelta(seconds=8)
    assert unaccounted(channel_id) == timedelta()
    turns = [after for before, after in pairwise(found) if before[0] != after[0]]
    assert [which for which, _ in turns] == [2, 1]
    urls = scalar(sa.select(sa.func.array_agg(sa.distinct(Run.source_url))))
    assert set(urls) == {station.url("a"), station.url("b")}


def test_two_doors_of_one_encoder_are_joined_at_the_very_frame(
    quick: None, settings: Settings, station: Station
) -> None:
    """Both ways, because the burst of one holds the last frames of the other."""
    programme = Numbered(1)
    primary = station.add("a", programme)
    backup = station.add("b", programme)
    backup.parts[0] = primary.parts[0]
    channel_id = add(station.url("a"), backup_urls=[station.url("b")])
    wait(lambda: recordings() >= 1, "a file", 20)
    primary.fault = Fault.STALL
    wait(lambda: source() == 1 and state(channel_id) == "running", "the backup is recorded", 20)
    primary.hang_up()
    primary.fault = None
    wait(lambda: source() == 0, "the primary is back", 30)
    wait(lambda: [row.source_index for row in rows()][-1:] == [0] and recordings() >= 4, "its files", 30)

    numbers = [number for _, number in frames(settings, programme)]
    assert {row.source_index for row in rows()} == {0, 1}
    assert gaps() == []
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
