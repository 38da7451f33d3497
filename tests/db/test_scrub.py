"""The background's looks at the archive: what they find, note, and take back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db, scrub
from streamrec.archive.looking import Depth
from streamrec.clock import now
from streamrec.models import ArchiveCheck, RecordingFault
from streamrec.settings import Settings
from tests import factories as make

MEDIA = bytes(range(100))


class World:
    """A recording of an hour ago."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        ago = (now() - make.T0).total_seconds() - 3600
        told = {"path": "a/1.mp3", "size_bytes": len(MEDIA), "sha256": hashlib.sha256(MEDIA).hexdigest()}
        with db.Session.begin() as session:
            todays = 3000 + now().toordinal() % scrub.SLICES
            make.captured(session, make.channel(session).id, ago, ago + 60, id=todays, **told)
        self.file: Path = settings.archive_dir / "a/1.mp3"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(MEDIA)

    def run(self, depth: Depth) -> int:
        self.slept = 0.0

        def sleep(seconds: float) -> None:
            self.slept += seconds

        return scrub.run(self.settings, depth, sleep=sleep)

    def faults(self) -> list[str]:
        with db.Session.begin() as session:
            return list(session.scalars(sa.select(RecordingFault.fault)))


@pytest.fixture
def world(engine: Engine, settings: Settings) -> World:
    return World(settings)


@pytest.mark.parametrize("depth", list(Depth))
def test_what_is_right_has_no_fault_and_the_look_is_told(world: World, depth: Depth) -> None:
    assert world.run(depth) == 0

    with db.Session.begin() as session:
        assert session.execute(sa.select(ArchiveCheck.level, ArchiveCheck.looked_at)).all() == [(depth.value, 1)]


@pytest.mark.parametrize("depth", list(Depth))
def test_a_missing_file_is_noted_until_it_is_back(world: World, depth: Depth) -> None:
    world.file.unlink()
    assert world.run(depth) == 1
    assert world.faults() == ["missing"]

    world.file.write_bytes(MEDIA)
    assert world.run(depth) == 0
    assert world.faults() == []


def test_a_flipped_bit_is_found_by_the_hash_and_not_forgotten_by_the_size(world: World) -> None:
    world.file.write_bytes(MEDIA[:-1] + b"\0")
    assert world.run(Depth.SIZE) == 0
    assert world.run(Depth.HASH) == 1
    world.run(Depth.SIZE)

    assert world.faults() == ["has another SHA-256"]


def test_reading_is_held_to_its_rate(world: World) -> None:
    world.settings = world.settings.model_copy(update={"check_bytes_per_second": 50})
    world.run(Depth.HASH)

    assert world.slept == pytest.approx(2.0)
