"""What a job worker does beside its jobs, as a process, with a real database and a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamrec.archive import places
from streamrec.models import Store
from streamrec.settings import Settings
from tests import store as server
from tests.goods import World, kept_in
from tests.jobworker.conftest import Workers, eventually
from tests.station import proxy


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture
def ours(settings: Settings, endpoint: str) -> Settings:
    return kept_in(settings, server.new_bucket(endpoint))


def named(environment: pytest.MonkeyPatch, settings: Settings, endpoint: str) -> None:
    """Workers that start from now on know the bucket, at this address."""
    for name, value in {
        "STORE": "s3",
        "S3_BUCKET": str(settings.s3_bucket),
        "S3_ENDPOINT": endpoint,
        "S3_ACCESS_KEY": server.ACCESS_KEY,
        "S3_SECRET_KEY": server.SECRET_KEY,
        "S3_PREFIX": settings.s3_prefix,
    }.items():
        environment.setenv(f"STREAMREC_{name}", value)


def test_a_job_worker_hands_over_and_takes_over_from_one_that_was_killed(
    workers: Workers, ours: Settings, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, ours, endpoint)
    world = World(ours, "clip")
    clip, deleted = world.put(), world.put(second=1)
    first = workers.start()
    eventually(lambda: world.place(clip).store is world.place(deleted).store is Store.S3)
    first.kill()

    world.delete(deleted)
    world.kind = "content"
    content = world.put()
    workers.start()
    eventually(lambda: world.place(content).store is Store.S3)
    eventually(lambda: len(world.objects()) == 2 and world.notes() == 0)

    world.kind = "clip"
    assert world.files() == []
    assert places.bucket(ours).size(str(world.place(clip).object_key))


def test_an_upload_that_hangs_keeps_no_job_worker_from_stopping(
    workers: Workers, ours: Settings, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(ours, "clip")
    world.put()
    with proxy.running(int(endpoint.rpartition(":")[2])) as way:
        named(monkeypatch, ours, f"http://127.0.0.1:{way.port}")
        way.stall_at = f"PUT /{ours.s3_bucket}/radio/clips".encode()
        worker = workers.start()
        assert way.has_stalled.wait(60)
        worker.terminate()
        worker.wait(7)

    assert len(world.files()) == 1
