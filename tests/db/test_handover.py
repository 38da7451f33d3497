"""How recordings move from the archive's folder to a bucket, whatever happens on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import Engine

from streamrec import db, deletion, handover, recordings
from streamrec.archive import layout, places, root
from streamrec.archive.files import Tree
from streamrec.archive.places import Reading
from streamrec.archive.storage import StorageAway
from streamrec.models import FileFormat, Garbage, Recording, RecordingFault, Store
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server

MEDIA = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


class World:
    """A channel of an instance that keeps its recordings in a bucket."""

    def __init__(self, settings: Settings, endpoint: str) -> None:
        found = server.new_bucket(endpoint)
        self.settings = settings.model_copy(
            update={
                "store": "s3",
                "s3_bucket": found.name,
                "s3_endpoint": found.endpoint,
                "s3_access_key": found.access_key,
                "s3_secret_key": SecretStr(found.secret_key),
                "s3_prefix": "radio/",
            }
        )
        with Tree(settings.archive_dir) as tree:
            root.mark(tree, uuid4())
        with db.Session.begin() as session:
            self.channel_id = make.channel(session).id

    def record(self, second: int = 0, media: bytes = MEDIA, sha256: str | None = None) -> int:
        start = datetime(2026, 11, 1, 12, 0, second, tzinfo=UTC)
        key = layout.key(keyname="gr-rstpk-1", start_time=start, run_id=uuid4(), format=FileFormat.MP3)
        path = self.settings.archive_dir / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(media)
        digest = sha256 or hashlib.sha256(media).hexdigest()
        with db.Session.begin() as session:
            return make.captured(
                session, self.channel_id, second, second + 1, path=key, size_bytes=len(media), sha256=digest
            ).id

    def row(self, recording_id: int) -> Recording | None:
        with db.Session.begin() as session:
            return session.get(Recording, recording_id)

    def objects(self) -> list[str]:
        return [name for name, _ in places.bucket(self.settings).names()]

    def files(self) -> list[Path]:
        return [path for path in self.settings.archive_dir.rglob("*.mp3") if path.is_file()]

    def notes(self) -> int:
        with db.Session.begin() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(Garbage)) or 0


@pytest.fixture
def world(engine: Engine, settings: Settings, endpoint: str) -> World:
    return World(settings, endpoint)


def test_a_recording_moves_whole_and_its_row_says_where(world: World) -> None:
    recording_id = world.record()

    assert handover.run(world.settings) == 1

    row = world.row(recording_id)
    assert (row.store, row.object_key) == (Store.S3, f"radio/{row.path}")
    assert layout.parse_object("radio/", row.object_key) == layout.parse(row.path)
    assert b"".join(Reading(world.settings).stream(row)) == MEDIA
    assert Reading(world.settings).read(row, 250, 10) == MEDIA[250:260]
    assert (world.files(), world.notes()) == ([], 0)


def test_moving_again_moves_nothing(world: World) -> None:
    world.record()
    handover.run(world.settings)

    assert handover.run(world.settings) == 0


def test_a_channel_may_keep_its_recordings_here(world: World) -> None:
    world.record()
    with db.Session.begin() as session:
        session.execute(sa.text("UPDATE channel SET store = 'local'"))

    assert handover.run(world.settings) == 0
    assert len(world.files()) == 1


def test_what_is_still_near_the_live_edge_stays(world: World) -> None:
    world.record()
    patient = world.settings.model_copy(update={"handover_after_seconds": 1e9})

    assert handover.run(patient) == 0


def test_a_file_that_is_not_what_its_row_says_never_leaves_and_is_told(world: World) -> None:
    recording_id = world.record(sha256="ab" * 32)

    assert handover.run(world.settings) == 0

    with db.Session.begin() as session:
        assert session.get(RecordingFault, recording_id) is not None
    assert (world.objects(), len(world.files())) == ([], 1)


def test_a_store_that_is_away_leaves_everything_where_it_is(world: World) -> None:
    recording_id = world.record()
    away = world.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})

    with pytest.raises(StorageAway):
        handover.run(away)
    with db.Session.begin() as session:
        waiting = handover.waiting(session, away)

    assert (waiting.files, waiting.size_bytes) == (1, len(MEDIA))
    assert waiting.oldest_seconds > 0
    assert handover.run(world.settings) == 1
    assert world.row(recording_id).store is Store.S3


STEPS = ["announced", "uploaded", "named"]


@pytest.mark.parametrize("last", STEPS)
def test_a_hand_over_that_died_is_gone_on_with(world: World, last: str) -> None:
    """After each of its steps, as a kill would leave it."""
    recording_id = world.record()
    row = world.row(recording_id)
    name = f"radio/{row.path}"
    with Tree(world.settings.archive_dir) as tree:
        handover._announced(recording_id, name)
        if last != "announced":
            handover._uploaded(world.settings, tree, row, name)
        if last == "named":
            handover._named(recording_id, row.path, name)

    handover.run(world.settings)
    deletion.sweep_leftovers(world.settings.archive_dir)

    assert world.row(recording_id).store is Store.S3
    assert (world.objects(), world.files(), world.notes()) == ([name], [], 0)


def test_deleting_takes_the_object_too(world: World) -> None:
    recording_id = world.record()
    handover.run(world.settings)
    deletion.recording(recording_id, world.settings.archive_dir)

    assert handover.sweep(world.settings) == 1
    assert (world.objects(), world.notes()) == ([], 0)


@pytest.mark.parametrize("last", STEPS[:2])
def test_a_recording_that_is_deleted_on_its_way_leaves_no_object(world: World, last: str) -> None:
    """The note is there from the deletion on, and acts once no upload can be on its way."""
    recording_id = world.record()
    row = world.row(recording_id)
    name = f"radio/{row.path}"
    handover._announced(recording_id, name)
    deletion.recording(recording_id, world.settings.archive_dir)
    places.bucket(world.settings).put(name, MEDIA)
    if last == "uploaded":
        assert not handover._named(recording_id, row.path, name)
    assert handover.sweep(world.settings) == 0
    with db.Session.begin() as session:
        session.execute(sa.update(Garbage).values(due_at=sa.func.now() - recordings.LONGEST_UPLOAD))

    assert handover.sweep(world.settings) == 1
    assert (world.objects(), world.files(), world.notes()) == ([], [], 0)
