"""Closed, durable files of a channel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streamrec import channels, deletion, recordings, scrub
from streamrec.db import Session
from streamrec.errors import Lost, NotFound
from streamrec.handlers import _current, _media, _present, _query, _reply
from streamrec.handlers._listing import Listing
from streamrec.handlers._reply import Reply
from streamrec.keyset import Row
from streamrec.models import Loss, Origin, Store

_SORT_KINDS: dict[str, type] = {"id": int, "start_time": datetime, "end_time": datetime, "created_at": datetime}


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    times: dict[str, Any] = {
        name: _query.instant(body[name], name) for name in ("start_time", "end_time") if name in body
    }
    return {**body, **times}


def list_recordings(
    channel_id: int | None = None,
    from_: str | None = None,
    to: str | None = None,
    origin: str | None = None,
    sort: str = "id",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    start, end = _query.bounds(from_, to)
    listing = Listing("recordings", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        page = recordings.page(
            session,
            channel_id=channel_id,
            start=start,
            end=end,
            origin=origin,
            sort=sort,
            after=after,
            limit=limit,
        )
    return listing.reply(page, _present.recording)


def list_channel_recordings(
    channel_id: int,
    from_: str | None = None,
    to: str | None = None,
    sort: str = "start_time",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    start, end = _query.bounds(from_, to)
    listing = Listing(f"recordings of {channel_id}", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        channels.require(session, channel_id)
        page = recordings.page(
            session, channel_id=channel_id, start=start, end=end, sort=sort, after=after, limit=limit
        )
    return listing.reply(page, _present.recording)


def list_channel_recordings_alias(
    channel_id: int,
    from_: str | None = None,
    to: str | None = None,
    sort: str = "start_time",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    return list_channel_recordings(channel_id, from_, to, sort, limit, cursor)


def create_recording(body: dict[str, Any]) -> Reply:
    fields = _fields(body)
    with Session.begin() as session:
        made = recordings.register(session, fields)
        return _reply.created(_present.recording(made), location=f"/recording/{made.id}", version=made.version)


def get_recording(recording_id: int) -> Reply:
    with Session.begin() as session:
        row = recordings.get(session, recording_id)
        return _reply.ok(_present.recording(row), version=row.version)


def replace_recording(recording_id: int, body: dict[str, Any]) -> Reply:
    fields = _fields(body)
    with Session.begin() as session:
        row, is_new = recordings.replace(session, recording_id, fields, guard=_query.require_match)
        if is_new:
            return _reply.created(_present.recording(row), location=f"/recording/{row.id}", version=row.version)
        return _reply.ok(_present.recording(row), version=row.version)


def update_recording(recording_id: int, body: dict[str, Any]) -> Reply:
    fields = _fields(body)
    with Session.begin() as session:
        row = recordings.update(session, recording_id, fields, guard=_query.require_match)
        return _reply.ok(_present.recording(row), version=row.version)


def delete_recording(recording_id: int) -> Reply:
    deletion.recording(recording_id, _current.settings().archive_dir, guard=_query.require_match)
    return _reply.no_content()


def get_recording_media(recording_id: int) -> Reply:
    with Session.begin() as session:
        row = recordings.get(session, recording_id)
        if row.origin is not Origin.CAPTURED:
            raise NotFound("A registered recording has no file here: its path is only a label.", rule="registered")
        name = recordings.file_name(session, recording_id)
    if row.lost is not None:
        raise _media.lost(row.lost, recording_id=recording_id)
    try:
        return _sent(row, name)
    except Lost as first:
        raise _looked_at(recording_id) or first from None


def _looked_at(recording_id: int) -> Lost | None:
    """What its row says after a look, as every later answer will; None if that proved nothing."""
    scrub.one(_current.settings(), recording_id)
    with Session.begin() as session:
        loss = recordings.get(session, recording_id).lost
    return None if loss is None else _media.lost(loss, recording_id=recording_id)


def _sent(row: Row, name: str) -> Reply:
    recording_id = row.id
    media_type = _present.media_type(row.format, row.codecs)
    if row.store is Store.S3:
        gone = _media.lost(Loss.MISSING, recording_id=recording_id)
        return _media.stored(_current.reading(), row, media_type=media_type, filename=name, gone=gone)
    path = _media.located(_current.settings().archive_dir, row.path)
    if path is None:
        return _moved(recording_id)
    if path.stat().st_size != row.size_bytes:
        raise _media.lost(Loss.ALTERED, recording_id=recording_id)
    return _media.archived(path, media_type=media_type, filename=name, version=row.sha256)


def _moved(recording_id: int) -> Reply:
    """The file was not there; it may have gone to the bucket after its row was read."""
    with Session.begin() as session:
        is_there = recordings.get(session, recording_id).store is Store.S3
    if is_there:
        return get_recording_media(recording_id)
    _media.require_disk(_current.settings().archive_dir)
    raise _media.lost(Loss.MISSING, recording_id=recording_id)
