"""What is particular to each kind of what moves to a bucket; the contract has what all keep to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import audit, db
from streamrec.archive import layout, places, root
from streamrec.archive.places import Reading
from streamrec.errors import Unavailable
from streamrec.files import keeping
from streamrec.handover import moving
from streamrec.models import Coverage, CoverageKind, Loss, Recording, Store
from streamrec.settings import Settings
from tests import store as server
from tests.goods import KINDS, MEDIA, World, kept_in


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture
def ours(settings: Settings, endpoint: str) -> Settings:
    return kept_in(settings, server.new_bucket(endpoint))


@pytest.fixture
def world(engine: Engine, ours: Settings) -> World:
    return World(ours)


def test_a_recording_is_called_as_in_the_archive(world: World) -> None:
    recording_id = world.put()
    world.hand_over()

    with db.Session.begin() as session:
        row = session.get_one(Recording, recording_id)
    assert row.object_key == f"radio/{row.path}"
    assert layout.parse_object("radio/", row.object_key) == layout.parse(row.path)
    assert b"".join(Reading(world.settings).stream(row)) == MEDIA
    assert Reading(world.settings).read(row, 250, 10) == MEDIA[250:260]


def test_what_is_still_near_the_live_edge_stays(world: World) -> None:
    world.put()
    patient = world.settings.model_copy(update={"handover_after_seconds": 1e9})

    assert world.hand_over(patient) == 0


def test_a_recording_whose_file_was_altered_is_lost(world: World) -> None:
    recording_id = world.put(sha256="ab" * 32)
    world.hand_over()

    assert world.place(recording_id).fault is Loss.ALTERED
    with db.Session.begin() as session:
        assert session.scalars(sa.select(Coverage.kind)).all() == [CoverageKind.LOST]


def test_nothing_leaves_a_folder_that_is_not_the_archive(world: World) -> None:
    world.put()
    (world.settings.archive_dir / root.MARK).unlink()

    with pytest.raises(Unavailable):
        world.hand_over()
    assert world.objects() == []


@pytest.mark.parametrize("kind", ["recording", "clip"])
def test_a_channel_may_keep_here_what_is_its(engine: Engine, ours: Settings, kind: str) -> None:
    world = World(ours, kind)
    world.put()
    with db.Session.begin() as session:
        session.execute(sa.text("UPDATE channel SET store = 'local'"))

    assert world.hand_over() == 0
    assert len(world.files()) == 1


@pytest.mark.parametrize("kind", ["recording", "clip"])
def test_a_channel_may_be_the_only_one_to_use_the_bucket(engine: Engine, ours: Settings, kind: str) -> None:
    world = World(ours.model_copy(update={"store": "local"}), kind)
    world.put()
    with db.Session.begin() as session:
        session.execute(sa.text("UPDATE channel SET store = 's3'"))

    assert world.hand_over() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_no_row_names_is_found_by_the_audit(engine: Engine, ours: Settings, kind: str) -> None:
    world = World(ours, kind)
    world.put()
    world.hand_over()
    (name,) = world.objects()
    stray = f"{name.rpartition('/')[0]}/20261101T120000.000Z-ffffffffffff.mp3"
    for each in (stray, "radio/of-somebody-else"):
        places.bucket(ours).put(each, MEDIA)

    with db.Session.begin() as session:
        found = {one.id: one for one in audit.run(session, ours)}["objects"]

    assert (found.looked_at, found.examples) == (2, [stray])


# --- content that files share -----------------------------------------------------------------------------


def test_content_in_the_bucket_is_shared_and_not_kept_here_again(engine: Engine, ours: Settings) -> None:
    world = World(ours, "content")
    sha256 = world.store_file(MEDIA, owner="one")
    world.hand_over()
    assert world.store_file(MEDIA, owner="two") == sha256

    assert world.files() == []
    keeping.delete(world.folder, sha256, asker="one")
    moving.sweep(world.settings)
    assert len(world.objects()) == 1
    keeping.delete(world.folder, sha256, asker="two")
    assert moving.sweep(world.settings) == 1
    assert (world.objects(), world.place(sha256), world.notes()) == ([], None, 0)


def test_content_that_is_deleted_while_it_is_sent_is_not_named_by_who_stores_it_again(
    engine: Engine, ours: Settings
) -> None:
    world = World(ours, "content")
    sha256 = world.put()
    (parcel,) = world.goods.batch(world.settings, None)
    name = world.goods.object_name(world.settings, parcel)
    world.goods.announce(parcel, name)
    world.delete(sha256)
    world.put()

    assert not world.goods.settle(parcel, name)
    assert world.place(sha256).store is Store.LOCAL
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in world.files()] == [sha256]


def test_two_hosts_that_have_the_same_content_make_one_object_of_it(engine: Engine, ours: Settings) -> None:
    world = World(ours, "content")
    sha256 = world.put()
    (parcel,) = world.goods.batch(world.settings, None)

    assert world.goods.announce(parcel, "radio/files/first")
    assert not world.goods.announce(parcel, "radio/files/second")
    world.hand_over()

    assert world.objects() == ["radio/files/first"] == [world.place(sha256).object_key]
