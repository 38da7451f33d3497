"""What a recorder does beside its captures, as a process, with a real database and a real S3 server."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive import layout
from streamrec.archive.storage import Bucket
from streamrec.clock import now
from streamrec.models import ArchiveCheck, ArchiveRoot, FileFormat, Loss, Manifest, Recorder, Recording, Store
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server
from tests.recorder.test_worker import recorder, scalar, wait
from tests.station import proxy

MEDIA = bytes(1000)


def recorded(settings: Settings, *days_ago: int) -> None:
    """A minute of a channel that is not recorded any more, on each of these days."""
    digest = hashlib.sha256(MEDIA).hexdigest()
    with db.Session.begin() as session:
        channel_id = make.channel(session, enabled=False).id
        for days in days_ago:
            start = now() - timedelta(days=days)
            key = layout.key(keyname="gr-rstpk-1", start_time=start, run_id=uuid4(), format=FileFormat.MP3)
            (settings.archive_dir / key).parent.mkdir(parents=True)
            (settings.archive_dir / key).write_bytes(MEDIA)
            at = (start - make.T0).total_seconds()
            make.captured(session, channel_id, at, at + 60, path=key, size_bytes=len(MEDIA), sha256=digest)


def count(table: type, *conditions: sa.ColumnElement[bool]) -> object:
    return scalar(sa.select(sa.func.count()).select_from(table).where(*conditions))


def variables_of(bucket: Bucket, endpoint: str) -> dict[str, str]:
    """What names the bucket to a process, at whatever address."""
    return {
        "STREAMREC_STORE": "s3",
        "STREAMREC_S3_BUCKET": bucket.name,
        "STREAMREC_S3_ENDPOINT": endpoint,
        "STREAMREC_S3_ACCESS_KEY": server.ACCESS_KEY,
        "STREAMREC_S3_SECRET_KEY": server.SECRET_KEY,
    }


def test_an_upload_that_hangs_keeps_no_recorder_from_stopping(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    recorded(settings, 3)
    with server.running() as endpoint, proxy.running(int(endpoint.rpartition(":")[2])) as way:
        bucket = server.new_bucket(endpoint)
        way.stall_at = f"PUT /{bucket.name}/gr-rstpk-1".encode()
        near = f"http://127.0.0.1:{way.port}"
        with recorder(settings, tmp_path / "recorder.log", **variables_of(bucket, near)) as child:
            assert way.has_stalled.wait(30)
            child.terminate()
            child.wait(settings.stop_seconds + 3)

    assert len(list(settings.archive_dir.rglob("*.mp3"))) == 1


def test_a_recorder_hands_over_expires_seals_and_checks(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    recorded(settings, 70, 3, 2)
    max(settings.archive_dir.rglob("*.mp3")).unlink()  # the youngest's
    log = tmp_path / "recorder.log"
    with server.running() as endpoint:
        bucket = server.new_bucket(endpoint)
        with recorder(settings, log, **variables_of(bucket, endpoint)):
            wait(lambda: count(Recording) == 2, "what is too old is gone", 30)
            wait(lambda: count(Recording, Recording.store == Store.S3) == 1, "the other lies in the bucket", 30)
            wait(lambda: count(Manifest) >= 1, "a day is sealed", 30)
            wait(lambda: count(ArchiveCheck) == 6, "archive and bucket were looked at in all three ways", 30)
            wait(lambda: count(Recording, Recording.lost == Loss.MISSING) == 1, "what is missing is lost", 30)
            assert count(Recorder, Recorder.root_id == sa.select(ArchiveRoot.id).scalar_subquery()) == 1

    assert list(settings.archive_dir.rglob("*.mp3")) == []
    assert server.SECRET_KEY not in log.read_text()
