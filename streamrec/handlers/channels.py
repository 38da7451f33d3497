"""Radio and TV stations, and whether they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from streamrec import channel_fields, channel_imports, channel_lists, channels, deletion
from streamrec.db import Session
from streamrec.errors import Invalid
from streamrec.handlers import _current, _present, _query, _reply
from streamrec.handlers._listing import Listing
from streamrec.handlers._reply import Reply
from streamrec.models import Store

_SORT_KINDS: dict[str, type] = {"id": int, "created_at": datetime, "updated_at": datetime}
_MEDIA_TYPES = {"m3u": "audio/x-mpegurl", "csv": "text/csv"}
_WRITERS: dict[str, Callable[[Iterator[Mapping[str, Any]]], str]] = {
    "m3u": channel_lists.m3u,
    "csv": channel_lists.csv_list,
}


def _checked(body: dict[str, Any]) -> channel_fields.Draft:
    settings = _current.settings()
    if body.get("store") == Store.S3.value and settings.s3_bucket is None:
        raise Invalid("store: needs a bucket in the settings (s3_bucket)", field="store")
    return channel_fields.checked(body, allow=settings.egress_allow)


def _one(row: channels.View) -> Reply:
    """200 with an `ETag`, but never 304: the capture state changes without a version."""
    reply = _reply.ok(_present.channel(row))
    reply.headers["ETag"] = _query.etag(row.version)
    return reply


def list_channels(
    type_: str | None = None,
    enabled: bool | None = None,
    q: str | None = None,
    tag: str | None = None,
    sort: str = "id",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    listing = Listing("channels", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        page = channels.page(
            session, type=type_, enabled=enabled, q=q, tag=tag, sort=sort, after=after, limit=limit
        )
    return listing.reply(page, _present.channel)


def create_channel(body: dict[str, Any]) -> Reply:
    draft = _checked(body)
    with Session.begin() as session:
        made = channels.create(session, draft)
    return _reply.created(_present.channel(made), location=f"/channel/{made.id}", version=made.version)


def get_channel(channel_id: int) -> Reply:
    with Session.begin() as session:
        return _one(channels.get(session, channel_id))


def replace_channel(channel_id: int, body: dict[str, Any]) -> Reply:
    draft = _checked(body)
    with Session.begin() as session:
        row, is_new = channels.replace(session, channel_id, draft, guard=_query.require_match)
    if is_new:
        return _reply.created(_present.channel(row), location=f"/channel/{row.id}", version=row.version)
    return _one(row)


def update_channel(channel_id: int, body: dict[str, Any]) -> Reply:
    draft = _checked(body)
    with Session.begin() as session:
        return _one(channels.update(session, channel_id, draft, guard=_query.require_match))


def delete_channel(channel_id: int, recordings: str = "keep") -> Reply:
    if recordings == "delete":
        deletion.channel_with_recordings(channel_id, _current.settings().archive_dir, guard=_query.require_match)
        return _reply.no_content()
    with Session.begin() as session:
        channels.retire(session, channel_id, guard=_query.require_match)
    return _reply.no_content()


# --- lists in and out -------------------------------------------------------------------------------------


def import_channels(body: dict[str, Any] | str | bytes, dry_run: bool = False, existing: str = "update") -> Reply:
    text, form = _list_in(body)
    prepared = channel_imports.prepare(channel_lists.parse(text, form), allow=_current.settings().egress_allow)
    with Session.begin() as session:
        lines = channel_imports.apply(session, prepared, update=existing == "update")
        if dry_run:
            session.rollback()
    return _reply.ok(_present.report(lines, dry_run=dry_run))


def _list_in(body: dict[str, Any] | str | bytes) -> tuple[str, str]:
    """The list's text and its form, which the content type says, or JSON's own field."""
    if isinstance(body, dict):
        return body["content"], body["format"]
    text = body.decode("utf-8") if isinstance(body, bytes) else body
    return text, "csv" if _query.content_type() == "text/csv" else "m3u"


def export_channels(format_: str = "m3u") -> Reply:
    with Session.begin() as session:
        rows = [row._asdict() for row in channels.everything(session)]
    return _reply.text(
        _WRITERS[format_](iter(rows)), media_type=_MEDIA_TYPES[format_], filename=f"channels.{format_}"
    )
