"""What a job worker does beside its jobs, as a process, with a real database and a real S3 server."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from streamrec.archive import places
from streamrec.models import Store
from streamrec.settings import Settings
from tests import store as server
from tests.goods import World, kept_in
from tests.jobworker.conftest import Workers, eventually


@pytest.mark.usefixtures("engine")
def test_a_job_worker_hands_over_and_takes_over_from_one_that_was_killed(
    workers: Workers, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running() as endpoint:
        bucket = server.new_bucket(endpoint)
        for name, value in {
            "STORE": "s3",
            "S3_BUCKET": bucket.name,
            "S3_ENDPOINT": endpoint,
            "S3_ACCESS_KEY": server.ACCESS_KEY,
            "S3_SECRET_KEY": server.SECRET_KEY,
            "S3_PREFIX": "radio/",
        }.items():
            monkeypatch.setenv(f"STREAMREC_{name}", value)
        clips = World(kept_in(settings, bucket), "clip")
        clip, deleted = clips.put(), clips.put(second=1)
        first = workers.start()
        eventually(lambda: clips.place(clip).store is clips.place(deleted).store is Store.S3)
        first.kill()

        clips.delete(deleted)
        clips.kind = "content"
        content = clips.put()
        workers.start()
        eventually(lambda: clips.place(content).store is Store.S3)
        eventually(lambda: len(clips.objects()) == 2 and clips.notes() == 0)

        clips.kind = "clip"
        assert clips.files() == []
        assert places.bucket(clips.settings).size(str(clips.place(clip).object_key))
