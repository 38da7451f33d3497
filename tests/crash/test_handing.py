"""A hand-over killed with SIGKILL at each of its steps, and buckets that do not do what they are asked."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from streamrec import audit, db, roots
from streamrec.archive import places
from streamrec.archive.storage import PART_BYTES, StorageAway
from streamrec.models import Store
from streamrec.settings import Settings
from tests import store as server
from tests.crash import calls, handing
from tests.goods import World, kept_in
from tests.station import proxy

MEDIA = os.urandom(1 << 20)
LARGE = os.urandom(2 * PART_BYTES + 1000)
SECONDS = 60.0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture
def ours(settings: Settings, endpoint: str) -> Settings:
    return kept_in(settings, server.new_bucket(endpoint), handover_files=1)


def killed_on_the_way(world: World, said: str, *, behind: int = 0) -> None:
    """Hand over through a proxy that holds back what is said from there on, and kill the process then."""
    port = int(str(world.settings.s3_endpoint).rpartition(":")[2])
    with proxy.running(port) as way:
        way.stall_at, way.stall_behind = said.encode(), behind
        far = world.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{way.port}"})
        with handing.stopped(far, world.kind) as process:
            os.kill(process.pid, signal.SIGCONT)
            assert way.has_stalled.wait(SECONDS), "it did not come to that"


def killed_at_the_unlink(world: World) -> None:
    """Hand over, and be killed when the file is to go: the row names the object by then."""
    with handing.stopped(world.settings, world.kind) as process:
        strace = calls.attach(process.pid, calls.Point("unlinkat", "signal=KILL", 1))
        os.kill(process.pid, signal.SIGCONT)
        process.join(SECONDS)
        strace.communicate(timeout=SECONDS)
        assert process.exitcode == -signal.SIGKILL


def object_path(world: World) -> str:
    """How requests for objects of this kind go on; what is not announced yet has no name that could be told."""
    folders = {"recording": "gr-rstpk-1/", "clip": "clips/", "content": "files/"}
    return f" /{world.settings.s3_bucket}/radio/{folders[world.kind]}"


def whole_and_alone(world: World, thing: Any, media: bytes) -> None:
    """Exactly one copy, which the row names and which is right; and nobody misses or has too much of anything."""
    place = world.place(thing)
    assert place is not None
    assert (place.store, world.objects()) == (Store.S3, [place.object_key])
    kept = b"".join(places.bucket(world.settings).stream(world.objects()[0]))
    assert hashlib.sha256(kept).hexdigest() == hashlib.sha256(media).hexdigest()
    assert (world.files(), world.notes()) == ([], 0)
    with db.Session.begin() as session:
        assert [one.id for one in audit.run(session, world.settings) if one.violations] == []


def begun_anew(world: World) -> None:
    """What a start and the next rounds do; what was left an hour ago is old enough to be swept."""
    world.hand_over()
    for path in world.files():
        os.utime(path, (1, 1))
    world.tidy()


STEPS = {
    "before the upload": ("PUT", 0, MEDIA),
    "in mid-upload": ("PUT", 50_000, MEDIA),
    "between two parts": ("PUT", -1, LARGE),
    "before the row": ("HEAD", 0, MEDIA),
}


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *(("recording", step) for step in STEPS),
        ("clip", "in mid-upload"),
        ("content", "in mid-upload"),
        ("content", "before the row"),
    ],
)
def test_what_is_killed_on_its_way_arrives_once_and_whole(
    engine: Engine, ours: Settings, kind: str, step: str
) -> None:
    method, behind, media = STEPS[step]
    world = World(ours, kind)
    thing = world.put(media)
    roots.bucket(ours)
    said = "partNumber=2" if behind < 0 else method + object_path(world)
    killed_on_the_way(world, said, behind=max(0, behind))

    assert world.place(thing).store is Store.LOCAL
    assert len(world.files()) == 1
    if step != "in mid-upload":  # moto keeps the part of an object that came, other stores do not
        assert bool(world.objects()) == (step == "before the row")
    begun_anew(world)
    whole_and_alone(world, thing, media)


@pytest.mark.parametrize("kind", ["recording", "clip", "content"])
def test_what_is_killed_before_its_file_goes_leaves_one_copy(engine: Engine, ours: Settings, kind: str) -> None:
    world = World(ours, kind)
    thing = world.put(MEDIA)
    killed_at_the_unlink(world)

    assert world.place(thing).store is Store.S3
    assert len(world.files()) == 1
    begun_anew(world)
    whole_and_alone(world, thing, MEDIA)


# --- buckets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refuses", "forgets", "truncates", "misnames"])
def test_a_bucket_that_does_not_do_what_it_is_asked_gets_it_again(
    engine: Engine, ours: Settings, endpoint: str, fault: str
) -> None:
    world = World(ours)
    media = LARGE if fault == "misnames" else MEDIA
    thing = world.put(media)
    roots.bucket(ours)
    with server.faulty(endpoint, fault) as address, pytest.raises(StorageAway):
        world.hand_over(ours.model_copy(update={"s3_endpoint": address}))

    assert (world.place(thing).store, len(world.files())) == (Store.LOCAL, 1)
    begun_anew(world)
    whole_and_alone(world, thing, media)


def test_a_slow_bucket_gets_it_once(engine: Engine, ours: Settings, endpoint: str) -> None:
    world = World(ours)
    thing = world.put(MEDIA)
    with proxy.running(int(endpoint.rpartition(":")[2])) as way:
        way.delay = 0.1
        assert world.hand_over(ours.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{way.port}"})) == 1

    whole_and_alone(world, thing, MEDIA)
