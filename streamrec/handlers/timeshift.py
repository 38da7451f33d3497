"""HLS over the recorded bytes: live, from any time back, and for players without headers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from starlette.responses import Response

from streamrec import channels, indexes
from streamrec.clock import now
from streamrec.db import Session
from streamrec.errors import Denied, Gone, Invalid, NotFound
from streamrec.handlers import _current, _media, _present, _query, _reply
from streamrec.handlers._reply import Reply
from streamrec.handlers._stretch import Filler, Stretch
from streamrec.models import Loss, Store
from streamrec.timeline import Span, written
from streamrec.timeshift import access, catalogue, playlist, reading
from streamrec.timeshift.access import Access
from streamrec.timeshift.catalogue import Media
from streamrec.timeshift.plan import Plan, plan

LONGEST: Final = timedelta(hours=25)  # a day, even one on which clocks are put back
_TYPE: Final = "application/vnd.apple.mpegurl"  # RFC 8216, 4
_AHEAD: Final = timedelta(minutes=1)  # by which a client's clock may be fast
_LIVE: Final = timedelta(seconds=120)


def get_live_playlist(channel_id: int, window: int = 120, access: str | None = None) -> Reply:
    at = now()
    granted = _current.access()
    start = at - timedelta(seconds=window)
    if granted is not None:
        if granted.end is not None:
            raise Denied("This address opens a stretch of the past and not what is live.")
        start = max(start, granted.start)
    found = _planned(channel_id, Span(min(start, at - timedelta.resolution), at), is_live=True)
    if not found.entries:
        raise NotFound("Nothing has been recorded of this channel for a while.", channel_id=channel_id)
    return _playlist(found, access, is_live=True)


def get_catchup_playlist(channel_id: int, from_: str, to: str | None = None, access: str | None = None) -> Reply:
    span = _past(from_, to)
    granted = _current.access()
    if granted is not None and not granted.covers(span):
        raise Denied("This address opens another stretch of time.")
    found = _planned(channel_id, span, is_live=False)
    if all(entry.source is None for entry in found.entries):
        raise NotFound("Nothing of this time can be played.", channel_id=channel_id)
    return _playlist(found, access, is_live=False)


def get_media(channel_id: int, name: str, access: str | None = None) -> Reply:
    if name.startswith(playlist.GAP):
        form, filler = playlist.filler(name)
        return Filler(filler, media_type=_present.media_type(form, None))
    uuid, granted = _uuid(name), _current.access()
    for _ in range(2):  # between the look at its row and at the file it may have gone to the bucket
        with Session.begin() as session:
            row = catalogue.media(session, channel_id, uuid)
        if granted is not None and not granted.overlaps(row.start_time, row.end_time):
            raise Denied("This address opens another stretch of time.")
        if row.lost is not None:
            raise _media.lost(row.lost, recording_id=row.id)
        if (reply := _sent(row)) is not None:
            return reply
    raise Gone("This file is no longer in the archive.")


def _sent(row: Media) -> Reply | None:
    """The bytes of a file, in a bucket, under its key, or under the name that it has while it is written."""
    settings = _current.settings()
    media_type = _present.media_type(row.format, row.codecs)
    if row.store is Store.S3:
        name = row.path.rpartition("/")[2]
        gone = _media.lost(Loss.MISSING, recording_id=row.id)
        # No redirect: pages may not follow one to another origin, and players would send their key along to it.
        return _media.passed_on(
            _current.reading(), cast("Any", row), media_type=media_type, filename=name, gone=gone
        )
    descriptor = reading.opened(settings.archive_dir, row.path)
    if descriptor is None:
        return None
    return Stretch(descriptor, media_type=media_type, is_final=row.end_time is not None)


def create_link(channel_id: int, body: dict[str, Any]) -> Reply:
    at = now()
    start, end = _link_bounds(body, at)
    expires_at = (at + timedelta(seconds=body.get("expires_in", 86_400))).replace(microsecond=0)
    with Session.begin() as session:
        channels.require(session, channel_id)
    text = access.signed(Access(channel_id, start, end, expires_at), access.key_of(_current.settings()))
    if end is None:
        url = f"/channel/{channel_id}/live.m3u8?access={text}"
    else:
        url = f"/channel/{channel_id}/catchup.m3u8?from={written(start)}&to={written(end)}&access={text}"
    return _reply.ok({"url": url, "expires_at": written(expires_at)})


def _link_bounds(body: dict[str, Any], at: datetime) -> tuple[datetime, datetime | None]:
    """From when on, and up to when; a link without `to` is live."""
    if "to" in body:
        if "from" not in body:
            raise Invalid("from: must be given with to", field="from", rule="required")
        span = _past(body["from"], body["to"])
        return _to_millisecond(span.start), _to_millisecond(span.end)
    start = _query.instant(body.get("from"), "from") or at - _LIVE
    if start > at:
        raise Invalid("from: must not be in the future", field="from", rule="past")
    return _to_millisecond(start), None


def _to_millisecond(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


# --- parsing and planning ---------------------------------------------------------------------------------


def _past(start: str | int, end: str | int | None) -> Span:
    """The range asked for, up to now if it has no end.

    Raises:
        Invalid: it is empty, too long or not over.
    """
    at = now()
    first, last = _query.instant(start, "from"), _query.instant(end, "to") or at
    if first > at:
        raise Invalid("from: must not be in the future", field="from", rule="past")
    if last > at + _AHEAD:
        raise Invalid("to: must not be in the future", field="to", rule="past")
    if first >= last:
        raise Invalid("to: must be later than from", field="to", rule="order")
    if last - first > LONGEST:
        raise Invalid("to: must be at most 25 hours after from", field="to", rule="length")
    return Span(first, last)


def _planned(channel_id: int, span: Span, *, is_live: bool) -> Plan:
    """Reads rows, then files, then keeps what was missing: no transaction waits for a disk."""
    settings = _current.settings()
    with Session.begin() as session:
        channels.require(session, channel_id)
        found = catalogue.shelf(session, channel_id, span)
    indexed = catalogue.measured(found, _current.reading())
    if indexed:
        with Session.begin() as session:
            for recording_id, index in indexed.items():
                indexes.add(session, recording_id, index)
        catalogue.require_all(found, indexed, _current.reading())
    sources = catalogue.sources(found, settings.archive_dir, indexed)
    return plan(sources, span, gap_until=found.gap_until if is_live else None)


def _playlist(found: Plan, given: str | None, *, is_live: bool) -> Reply:
    text = playlist.written(found, is_live=is_live, query=f"?access={given}" if given else "")
    return Response(text, media_type=_TYPE)


def _uuid(name: str) -> UUID:
    """The id in a name such as `<uuid>.mp3`; the ending is there for players that choose by it."""
    try:
        return UUID(name.partition(".")[0])
    except ValueError as exc:
        raise NotFound("This channel has no such file.") from exc
