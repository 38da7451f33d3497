"""Closed recordings move from the archive's folder to the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from streamrec import deletion, losses, recordings, roots
from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.archive.looking import Fault
from streamrec.db import Session
from streamrec.handover import moving
from streamrec.handover.moving import Parcel
from streamrec.models import Channel, Loss, Origin, Recording, RecordingFault, Store
from streamrec.settings import Settings

_COLUMNS: Final = tuple(getattr(Recording, name) for name in Parcel._fields)


def run(settings: Settings) -> int:
    """Move everything that waits and lies in this host's archive; how many files moved.

    Raises:
        Unavailable: the folder is not the archive, or the bucket does not answer; what had not moved waits.
    """
    if settings.s3_bucket is None:
        return 0
    with Tree(settings.archive_dir, make=False) as tree:
        with Session.begin() as session:
            roots.proved(session, tree)
        return moving.run(settings, Recordings(), tree)


def waits(settings: Settings) -> sa.Select[Any]:
    """Recordings that lie here, are old enough, and are to go to the bucket."""
    wanted = sa.func.coalesce(Channel.store, settings.store)
    age = timedelta(seconds=settings.handover_after_seconds)
    return (
        sa.select(*_COLUMNS)
        .join(Channel, Channel.id == Recording.channel_id)
        .where(Recording.store == Store.LOCAL, Recording.origin == Origin.CAPTURED, wanted == Store.S3)
        .where(~sa.exists().where(RecordingFault.recording_id == Recording.id))
        .where(Recording.end_time < sa.func.clock_timestamp() - age)
    )


class Recordings:
    """What moves here."""

    name = "recording"

    def batch(self, settings: Settings, after: Any) -> Sequence[Parcel]:
        with Session.begin() as session:
            statement = waits(settings).where(Recording.id > (after or 0))
            rows = session.execute(statement.order_by(Recording.id).limit(moving.BATCH))
            return [Parcel(*row) for row in rows]

    def object_name(self, settings: Settings, parcel: Parcel) -> str:
        return layout.object_name(settings.s3_prefix, parcel.path)

    def announce(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            return moving.was_changed(session, _ours(parcel).values(object_key=name))

    def settle(self, parcel: Parcel, name: str) -> bool:
        with Session.begin() as session:
            is_there = moving.was_changed(session, _ours(parcel).values(store=Store.S3, object_key=name))
            if is_there:
                recordings.discard(session, [parcel.path])
            elif not session.scalar(sa.select(sa.exists().where(Recording.object_key == name))):
                recordings.discard(session, [name], store=Store.S3)
        return is_there

    def clear(self, settings: Settings, tree: Tree, parcel: Parcel) -> None:
        deletion.sweep([parcel.path], settings.archive_dir)

    def tell_spoiled(self, parcel: Parcel) -> None:
        with Session.begin() as session:
            row = session.get(Recording, parcel.id)
            if row is not None and row.store is Store.LOCAL:
                losses.note(session, row, Fault(Loss.ALTERED, moving.SPOILED))


def _ours(parcel: Parcel) -> sa.Update:
    return sa.update(Recording).where(Recording.id == parcel.id, Recording.store == Store.LOCAL)
