"""The background's looks at the archive: what they find, what is lost because of it, and what is taken back."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from sqlalchemy.engine import Engine

from streamrec import db, deletion, losses, manifests, recordings, retention, roots, scrub
from streamrec.archive import places, root
from streamrec.archive.files import Tree
from streamrec.archive.looking import Depth, Fault
from streamrec.archive.storage import StorageAway
from streamrec.clock import now
from streamrec.errors import Unavailable
from streamrec.models import (
    ArchiveCheck,
    ArchiveRoot,
    Coverage,
    CoverageKind,
    Loss,
    Recorder,
    Recording,
    RecordingFault,
    Run,
    Store,
)
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server

MEDIA = bytes(range(100))
KEY = "gr-rstpk-1/2026/11/01/20261101T120000.000Z-0123456789ab.mp3"


class World:
    """A recording of an hour ago in an archive that bears its mark."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.slept = 0.0
        ago = (now() - make.T0).total_seconds() - 3600
        told = {"path": KEY, "size_bytes": len(MEDIA), "sha256": hashlib.sha256(MEDIA).hexdigest()}
        with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
            roots.expected(session, tree, host=socket.gethostname())
            todays = 3000 + now().toordinal() % scrub.SLICES
            self.channel_id = make.channel(session).id
            self.id = make.captured(session, self.channel_id, ago, ago + 60, id=todays, **told).id
        self.file: Path = settings.archive_dir / KEY
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(MEDIA)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def run(self, depth: Depth) -> int:
        return scrub.run(self.settings, depth, sleep=self.sleep)

    def again(self) -> int:
        return scrub.again(self.settings, sleep=self.sleep)

    def faults(self) -> list[str]:
        with db.Session.begin() as session:
            return list(session.scalars(sa.select(RecordingFault.fault)))

    def state(self) -> tuple[CoverageKind, Loss | None]:
        """What the account and the recording say."""
        with db.Session.begin() as session:
            return session.scalars(sa.select(Coverage.kind)).one(), session.get_one(Recording, self.id).lost

    def lost(self) -> dict[int, Loss | None]:
        """What each recording says."""
        with db.Session.begin() as session:
            return {row.id: row.lost for row in session.execute(sa.select(Recording.id, Recording.lost))}

    def move_to(self, bucket: server.Bucket) -> Settings:
        """The recording lies in a bucket that bears its mark."""
        self.settings = self.settings.model_copy(
            update={
                "s3_bucket": bucket.name,
                "s3_endpoint": bucket.endpoint,
                "s3_access_key": bucket.access_key,
                "s3_secret_key": SecretStr(bucket.secret_key),
            }
        )
        roots.bucket(self.settings).put(KEY, MEDIA)
        with db.Session.begin() as session:
            session.execute(sa.update(Recording).values(store=Store.S3, object_key=KEY))
        self.file.unlink()
        return self.settings


RECORDED = (CoverageKind.RECORDED, None)
MISSING = (CoverageKind.LOST, Loss.MISSING)
ALTERED = (CoverageKind.LOST, Loss.ALTERED)


@pytest.fixture
def world(engine: Engine, settings: Settings) -> World:
    return World(settings)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.mark.parametrize("depth", list(Depth))
def test_what_is_right_has_no_fault_and_the_look_is_told(world: World, depth: Depth) -> None:
    assert world.run(depth) == 0

    with db.Session.begin() as session:
        assert session.execute(sa.select(ArchiveCheck.level, ArchiveCheck.looked_at)).all() == [(depth.value, 1)]
    assert world.state() == RECORDED


@pytest.mark.parametrize("depth", list(Depth))
def test_a_recording_whose_file_is_missing_is_lost_until_it_is_back(world: World, depth: Depth) -> None:
    world.file.unlink()
    assert world.run(depth) == 1
    assert (world.faults(), world.state()) == (["missing"], MISSING)

    world.file.write_bytes(MEDIA)
    assert world.again() == 0
    assert (world.faults(), world.state()) == ([], RECORDED)


@pytest.mark.parametrize("depth", list(Depth))
def test_a_look_at_everything_tells_what_is_lost_and_what_is_back(world: World, depth: Depth) -> None:
    path = KEY.replace("20261101T12", "20261101T13")
    told = {"path": path, "size_bytes": 100, "sha256": hashlib.sha256(MEDIA).hexdigest()}
    with db.Session.begin() as session:
        old = make.captured(session, world.channel_id, 0, 60, id=world.id + 1, **told)  # in no share of today
    assert scrub.everything(world.settings, depth, sleep=world.sleep) == 1
    assert world.lost() == {old.id: Loss.MISSING, world.id: None}

    (world.settings.archive_dir / path).write_bytes(MEDIA)
    assert scrub.everything(world.settings, depth, sleep=world.sleep) == 0
    assert world.lost() == {old.id: None, world.id: None}


def test_what_somebody_could_not_read_is_lost_at_once_and_told_once(world: World) -> None:
    world.file.unlink()

    assert (scrub.one(world.settings, world.id), scrub.one(world.settings, world.id)) == (True, False)
    assert world.state() == MISSING


def test_a_disk_that_is_away_makes_nothing_lost_that_somebody_could_not_read(world: World) -> None:
    shutil.rmtree(world.settings.archive_dir)

    assert not scrub.one(world.settings, world.id)
    assert world.state() == RECORDED


def test_a_flipped_bit_is_found_by_the_hash_and_not_forgotten_by_the_size(world: World) -> None:
    world.file.write_bytes(MEDIA[:-1] + b"\0")
    assert world.run(Depth.SIZE) == 0
    assert world.run(Depth.HASH) == 1
    world.run(Depth.SIZE)

    assert (world.faults(), world.state()) == (["has another SHA-256"], ALTERED)


def test_what_is_put_back_counts_only_if_every_byte_is_right(world: World) -> None:
    world.file.unlink()
    world.run(Depth.PRESENCE)
    world.file.write_bytes(MEDIA[::-1])

    assert world.again() == 1
    assert world.state() == ALTERED


def test_a_link_in_the_files_place_is_not_the_file(world: World, tmp_path: Path) -> None:
    world.file.unlink()
    world.file.symlink_to(tmp_path / "elsewhere")

    assert world.run(Depth.PRESENCE) == 1
    assert world.state() == ALTERED


def test_reading_is_held_to_its_rate(world: World) -> None:
    world.settings = world.settings.model_copy(update={"check_bytes_per_second": 50})
    world.run(Depth.HASH)

    assert world.slept == pytest.approx(2.0)


def test_a_change_of_what_is_lost_is_another_version(world: World) -> None:
    world.file.unlink()
    with db.Session.begin() as session:
        before = session.get_one(Recording, world.id).version
    world.run(Depth.PRESENCE)
    world.again()

    with db.Session.begin() as session:
        assert session.get_one(Recording, world.id).version == before + 1


# --- what proves nothing ----------------------------------------------------------------------------------


def test_a_bare_mount_point_makes_nothing_lost(world: World) -> None:
    shutil.rmtree(world.settings.archive_dir)
    world.settings.archive_dir.mkdir()

    with pytest.raises(Unavailable):
        world.run(Depth.PRESENCE)
    assert (world.faults(), world.state()) == ([], RECORDED)


def test_a_folder_that_is_not_there_makes_nothing_lost(world: World) -> None:
    shutil.rmtree(world.settings.archive_dir)

    with pytest.raises(OSError, match="No such file"):
        world.run(Depth.PRESENCE)
    assert world.state() == RECORDED
    assert not world.settings.archive_dir.exists()


@pytest.mark.parametrize("whose", ["another database", "another archive"])
def test_another_disk_makes_nothing_lost(world: World, whose: str) -> None:
    world.file.unlink()
    with Tree(world.settings.archive_dir) as tree:
        ours = root.identity(tree)
        assert ours is not None
        root.mark(tree, ours.database if whose == "another archive" else uuid4())

    with pytest.raises(Unavailable):
        world.run(Depth.SIZE)
    assert world.state() == RECORDED


def test_a_disk_that_goes_while_it_is_looked_at_makes_nothing_lost(world: World) -> None:
    """The folder that was proved is the one that is read, whatever lies at its path."""
    away = world.settings.archive_dir.with_name("unmounted")

    def unmount(_: float) -> None:
        if not away.exists():
            world.settings.archive_dir.rename(away)
            world.settings.archive_dir.mkdir()

    assert scrub.run(world.settings, Depth.HASH, sleep=unmount) == 0
    assert away.exists()
    assert world.state() == RECORDED


def test_a_disk_that_cannot_be_read_is_told_and_makes_nothing_lost(world: World) -> None:
    """An error of reading may be the disk's last word, or a cable's."""
    with db.Session.begin() as session:
        (row,) = session.execute(sa.select(Recording)).scalars()
        assert losses.note(session, row, Fault(None, "unreadable: Input/output error"))

    assert (world.faults(), world.state()) == (["unreadable: Input/output error"], RECORDED)


def test_what_another_host_recorded_is_not_looked_for_here(world: World) -> None:
    """Several recorders with archives of their own share a database."""
    world.file.unlink()
    elsewhere = uuid4()
    with db.Session.begin() as session:
        session.add(ArchiveRoot(id=elsewhere, host="studio-2", path="/data/archive"))
        recorder = Recorder(id=uuid4(), host="studio-2", pid=1, version="0.1.0", root_id=elsewhere)
        session.add(recorder)
        session.flush()
        session.execute(sa.update(Run).values(recorder_id=recorder.id))

    assert world.run(Depth.PRESENCE) == 0
    assert world.state() == RECORDED


def test_what_nobody_knows_the_archive_of_is_not_lost_while_there_are_several(world: World) -> None:
    world.file.unlink()
    with db.Session.begin() as session:
        session.add(ArchiveRoot(id=uuid4(), host="studio-2", path="/data/archive"))

    world.run(Depth.PRESENCE)

    assert world.state() == RECORDED


# --- the bucket -------------------------------------------------------------------------------------------


def test_an_object_that_is_missing_is_lost_until_it_is_back(world: World, endpoint: str) -> None:
    bucket = places.bucket(world.move_to(server.new_bucket(endpoint)))
    bucket.delete(KEY)
    assert world.run(Depth.PRESENCE) == 1
    assert world.state() == MISSING

    bucket.put(KEY, MEDIA)
    assert world.again() == 0
    assert world.state() == RECORDED


def test_an_object_that_was_replaced_is_lost(world: World, endpoint: str) -> None:
    places.bucket(world.move_to(server.new_bucket(endpoint))).put(KEY, MEDIA[::-1])

    assert world.run(Depth.HASH) == 1
    assert world.state() == ALTERED


@pytest.mark.parametrize("fault", ["away", "another", "emptied", "gone"])
def test_a_bucket_that_is_not_ours_makes_nothing_lost(world: World, endpoint: str, fault: str) -> None:
    changed = world.move_to(server.new_bucket(endpoint))
    if fault == "away":
        world.settings = changed.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    elif fault == "another":
        world.settings = changed.model_copy(update={"s3_bucket": server.new_bucket(endpoint).name})
    elif fault == "gone":
        world.settings = changed.model_copy(update={"s3_bucket": "never-made"})
    else:
        for name, _ in list(places.bucket(changed).names()):
            places.bucket(changed).delete(name)

    with pytest.raises(StorageAway):
        world.run(Depth.PRESENCE)
    assert world.state() == RECORDED


def test_a_bucket_that_is_away_keeps_nothing_from_the_folder(world: World, endpoint: str) -> None:
    changed = world.move_to(server.new_bucket(endpoint))
    world.settings = changed.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    with db.Session.begin() as session:
        ago = (now() - make.T0).total_seconds() - 1800
        here = make.captured(session, world.channel_id, ago, ago + 60, id=9000).id

    with pytest.raises(StorageAway):
        world.run(Depth.PRESENCE)
    with db.Session.begin() as session:
        assert session.get_one(Recording, here).lost is Loss.MISSING


def test_the_folder_is_not_read_again_because_the_bucket_is_away(world: World, endpoint: str) -> None:
    there = world.move_to(server.new_bucket(endpoint))
    away = there.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    with pytest.raises(StorageAway):
        scrub.daily(away, Depth.PRESENCE)
    assert looks() == {socket.gethostname()}
    with db.Session.begin() as session:
        ago = (now() - make.T0).total_seconds() - 1800
        make.captured(session, world.channel_id, ago, ago + 60)  # its file is missing

    with pytest.raises(StorageAway):
        scrub.daily(away, Depth.PRESENCE)
    assert world.faults() == []
    scrub.daily(there, Depth.PRESENCE)
    assert looks() == {socket.gethostname(), f"s3://{there.s3_bucket}"}


def looks() -> set[str]:
    with db.Session.begin() as session:
        return set(session.scalars(sa.select(ArchiveCheck.host)))


# --- others at work ---------------------------------------------------------------------------------------


def seen(world: World) -> Recording:
    with db.Session.begin() as session:
        row = session.get_one(Recording, world.id)
        session.expunge(row)
        return row


def test_what_was_deleted_meanwhile_is_not_lost_but_expired(world: World) -> None:
    row = seen(world)
    deletion.recording(world.id, world.settings.archive_dir)
    with db.Session.begin() as session:
        assert not losses.note(session, row, Fault(Loss.MISSING, "missing"))

    with db.Session.begin() as session:
        assert session.scalars(sa.select(Coverage.kind)).all() == [CoverageKind.EXPIRED]


def test_a_look_waits_for_a_deletion_that_is_under_way_and_then_finds_nothing(world: World) -> None:
    row = seen(world)
    noted: list[bool] = []

    def note() -> None:
        with db.Session.begin() as session:
            noted.append(losses.note(session, row, Fault(Loss.MISSING, "missing")))

    looker = threading.Thread(target=note)
    with db.Session.begin() as session:
        recordings.delete(session, world.id)
        looker.start()
        await_waiter(session.connection())
        assert noted == []
    looker.join(10)

    assert noted == [False]
    with db.Session.begin() as session:
        assert session.scalars(sa.select(Coverage.kind)).all() == [CoverageKind.EXPIRED]


def await_waiter(connection: sa.Connection) -> None:
    """Until another session waits for a lock."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database())"
    )
    deadline = time.monotonic() + 10
    while not connection.scalar(waiting):
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)


def test_what_moved_to_the_bucket_meanwhile_is_not_lost(world: World) -> None:
    row = seen(world)
    with db.Session.begin() as session:
        session.execute(sa.update(Recording).values(store=Store.S3, object_key=KEY))
    with db.Session.begin() as session:
        assert not losses.note(session, row, Fault(Loss.MISSING, "missing"))

    assert world.state() == RECORDED


@pytest.mark.parametrize("damage", ["unlink", "replace"])
def test_what_is_lost_expires_like_all_else(world: World, damage: str) -> None:
    if damage == "unlink":
        world.file.unlink()
    else:
        world.file.write_bytes(b"x")
    world.run(Depth.SIZE)
    with db.Session.begin() as session:
        row = session.get_one(Recording, world.id)
        row.start_time -= timedelta(days=61)
        row.end_time -= timedelta(days=61)

    assert retention.run(world.settings) == 1
    with db.Session.begin() as session:
        assert session.scalars(sa.select(Coverage.kind)).all() == [CoverageKind.EXPIRED]
        assert recordings.garbage(session) == []
    assert (world.file.exists(), world.faults()) == (False, [])


def test_a_sealed_day_stays_and_a_later_one_says_lost_and_found(world: World) -> None:
    key = Ed25519PrivateKey.generate()

    def sealed(day: int) -> list[str]:
        with db.Session.begin() as session:
            made = manifests.seal(session, world.channel_id, now().date() + timedelta(days=day), key)
            return [entry["kind"] for entry in manifests.envelope(made)["manifest"]["entries"]]

    told = [sealed(1)]
    world.file.unlink()
    world.run(Depth.PRESENCE)
    told.append(sealed(2))
    world.file.write_bytes(MEDIA)
    world.again()
    told.append(sealed(3))

    assert told == [["recorded"], ["lost"], ["recorded"]]
