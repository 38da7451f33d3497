"""What everything that moves to a bucket keeps to on its way: recordings, clips and stored files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive import places
from streamrec.archive.files import Tree
from streamrec.archive.storage import StorageAway
from streamrec.handover import moving
from streamrec.handover.waiting import waiting
from streamrec.models import Store
from streamrec.settings import Settings
from tests import store as server
from tests.goods import KINDS, MEDIA, World, kept_in

STEPS = ["announced", "uploaded", "settled"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, engine: Engine, settings: Settings, endpoint: str) -> World:
    return World(kept_in(settings, server.new_bucket(endpoint)), request.param)


def begun(world: World, last: str) -> str:
    """The steps up to `last` of what waits, as a kill would leave it; the object's name."""
    bucket = places.bucket(world.settings)
    (parcel,) = world.goods.batch(world.settings, None)
    name = world.goods.object_name(world.settings, parcel)
    with Tree(world.folder) as tree:
        assert world.goods.announce(parcel, name)
        if last != "announced":
            assert moving.upload(world.goods, tree, bucket, parcel, name)
        if last == "settled":
            assert world.goods.settle(parcel, name)
    return name


def test_it_moves_whole_and_its_row_says_where(world: World) -> None:
    thing = world.put()

    assert world.hand_over() == 1

    place = world.place(thing)
    assert place is not None
    assert (place.store, world.objects()) == (Store.S3, [place.object_key])
    assert b"".join(places.bucket(world.settings).stream(world.objects()[0])) == MEDIA
    assert (world.files(), world.notes()) == ([], 0)


def test_moving_again_moves_nothing(world: World) -> None:
    world.put()
    world.hand_over()

    assert world.hand_over() == 0


def test_it_is_large_and_arrives_whole(world: World) -> None:
    data = os.urandom(9 << 20)
    world.put(data)
    world.hand_over()

    assert b"".join(places.bucket(world.settings).stream(world.objects()[0])) == data


def test_a_store_that_is_away_leaves_it_where_it_is(world: World) -> None:
    thing = world.put()
    away = world.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})

    with pytest.raises(StorageAway):
        world.hand_over(away)
    with db.Session.begin() as session:
        late = waiting(session, away)

    assert (late.files, late.size_bytes) == (1, len(MEDIA))
    assert late.oldest_seconds > 0
    assert len(world.files()) == 1
    assert world.hand_over() == 1
    assert world.place(thing).store is Store.S3


class Scratched(Tree):
    """A folder on a disk that cannot read one of its files."""

    unreadable = ""

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        if name == self.unreadable:
            raise OSError(errno.EIO, "Input/output error", name)
        return super().open(name, flags)


def test_a_file_that_cannot_be_read_waits_and_keeps_no_other(world: World) -> None:
    things = [world.put(MEDIA + bytes([second]), second=second) for second in range(moving.BATCH + 2)]
    first = world.goods.batch(world.settings, None)[0]
    with Scratched(world.folder) as tree:
        tree.unreadable = first.path
        with pytest.raises(OSError, match="Input/output"):
            moving.run(world.settings, world.goods, tree)

    here = [thing for thing in things if world.place(thing).store is Store.LOCAL]
    assert here == [first.id]
    assert world.hand_over() == 1


def test_a_bucket_of_another_database_gets_nothing(world: World) -> None:
    thing = world.put()
    places.bucket(world.settings).put(
        "radio/.streamrec-root", b'{"database": "6b1b36cb-9e2a-4f0b-8a0c-1f2f3d9f7a11"}'
    )

    with pytest.raises(StorageAway, match="not this database's"):
        world.hand_over()
    assert (world.objects(), world.place(thing).store, len(world.files())) == ([], Store.LOCAL, 1)


def test_another_bucket_than_the_first_gets_nothing(world: World, endpoint: str) -> None:
    world.put()
    world.hand_over()
    world.put(MEDIA[::-1], second=1)
    elsewhere = world.settings.model_copy(update={"s3_bucket": server.new_bucket(endpoint).name})

    with pytest.raises(StorageAway, match="not this database's"):
        world.hand_over(elsewhere)
    assert len(world.files()) == 1


def test_what_is_not_what_its_row_says_never_leaves_and_is_told(world: World) -> None:
    thing = world.put(sha256="ab" * 32)

    assert world.hand_over() == 0
    assert world.hand_over() == 0

    assert world.place(thing).fault is not None
    assert (world.objects(), len(world.files())) == ([], 1)


@pytest.mark.parametrize("last", STEPS)
def test_a_hand_over_that_died_is_gone_on_with(world: World, last: str) -> None:
    thing = world.put()
    name = begun(world, last)
    for path in world.files():  # as old as what a crash left an hour ago
        os.utime(path, (1, 1))

    world.hand_over()
    world.tidy()

    assert world.place(thing).store is Store.S3
    assert (world.objects(), world.files(), world.notes()) == ([name], [], 0)


def test_deleting_takes_the_object_too(world: World) -> None:
    thing = world.put()
    world.hand_over()
    world.delete(thing)

    assert world.place(thing) is None
    assert moving.sweep(world.settings) == 1
    assert (world.objects(), world.notes()) == ([], 0)


@pytest.mark.parametrize("last", STEPS[:2])
def test_what_is_deleted_on_its_way_leaves_no_object(world: World, last: str) -> None:
    """The note is there from the deletion on, and acts once no upload can be on its way."""
    thing = world.put()
    (parcel,) = world.goods.batch(world.settings, None)
    name = begun(world, "announced")
    world.delete(thing)
    places.bucket(world.settings).put(name, MEDIA)
    if last == "uploaded":
        assert not world.goods.settle(parcel, name)
    assert moving.sweep(world.settings) == 0

    assert world.later() == 1
    assert (world.objects(), world.files(), world.notes()) == ([], [], 0)


def test_what_is_deleted_and_made_again_on_its_way_keeps_its_own_object(world: World) -> None:
    """The end of the first one's object is not the end of the second one's."""
    thing = world.put()
    begun(world, "uploaded")
    world.delete(thing)
    again = world.put(second=2)
    world.hand_over()
    world.later()

    assert world.objects() == [world.place(again).object_key]


def test_without_a_bucket_nothing_moves(world: World) -> None:
    world.put()

    assert world.hand_over(world.settings.model_copy(update={"s3_bucket": None})) == 0
    assert len(world.files()) == 1
