"""What `streamrec audit` finds, and what it does not hold against a recorder at work."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import audit, losses, roots
from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.archive.looking import Depth, Fault
from streamrec.clock import now
from streamrec.models import (
    ArchiveRoot,
    Coverage,
    CoverageKind,
    FileFormat,
    Garbage,
    Loss,
    Recorder,
    Recording,
    Run,
)
from streamrec.recorder.facts import SegmentOpened
from streamrec.recorder.spool import Spool
from streamrec.settings import Settings
from tests import factories as make

MEDIA = b"\xff\xfb" + bytes(100)


class World:
    """A channel with a recording, its file and its account."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.session = session
        self.settings = settings
        self.channel = make.channel(session, expected_from=make.T0)
        self.key = self.new_key()
        self.file = self.put(self.key)
        self.recording = make.captured(
            session,
            self.channel.id,
            0,
            60,
            path=self.key,
            size_bytes=len(MEDIA),
            sha256=hashlib.sha256(MEDIA).hexdigest(),
        )
        session.execute(sa.text("UPDATE enabled_period SET end_time = :end"), {"end": make.at(60)})

    def new_key(self) -> str:
        return layout.key(keyname=self.channel.keyname, start_time=make.T0, run_id=uuid4(), format=FileFormat.MP3)

    def put(self, name: str, data: bytes = MEDIA) -> Path:
        path = self.settings.archive_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def violations(self, depth: Depth = Depth.HASH) -> dict[str, list[str]]:
        found = audit.run(self.session, self.settings, depth=depth)
        return {one.id: one.examples for one in found if one.violations}


@pytest.fixture
def world(session: Session, settings: Settings) -> World:
    return World(session, settings)


def test_a_whole_archive_has_no_violation(world: World) -> None:
    assert world.violations() == {}


def test_everything_is_looked_at(world: World) -> None:
    looked_at = {one.id: one.looked_at for one in audit.run(world.session, world.settings)}

    assert looked_at == {"I1": 1, "I2": 1, "lost": 0, "I3": 1, "I4": 1, "I5": 0, "refused": 0}


def test_time_of_which_nobody_speaks_is_found(world: World) -> None:
    world.session.execute(sa.text("UPDATE enabled_period SET end_time = :end"), {"end": make.at(61)})

    assert world.violations() == {
        "I1": [f"channel {world.channel.id}: 2026-11-01T12:01:00.000Z to 2026-11-01T12:01:01.000Z"]
    }


def test_spans_that_overlap_are_found_though_the_constraint_is_gone(world: World) -> None:
    world.session.execute(sa.text("ALTER TABLE coverage DROP CONSTRAINT coverage_overlap_excl"))
    make.covered(world.session, world.channel.id, 10, 20, CoverageKind.LOST)

    (missing, overlap) = world.violations()["I2"]

    assert missing == "the exclusion constraint is missing or not validated"
    rows = world.session.scalars(sa.select(Coverage.id).order_by(Coverage.start_time)).all()
    assert overlap == f"channel {world.channel.id}: rows {rows[0]} and {rows[1]}"


def test_a_file_that_is_gone_is_found(world: World) -> None:
    world.file.unlink()

    assert world.violations(Depth.PRESENCE) == {"I3": [f"recording {world.recording.id}, {world.key}: missing"]}


def test_what_is_lost_is_accounted_for(world: World) -> None:
    world.file.unlink()
    losses.note(world.session, world.recording, Fault(Loss.MISSING, "missing"))

    assert world.violations() == {}


def test_a_loss_of_which_the_account_does_not_speak_is_found(world: World) -> None:
    world.recording.lost = Loss.MISSING
    world.session.flush()

    row = world.session.scalars(sa.select(Coverage.id)).one()
    told = f"channel {world.channel.id}: row {row} says recorded of recording {world.recording.id}"
    assert world.violations() == {"lost": [told]}


def test_what_another_host_keeps_is_not_missed_here(world: World) -> None:
    with Tree(world.settings.archive_dir) as tree:
        roots.expected(world.session, tree, host="studio-1")
    elsewhere = ArchiveRoot(id=uuid4(), host="studio-2", path="/data/archive")
    recorder = Recorder(id=uuid4(), host="studio-2", pid=1, version="0.1.0", root_id=elsewhere.id)
    world.session.add_all([elsewhere, recorder])
    world.session.execute(sa.update(Run).values(recorder_id=recorder.id))
    world.file.unlink()

    assert world.violations() == {}


def test_a_link_is_not_the_file(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(MEDIA)
    world.file.unlink()
    world.file.symlink_to(elsewhere)

    assert list(world.violations(Depth.PRESENCE)) == ["I3"]


@pytest.mark.parametrize(("depth", "is_found"), [(Depth.PRESENCE, False), (Depth.SIZE, True), (Depth.HASH, True)])
def test_a_file_of_another_size_is_found_by_its_size(world: World, depth: Depth, is_found: bool) -> None:
    world.file.write_bytes(MEDIA + b"x")

    assert ("I3" in world.violations(depth)) is is_found


@pytest.mark.parametrize(("depth", "is_found"), [(Depth.SIZE, False), (Depth.HASH, True)])
def test_a_bit_that_flipped_is_found_by_the_hash(world: World, depth: Depth, is_found: bool) -> None:
    world.file.write_bytes(MEDIA[:-1] + b"x")

    assert ("I3" in world.violations(depth)) is is_found


def test_a_file_that_nothing_explains_is_found(world: World) -> None:
    key = world.new_key()
    world.put(key)

    assert world.violations() == {"I4": [key]}


def test_a_file_of_which_the_spool_knows_is_explained(world: World) -> None:
    """A recorder at work has files that no row speaks of yet."""
    key = world.new_key()
    world.put(key + layout.PART)
    opened = SegmentOpened(uuid4(), uuid4(), world.channel.id, key, FileFormat.MP3, "mp3", make.T0)
    with Spool(world.settings.spool_dir) as spool:
        spool.append(opened)

        assert world.violations() == {}


def test_a_file_that_is_about_to_be_deleted_is_explained(world: World) -> None:
    world.session.execute(sa.delete(Coverage))
    world.session.execute(sa.delete(Recording))
    world.session.execute(sa.text("DELETE FROM enabled_period"))
    world.session.add(Garbage(path=world.key))
    world.session.flush()

    assert world.violations() == {}


def test_what_the_disk_spoiled_needs_no_reason(world: World) -> None:
    world.put(world.new_key() + layout.BAD)

    assert world.violations() == {}


def test_a_part_that_nobody_writes_is_found(world: World) -> None:
    name = world.new_key() + layout.PART
    path = world.put(name)
    long_ago = (now() - timedelta(hours=2)).timestamp()
    os.utime(path, (long_ago, long_ago))

    assert list(world.violations()) == ["I4", "I5"]


def test_a_fact_that_the_database_refused_is_found(world: World) -> None:
    world.settings.spool_dir.mkdir(parents=True)
    (world.settings.spool_dir / "refused.txt").write_text("GapNoted(...) # overlaps\n")

    assert world.violations() == {"refused": ["GapNoted(...) # overlaps"]}


def test_the_first_twenty_violations_are_told_and_all_are_counted(world: World) -> None:
    for _ in range(25):
        world.put(world.new_key())

    (found,) = [one for one in audit.run(world.session, world.settings) if one.id == "I4"]

    assert (found.violations, len(found.examples)) == (25, 20)
