"""The content of stored files moves from their folder to the bucket, once for all files that refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
import structlog

from streamrec import recordings
from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.db import Session
from streamrec.files import catalogue, content, keeping
from streamrec.handover import moving
from streamrec.handover.moving import Parcel
from streamrec.models import FileContent, Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.handover")


def run(settings: Settings) -> int:
    """Move all content that waits and lies in this host's folder; how many moved.

    Raises:
        StorageAway: the bucket does not answer; what had not moved waits.
    """
    if settings.s3_bucket is None or not settings.files_dir.is_dir():
        return 0
    with Tree(settings.files_dir, make=False) as tree:
        return moving.run(settings, Contents(), tree)


def waits(settings: Settings) -> sa.Select[Any]:
    """Content that files refer to and that lies here, if the settings want it in the bucket."""
    columns: tuple[Any, ...] = (FileContent.sha256, FileContent.object_key, FileContent.size_bytes)
    return sa.select(*columns).where(
        sa.literal(settings.store) == Store.S3.value,
        FileContent.store == Store.LOCAL,
        FileContent.unwanted_at.is_(None),
        FileContent.fault.is_(None),
    )


class Contents:
    """What moves here. The lock on the hash keeps uploads and deletions of the same content apart from it."""

    name = "content"

    def batch(self, settings: Settings, after: Any) -> Sequence[Parcel]:
        statement = waits(settings).where(FileContent.sha256 > (after or ""))
        with Session.begin() as session:
            rows = session.execute(statement.order_by(FileContent.sha256).limit(moving.BATCH)).all()
        return [
            Parcel(row.sha256, content.key(row.sha256), row.object_key, row.size_bytes, row.sha256) for row in rows
        ]

    def object_name(self, settings: Settings, parcel: Parcel) -> str:
        """Another one each time: content that was deleted and is stored again must not share an object's end."""
        return f"{settings.s3_prefix}{layout.FILES}{parcel.path}-{uuid4().hex[:12]}"

    def announce(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            catalogue.lock(session, parcel.id)
            unnamed = _ours(parcel).where(FileContent.object_key.is_(None))  # two hosts may have the same bytes
            return moving.was_changed(session, unnamed.values(object_key=name))

    def settle(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            catalogue.lock(session, parcel.id)
            mine = _ours(parcel).where(FileContent.object_key == name)
            is_there = moving.was_changed(session, mine.values(store=Store.S3))
            if not is_there and not session.scalar(sa.select(sa.exists().where(FileContent.object_key == name))):
                recordings.discard(session, [name], store=Store.S3)
        return is_there

    def clear(self, settings: Settings, tree: Tree, parcel: Parcel) -> None:
        keeping.drop_copy(settings.files_dir, parcel.id)

    def tell_spoiled(self, parcel: Parcel) -> None:
        log.error("stored content is not what its row says", sha256=parcel.id, fault=moving.SPOILED)
        with Session.begin() as session:
            moving.was_changed(session, _ours(parcel).values(fault=moving.SPOILED))


def _ours(parcel: Parcel) -> sa.Update:
    return sa.update(FileContent).where(
        FileContent.sha256 == parcel.id, FileContent.store == Store.LOCAL, FileContent.unwanted_at.is_(None)
    )
