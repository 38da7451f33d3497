"""Finished clips move from their folder to the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
import structlog

from streamrec import recordings
from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.db import Session
from streamrec.handover import moving
from streamrec.handover.moving import Parcel
from streamrec.models import Channel, Clip, Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.handover")

_COLUMNS: Final[tuple[Any, ...]] = (Clip.id, Clip.path, Clip.object_key, Clip.size_bytes, Clip.sha256)


def run(settings: Settings) -> int:
    """Move every clip that waits and lies in this host's folder; how many moved.

    Raises:
        StorageAway: the bucket does not answer; what had not moved waits.
    """
    if settings.s3_bucket is None or not settings.clips_dir.is_dir():
        return 0
    with Tree(settings.clips_dir, make=False) as tree:
        return moving.run(settings, Clips(), tree)


def waits(settings: Settings) -> sa.Select[Any]:
    """Clips that are made, lie here and whose channel's things are to go to the bucket."""
    wanted = sa.func.coalesce(Channel.store, settings.store)
    return (
        sa.select(*_COLUMNS)
        .join(Channel, Channel.id == Clip.channel_id)
        .where(Clip.store == Store.LOCAL, Clip.path.is_not(None), Clip.fault.is_(None), wanted == Store.S3)
    )


class Clips:
    """What moves here."""

    name = "clip"

    def batch(self, settings: Settings, after: Any) -> Sequence[Parcel]:
        statement = waits(settings) if after is None else waits(settings).where(Clip.id > after)
        with Session.begin() as session:
            rows = session.execute(statement.order_by(Clip.id).limit(moving.BATCH))
            return [Parcel(*row) for row in rows]

    def object_name(self, settings: Settings, parcel: Parcel) -> str:
        """A clip's path names its attempt, and so no other's bytes."""
        return settings.s3_prefix + layout.CLIPS + parcel.path

    def announce(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            return moving.was_changed(session, _ours(parcel).values(object_key=name))

    def settle(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            is_there = moving.was_changed(session, _ours(parcel).values(store=Store.S3, object_key=name))
            if not is_there and not session.scalar(sa.select(sa.exists().where(Clip.object_key == name))):
                recordings.discard(session, [name], store=Store.S3)
        return is_there

    def clear(self, settings: Settings, tree: Tree, parcel: Parcel) -> None:
        tree.unlink(parcel.path)

    def tell_spoiled(self, parcel: Parcel) -> None:
        log.error("a clip is not what its row says", clip_id=str(parcel.id), fault=moving.SPOILED)
        with Session.begin() as session:
            moving.was_changed(session, _ours(parcel).values(fault=moving.SPOILED))


def _ours(parcel: Parcel) -> sa.Update:
    return sa.update(Clip).where(Clip.id == parcel.id, Clip.store == Store.LOCAL)
