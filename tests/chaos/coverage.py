"""M16: how much of what the stations sent is recorded: recorded / (expected - source down)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.models import Coverage, CoverageKind, EnabledPeriod
from tests.chaos.world import Channel, World
from tests.station.journal import Event

Span = tuple[float, float]  # seconds since 1970


def measured(session: Session, world: World) -> dict[str, Any]:
    """Seconds over all channels, and the share of them; a channel counts from its first media on."""
    expected = recorded = down = 0.0
    shares = []
    for channel in world.channels:
        wanted, media = _wanted(session, channel), _media(session, channel)
        if not media:
            continue
        wanted = without(wanted, [(0.0, media[0][0])])
        away = _down(channel)
        up = without(wanted, away)
        expected, down = expected + length(wanted), down + length(wanted) - length(up)
        got = length(up) - length(without(up, media))
        recorded += got
        shares.append(got / length(up) if up else 1.0)
    return {
        "expected_seconds": round(expected, 1),
        "source_down_seconds": round(down, 1),
        "recorded_seconds": round(recorded, 1),
        "percent": round(100 * recorded / (expected - down), 4) if expected > down else None,
        "worst_channel_percent": round(100 * min(shares), 3) if shares else None,
    }


def _wanted(session: Session, channel: Channel) -> list[Span]:
    columns = (EnabledPeriod.start_time, EnabledPeriod.end_time)
    rows = session.execute(sa.select(*columns).where(EnabledPeriod.channel_id == channel.id))
    return [(start.timestamp(), end.timestamp()) for start, end in rows if end is not None]


def _media(session: Session, channel: Channel) -> list[Span]:
    columns = (Coverage.start_time, Coverage.end_time)
    ours = (Coverage.channel_id == channel.id, Coverage.kind == CoverageKind.RECORDED)
    rows = session.execute(sa.select(*columns).where(*ours).order_by(Coverage.start_time))
    return [(start.timestamp(), end.timestamp()) for start, end in rows]


def _down(channel: Channel) -> list[Span]:
    """While one of its mounts had a fault."""
    return [span for mount in channel.mounts for span in outages(mount.journal.of(mount.name, "fault"))]


def outages(events: Iterable[Event]) -> list[Span]:
    """From each fault to the event that ends it."""
    found: list[Span] = []
    began: float | None = None
    for event in events:
        if event.facts["fault"] is not None:
            began = event.at if began is None else began
        elif began is not None:
            found.append((began, event.at))
            began = None
    return found if began is None else [*found, (began, float("inf"))]


def length(spans: Iterable[Span]) -> float:
    """Seconds in all."""
    return sum(end - start for start, end in spans)


def without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """The spans with the holes cut out."""
    left = list(spans)
    for start, end in holes:
        left = [
            piece
            for span in left
            for piece in ((span[0], min(span[1], start)), (max(span[0], end), span[1]))
            if piece[0] < piece[1]
        ]
    return left
