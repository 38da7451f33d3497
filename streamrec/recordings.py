"""Recordings: the closed files of the channels, captured by us or registered by clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import holds, keyset, numbering
from streamrec.channel_fields import text
from streamrec.clock import now
from streamrec.errors import Conflict, Invalid, NotFound
from streamrec.models import Channel, Coverage, CoverageKind, Garbage, Origin, Recording, Store

LONGEST_UPLOAD: Final = timedelta(hours=1)
REQUIRED: Final = ("channel_id", "start_time", "end_time", "path")

Guard = Callable[[int], None]  # is given the current version and raises PreconditionFailed

_COLUMNS: Final[tuple[Any, ...]] = (
    *(Recording.id, Recording.channel_id, Recording.start_time, Recording.end_time, Recording.path),
    *(Recording.origin, Recording.format, Recording.codecs, Recording.size_bytes, Recording.sha256),
    *(
        Recording.run_id,
        Recording.source_index,
        Recording.truncated,
        Recording.lost,
        Recording.store,
        Recording.object_key,
        Recording.created_at,
        Recording.updated_at,
        Recording.version,
    ),
)
_SORTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    name: getattr(Recording, name).expression for name in ("id", "start_time", "end_time", "created_at")
}
_UNSYNCHRONIZED = {"synchronize_session": False}


# --- reading ----------------------------------------------------------------------------------------------


def _not_found(recording_id: int) -> NotFound:
    return NotFound(f"There is no recording {recording_id}.", recording_id=recording_id)


def get(session: Session, recording_id: int) -> keyset.Row:
    """One recording.

    Raises:
        NotFound: there is none.
    """
    row = session.execute(sa.select(*_COLUMNS).where(Recording.id == recording_id)).one_or_none()
    if row is None:
        raise _not_found(recording_id)
    return row


def file_name(session: Session, recording_id: int) -> str:
    """What to call a recording's file when it leaves: keyname and start, as in its key."""
    statement = sa.select(Channel.keyname, Recording.start_time, Recording.format).join(
        Channel, Channel.id == Recording.channel_id
    )
    keyname, start, extension = session.execute(statement.where(Recording.id == recording_id)).one()
    return f"{keyname}_{start:%Y%m%dT%H%M%S}Z.{extension}"


def page(
    session: Session,
    *,
    channel_id: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    origin: str | None = None,
    sort: str = "id",
    after: keyset.Position | None = None,
    limit: int = 100,
) -> keyset.Page:
    """One page of the recordings that overlap `[start, end)`; an empty one counts if it lies inside.

    Raises:
        Invalid: with field `sort`, if there is no such order.
    """
    statement = sa.select(*_COLUMNS)
    if channel_id is not None:
        statement = statement.where(Recording.channel_id == channel_id)
    if origin is not None:
        statement = statement.where(Recording.origin == Origin(origin))
    if start is not None:
        statement = statement.where(sa.or_(Recording.end_time > start, Recording.start_time >= start))
    if end is not None:
        statement = statement.where(Recording.start_time < end)
    return keyset.page(session, statement, columns=_SORTS, sort=sort, after=after, limit=limit)


# --- writing ----------------------------------------------------------------------------------------------


def register(session: Session, fields: dict[str, Any], *, recording_id: int | None = None) -> keyset.Row:
    """Add a recording that somebody else made; its path is a label that is never opened.

    Raises:
        Invalid: a field is missing or breaks a rule.
        NotFound: there is no such channel.
        Conflict: the id is taken.
    """
    for field in REQUIRED:
        if field not in fields:
            raise Invalid(f"A new recording needs the field {field}.", field=field, rule="required")
    values = {**fields, "origin": Origin.REGISTERED}
    _check(session, values)
    if recording_id is not None:
        values["id"] = recording_id
        numbering.advance(session, Recording, recording_id)
    for _ in range(3):  # the sequence may meet an id that a client chose just now: then it moves on
        statement = insert(Recording).values(values).on_conflict_do_nothing().returning(*_COLUMNS)
        row = session.execute(statement).one_or_none()
        if row is not None:
            return row
    raise Conflict(f"The recording {recording_id} is being created by another request.", field="id", rule="unique")


def _check(session: Session, fields: dict[str, Any]) -> None:
    """The rules that hold between the fields; `fields` is the whole recording."""
    if fields["end_time"] < fields["start_time"]:
        raise Invalid("The end_time must not be before the start_time.", field="end_time", rule="order")
    text("path", fields["path"], 1024)
    statement = sa.select(Channel.id).where(Channel.id == fields["channel_id"], Channel.deleted_at.is_(None))
    if session.scalar(statement) is None:
        raise NotFound(f"There is no channel {fields['channel_id']}.", field="channel_id")


def replace(
    session: Session, recording_id: int, fields: dict[str, Any], *, guard: Guard | None = None
) -> tuple[keyset.Row, bool]:
    """Change the fields given, or register the recording under this id; the second value says whether it did that.

    Raises:
        NotFound: there is no such recording and a required field is missing, or there is no such channel.
        Conflict: it was captured by streamrec, or the id was given to another one before.
        Invalid, PreconditionFailed.
    """
    if session.scalar(sa.select(Recording.id).where(Recording.id == recording_id)) is not None:
        return update(session, recording_id, fields, guard=guard), False
    if not 1 <= recording_id <= numbering.HIGHEST_CHOSEN_ID or any(field not in fields for field in REQUIRED):
        raise NotFound(
            f"There is no recording {recording_id}; with {', '.join(REQUIRED)} one is made under an id "
            f"from 1 to {numbering.HIGHEST_CHOSEN_ID}.",
            recording_id=recording_id,
        )
    if numbering.last_given(session, Recording) >= recording_id:
        raise Conflict(
            f"The id {recording_id} was given before; ids are never used again.", recording_id=recording_id
        )
    if guard is not None:
        guard(0)  # nothing exists yet, so a condition can only fail
    return register(session, fields, recording_id=recording_id), True


def update(
    session: Session, recording_id: int, fields: dict[str, Any], *, guard: Guard | None = None
) -> keyset.Row:
    """Change the fields given of a registered recording.

    Raises:
        NotFound, PreconditionFailed, Invalid.
        Conflict: it was captured by streamrec; its row says what the file holds.
    """
    recording = _locked(session, recording_id, guard)
    if recording.origin is Origin.CAPTURED:
        raise Conflict(
            f"The recording {recording_id} was captured: its row says what its file holds and cannot be changed, "
            "only deleted.",
            recording_id=recording_id,
            rule="captured",
        )
    changes = {field: value for field, value in fields.items() if getattr(recording, field) != value}
    if not changes:
        return recording
    _check(session, {**{field: getattr(recording, field) for field in REQUIRED}, **changes})
    statement = sa.update(Recording).where(Recording.id == recording_id)
    statement = statement.values(**changes, version=recording.version + 1)
    return session.execute(statement.returning(*_COLUMNS), execution_options=_UNSYNCHRONIZED).one()


def _locked(session: Session, recording_id: int, guard: Guard | None) -> keyset.Row:
    statement = sa.select(*_COLUMNS).where(Recording.id == recording_id).with_for_update()
    row = session.execute(statement).one_or_none()
    if row is None:
        raise _not_found(recording_id)
    if guard is not None:
        guard(row.version)
    return row


# --- deleting: rows first, then files, then the note of the files -----------------------------------------


def delete(session: Session, recording_id: int, *, guard: Guard | None = None) -> list[str]:
    """Delete one recording's row; its time becomes expired.

    Returns: the keys of files to remove once this transaction is committed, and then to `forget`.
    Raises:
        NotFound, PreconditionFailed.
        Conflict: a hold covers it.
    """
    holds.lock(session, get(session, recording_id).channel_id)
    row = _locked(session, recording_id, guard)
    holds.refuse(session, Recording.id == recording_id)
    return _delete(session, [row])


def purge(session: Session, channel_id: int, *, limit: int = 500) -> tuple[int, list[str]]:
    """Delete up to `limit` of a channel's recordings, the oldest first.

    Returns: how many there were, and the keys of files to remove and then to `forget`.
    Raises:
        Conflict: a hold covers one of them.
    """
    holds.lock(session, channel_id)
    holds.refuse(session, Recording.channel_id == channel_id)
    statement = sa.select(*_COLUMNS).where(Recording.channel_id == channel_id)
    rows = session.execute(statement.order_by(Recording.start_time).limit(limit).with_for_update()).all()
    return len(rows), _delete(session, rows)


def expire(session: Session, ids: Sequence[int], *, detail: str = "Its retention ended.") -> list[str]:
    """Delete recordings whose time is over; the keys of files to remove and then to `forget`.

    The caller has locked their channel, and looked that no hold covers them.
    """
    statement = sa.select(*_COLUMNS).where(Recording.id.in_(ids)).with_for_update()
    return _delete(session, session.execute(statement).all(), detail=detail)


def _delete(
    session: Session, rows: Sequence[keyset.Row], *, detail: str = "The recording was deleted by a client."
) -> list[str]:
    ids = [row.id for row in rows]
    captured = [row for row in rows if row.origin is Origin.CAPTURED]
    keys = [row.path for row in captured if row.store is Store.LOCAL]
    session.execute(
        sa.update(Coverage)
        .where(Coverage.recording_id.in_(ids))
        .values(kind=CoverageKind.EXPIRED, recording_id=None, detail=detail),
        execution_options=_UNSYNCHRONIZED,
    )
    discard(session, keys)
    discard(session, [row.object_key for row in captured if row.store is Store.S3], store=Store.S3)
    begun = [row.object_key for row in captured if row.store is Store.LOCAL and row.object_key]
    discard(session, begun, store=Store.S3, after=LONGEST_UPLOAD)
    session.execute(sa.delete(Recording).where(Recording.id.in_(ids)), execution_options=_UNSYNCHRONIZED)
    return keys


def discard(
    session: Session, keys: Sequence[str], *, store: Store = Store.LOCAL, after: timedelta = timedelta()
) -> None:
    """Note files or objects that are to be removed, not earlier than `after` from now."""
    due = sa.func.clock_timestamp() + after
    notes = [{"store": store, "path": key, "due_at": due, "created_at": now()} for key in keys]
    if notes:
        session.execute(insert(Garbage).values(notes).on_conflict_do_nothing())


def forget(session: Session, keys: Sequence[str], *, store: Store = Store.LOCAL) -> None:
    """Drop the note of files or objects that are gone for good."""
    noted = sa.delete(Garbage).where(Garbage.store == store, Garbage.path.in_(keys))
    session.execute(noted, execution_options=_UNSYNCHRONIZED)


def garbage(session: Session, *, store: Store = Store.LOCAL, skip: int = 0, limit: int = 500) -> list[str]:
    """Keys of files or objects whose rows are gone; remove and `forget` them."""
    noted = sa.select(Garbage.path).order_by(Garbage.created_at, Garbage.path)
    noted = noted.where(Garbage.store == store, Garbage.due_at <= sa.func.clock_timestamp())
    return list(session.scalars(noted.offset(skip).limit(limit)))
