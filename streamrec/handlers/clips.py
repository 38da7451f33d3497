"""Exact cuts of a channel's time, each one file."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from streamrec.clips import keeping, rows
from streamrec.clips.recipes import MEDIA_TYPES, ClipFormat
from streamrec.db import Session
from streamrec.errors import Gone
from streamrec.handlers import _current, _media, _present, _query, _reply
from streamrec.handlers._listing import Listing
from streamrec.handlers._reply import Reply
from streamrec.models import GapPolicy

_SORT_KINDS: dict[str, type] = {"created_at": datetime}


def create_clip(body: dict[str, Any]) -> Reply:
    order = rows.Order(
        channel_id=body["channel_id"],
        window=_query.window(body["from"], body["to"]),
        format=ClipFormat(body["format"]) if "format" in body else None,
        exact=body.get("exact", False),
        gaps=GapPolicy(body.get("gaps", "skip")),
    )
    with Session.begin() as session:
        row = rows.create(session, order)
    return _reply.accepted(_present.clip(row), location=f"/clip/{row.id}")


def list_clips(
    channel_id: int | None = None,
    state: str | None = None,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    listing = Listing("clips", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        page = rows.page(session, channel_id=channel_id, state=state, sort=sort, after=after, limit=limit)
    return listing.reply(page, _present.clip)


def get_clip(clip_id: str) -> Reply:
    with Session.begin() as session:
        row = rows.get(session, UUID(clip_id))
    return _reply.ok(_present.clip(row), version=_present.job_version(row))


def delete_clip(clip_id: str) -> Reply:
    keeping.delete(UUID(clip_id), _current.settings().clips_dir)
    return _reply.no_content()


def get_clip_manifest(clip_id: str) -> Reply:
    with Session.begin() as session:
        return _reply.ok(rows.manifest(session, UUID(clip_id)))


def get_clip_media(clip_id: str) -> Reply:
    gone = Gone("The file of this clip is gone.", clip_id=clip_id)
    for _ in range(2):  # between the look at its row and at the file it may have gone to the bucket
        with Session.begin() as session:
            row = rows.get(session, UUID(clip_id))
        if row.path is None:
            raise rows.unmade(row)
        name = f"{row.start_time:%Y%m%dT%H%M%SZ}_{clip_id[:8]}.{row.format}"
        media_type = MEDIA_TYPES[ClipFormat(row.format)]
        if row.fault is None and (
            reply := _media.kept(row, _current.settings().clips_dir, row.path, media_type, name, gone)
        ):
            return reply
    raise gone
