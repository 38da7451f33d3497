"""Closed recordings move from the archive's folder to the bucket; docs/design/storage.md has the steps H1 to H6.

Every step may be repeated: a hand-over that dies is gone on with by the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as OrmSession

from streamrec import deletion, recordings
from streamrec.archive import layout, places
from streamrec.archive.files import Tree
from streamrec.archive.storage import StorageAway
from streamrec.clock import now
from streamrec.db import Session
from streamrec.models import Channel, Origin, Recording, RecordingFault, Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.handover")

BATCH: Final = 64
_CHUNK: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not moved yet although it is old enough."""

    files: int
    size_bytes: int
    oldest_seconds: float


def waits(settings: Settings) -> sa.Select[tuple[Any, ...]]:
    """Recordings that lie here, are old enough, and are to go to the bucket."""
    wanted = sa.func.coalesce(Channel.store, settings.store)
    age = timedelta(seconds=settings.handover_after_seconds)
    return (
        sa.select(*(getattr(Recording, name) for name in ("id", "path", "object_key", "size_bytes", "sha256")))
        .join(Channel, Channel.id == Recording.channel_id)
        .where(Recording.store == Store.LOCAL, Recording.origin == Origin.CAPTURED, wanted == Store.S3)
        .where(~sa.exists().where(RecordingFault.recording_id == Recording.id))
        .where(Recording.end_time < sa.func.clock_timestamp() - age)
    )


def waiting(session: OrmSession, settings: Settings) -> Waiting:
    """How much has not moved yet; nothing without a bucket."""
    if settings.s3_bucket is None:
        return Waiting(0, 0, 0.0)
    oldest = sa.extract("epoch", sa.func.clock_timestamp() - sa.func.min(Recording.end_time))
    figures = (sa.func.count(), sa.func.sum(Recording.size_bytes), oldest)
    files, size, age = session.execute(waits(settings).with_only_columns(*figures)).one()
    return Waiting(files, int(size or 0), float(age or 0.0))


def run(settings: Settings) -> int:
    """Move everything that waits and lies in this host's folder; how many files moved.

    Raises:
        StorageAway: the bucket does not answer; what had not moved waits.
    """
    moved, after = 0, 0
    if settings.s3_bucket is None:
        return moved
    with Tree(settings.archive_dir) as tree, ThreadPoolExecutor(settings.handover_files) as uploads:
        while rows := _batch(settings, after):
            after = rows[-1].id
            here = [row for row in rows if tree.exists(row.path)]
            moved += sum(uploads.map(partial(_move, settings, tree), here))
    return moved


def _batch(settings: Settings, after: int) -> Sequence[Any]:
    with Session.begin() as session:
        statement = waits(settings).where(Recording.id > after)
        return session.execute(statement.order_by(Recording.id).limit(BATCH)).all()


def _move(settings: Settings, tree: Tree, row: Any) -> bool:
    """All the steps for one recording; whether it lies in the bucket now."""
    name = row.object_key or layout.object_name(settings.s3_prefix, row.path)
    if row.object_key is None and not _announced(row.id, name):
        return False
    if not _uploaded(settings, tree, row, name):
        return False
    is_there = _named(row.id, row.path, name)
    deletion.sweep([row.path], settings.archive_dir)
    log.debug("recording handed over", recording_id=row.id, size_bytes=row.size_bytes)
    return is_there


def _announced(recording_id: int, name: str) -> bool:
    """H1: whoever deletes the recording from now on has the object removed too. False if it is gone already."""
    ours = sa.update(Recording).where(Recording.id == recording_id, Recording.store == Store.LOCAL)
    with Session.begin() as session:
        return bool(session.execute(ours.values(object_key=name)).rowcount)  # type: ignore[attr-defined]


def _uploaded(settings: Settings, tree: Tree, row: Any, name: str) -> bool:
    """H2 to H4: only bytes that are the row's go up, and only an object of their size counts."""
    try:
        descriptor = tree.open(row.path)
    except FileNotFoundError:
        return False  # another recorder has moved it, or it was deleted
    with os.fdopen(descriptor, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != row.sha256:
            _note_fault(row.id, "has another SHA-256, and was not handed over")
            return False
        file.seek(0)
        bucket = places.bucket(settings)
        bucket.put(name, file)
    if bucket.size(name) != row.size_bytes:
        raise StorageAway("The bucket holds another number of bytes than it was sent.")
    return True


def _named(recording_id: int, path: str, name: str) -> bool:
    """H5: the row names the object, and the file becomes garbage; or, if the row is gone, the object does."""
    ours = sa.update(Recording).where(Recording.id == recording_id, Recording.store == Store.LOCAL)
    with Session.begin() as session:
        is_there = session.execute(ours.values(store=Store.S3, object_key=name)).rowcount  # type: ignore[attr-defined]
        if is_there:
            recordings.discard(session, [path])
        elif not session.scalar(sa.select(sa.exists().where(Recording.object_key == name))):
            recordings.discard(session, [name], store=Store.S3)
    return bool(is_there)


def _note_fault(recording_id: int, fault: str) -> None:
    log.error("a recording is not what its row says", recording_id=recording_id, fault=fault)
    with Session.begin() as session:
        row = insert(RecordingFault).values(recording_id=recording_id, fault=fault, found_at=now())
        session.execute(row.on_conflict_do_nothing())


def sweep(settings: Settings) -> int:
    """Remove the objects whose recordings are gone; how many. Raises StorageAway."""
    if settings.s3_bucket is None:
        return 0
    removed = 0
    while names := _noted():
        for name in names:
            places.bucket(settings).delete(name)
        with Session.begin() as session:
            recordings.forget(session, names, store=Store.S3)
        removed += len(names)
    return removed


def _noted() -> list[str]:
    with Session.begin() as session:
        return recordings.garbage(session, store=Store.S3)
