"""What the recorder is doing on a channel, and the account of its time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streamrec import captures, channel_lists, channels, coverage, egress
from streamrec.clock import now
from streamrec.db import Session
from streamrec.handlers import _current, _present, _query, _reply
from streamrec.handlers._listing import Listing
from streamrec.handlers._reply import Reply
from streamrec.media import binary
from streamrec.recorder.sources import probing
from streamrec.timeline import Span

_SORT_KINDS: dict[str, type] = {"id": int, "start_time": datetime}
_DAY = timedelta(days=1)


def get_channel_status(channel_id: int) -> Reply:
    with Session.begin() as session:
        row = captures.status(session, channel_id)
    return _reply.ok(_present.status(row))


def list_channel_gaps(
    channel_id: int,
    from_: str | None = None,
    to: str | None = None,
    sort: str = "start_time",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    start, end = _query.bounds(from_, to)
    listing = Listing(f"gaps of {channel_id}", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        channels.require(session, channel_id)
        page = coverage.gaps(
            session, channel_id=channel_id, start=start, end=end, sort=sort, after=after, limit=limit
        )
    return listing.reply(page, _present.gap)


def get_channel_coverage(
    channel_id: int, from_: str | None = None, to: str | None = None, format_: str | None = None
) -> Reply:
    window = _window(from_, to)
    with Session.begin() as session:
        channels.require(session, channel_id)
        account = coverage.account(session, channel_id, window)
    if format_ == "csv" or (format_ is None and _query.prefers("text/csv", "application/json")):
        text = channel_lists.table(_present.COVERAGE_COLUMNS, _present.account_rows(account))
        return _reply.text(text, media_type="text/csv", filename=f"coverage-{channel_id}.csv")
    return _reply.ok(_present.account(account))


def _window(start: str | None, end: str | None) -> Span:
    """The range asked for; what is not given makes it a day, up to now if possible."""
    first, last = _query.bounds(start, end)
    if first is None:
        last = last or now()
        return Span(last - _DAY, last)
    return _query.window(start, end, default=Span(first, max(now(), first + timedelta.resolution)))


def probe_channel(body: dict[str, Any]) -> Reply:
    settings = _current.settings()
    url = egress.parse(body["url"])
    egress.check(url.url, settings.egress_allow)
    info = probing.probe(
        url.url,
        url.credentials,
        executable=binary.find(settings.ffmpeg).path,
        allow=tuple(settings.egress_allow),
        timeout_seconds=body.get("timeout_seconds", 10),
    )
    return _reply.ok(_present.probe(info))
