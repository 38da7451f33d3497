"""The account of a channel's time: what was recorded, what was not and why, and the proof of its wholeness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import captures, keyset
from streamrec.clock import now
from streamrec.errors import Invalid
from streamrec.models import Capture, Channel, Coverage, CoverageKind, EnabledPeriod, Recorder
from streamrec.timeline import Span, merged, subtracted

# A file's row comes when the file is closed: one segment, and this much for the last frame, fsync and the row.
ROW_DELAY: Final = timedelta(seconds=10)
LONGEST_WINDOW: Final = timedelta(days=400)

KINDS: Final = (*(kind.value for kind in CoverageKind), "disabled", "pending", "unaccounted")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A span of one kind; of a gap, also of one reason."""

    span: Span
    kind: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Every moment of `window` in exactly one stretch, in order."""

    channel_id: int
    window: Span
    stretches: list[Stretch]

    def durations(self) -> dict[str, timedelta]:
        """How long each kind lasted; all kinds are there."""
        sums = dict.fromkeys(KINDS, timedelta())
        for stretch in self.stretches:
            sums[stretch.kind] += stretch.span.duration
        return sums


def percentages(durations: Mapping[str, timedelta], digits: int = 4) -> dict[str, float]:
    """Shares of the whole in percent, rounded so that they add up to exactly 100 (largest remainder)."""
    whole = sum(durations.values(), timedelta())
    units = 100 * 10**digits
    shares = {kind: divmod(duration * units, whole) for kind, duration in durations.items()}
    missing = units - sum(share for share, _ in shares.values())
    favoured = sorted(shares, key=lambda kind: shares[kind][1], reverse=True)[:missing]
    return {kind: (share + (kind in favoured)) / 10**digits for kind, (share, _) in shares.items()}


# --- the account of one channel ---------------------------------------------------------------------------


def account(session: Session, channel_id: int, window: Span, *, at: datetime | None = None) -> Account:
    """The account of `window`, of which only the past counts: it is cut off at `at`, by default now.

    What no row speaks of is `disabled` outside the enabled periods; `pending` after the last row, while the
    row may still come (one segment and ROW_DELAY, or as long as no recorder lives, since one that is cut off from
    the database records into its spool); anything else would be `unaccounted`.

    Raises:
        Invalid: the window lies in the future or is longer than 400 days.
    """
    at = at or now()
    past = window.clipped(Span(min(window.start, at), at)) if window.start < at else None
    if past is None:
        raise Invalid("The range must begin in the past.", field="from", rule="past")
    if past.duration > LONGEST_WINDOW:
        raise Invalid("The range must be at most 400 days.", field="from", rule="range")
    bounds = _pending_since(session, channel_id, at)  # before the rows: one that comes meanwhile is no hole then
    rows = _recorded_and_lost(session, channel_id, past)
    known = [stretch.span for stretch in rows]
    expected = _expected(session, channel_id, past)
    missing = subtracted(expected, known)
    disabled = subtracted([past], [*expected, *known])
    stretches = [
        *rows,
        *(Stretch(span, "disabled") for span in disabled),
        *_open_end(missing, *bounds),
    ]
    return Account(channel_id, past, sorted(stretches, key=lambda stretch: stretch.span))


def _recorded_and_lost(session: Session, channel_id: int, window: Span) -> list[Stretch]:
    """The rows of the window, joined where they touch: the database does that faster than we could read them."""
    clipped = sa.func.tstzrange(
        sa.func.greatest(Coverage.start_time, window.start), sa.func.least(Coverage.end_time, window.end)
    )
    joined = (
        sa.select(Coverage.kind, Coverage.reason, sa.func.unnest(sa.func.range_agg(clipped)).label("span"))
        .where(
            Coverage.channel_id == channel_id,
            Coverage.start_time < window.end,
            Coverage.end_time > window.start,
        )
        .group_by(Coverage.kind, Coverage.reason)
        .subquery()
    )
    bounds = (sa.func.lower(joined.c.span, type_=Coverage.start_time.type), sa.func.upper(joined.c.span))
    rows = session.execute(
        sa.select(joined.c.kind, joined.c.reason, bounds[0], sa.type_coerce(bounds[1], Coverage.end_time.type))
    )
    return [Stretch(Span(start, end), kind.value, reason and reason.value) for kind, reason, start, end in rows]


def _expected(session: Session, channel_id: int, window: Span) -> list[Span]:
    """When the channel was to be recorded, inside the window."""
    rows = session.execute(
        sa.select(EnabledPeriod.start_time, sa.func.coalesce(EnabledPeriod.end_time, window.end)).where(
            EnabledPeriod.channel_id == channel_id,
            EnabledPeriod.start_time < window.end,
            sa.or_(EnabledPeriod.end_time.is_(None), EnabledPeriod.end_time > window.start),
        )
    )
    spans = (Span(start, end).clipped(window) for start, end in rows if start < end)
    return merged(span for span in spans if span is not None)


def _pending_since(session: Session, channel_id: int, at: datetime) -> tuple[datetime | None, datetime | None]:
    """The end of the last row, and the moment from which a row may still come; None: there is no such bound."""
    last = session.scalar(
        sa.select(Coverage.end_time)
        .where(Coverage.channel_id == channel_id)
        .order_by(Coverage.start_time.desc())
        .limit(1)
    )
    if not captures.is_any_recorder_alive(session):
        return last, None
    segment = session.scalar(sa.select(Channel.segment_seconds).where(Channel.id == channel_id)) or 0
    return last, at - timedelta(seconds=segment) - ROW_DELAY


def _open_end(missing: Iterable[Span], last: datetime | None, horizon: datetime | None) -> Iterable[Stretch]:
    """Missing time, told apart: it may still come only after the last row and after the horizon."""
    for span in missing:
        since = max([span.start, *(bound for bound in (last, horizon) if bound is not None)])
        if since > span.start:
            yield Stretch(Span(span.start, min(since, span.end)), "unaccounted")
        if since < span.end:
            yield Stretch(Span(since, span.end), "pending")


# --- gaps -------------------------------------------------------------------------------------------------

_SORTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "start_time": Coverage.start_time.expression,
    "id": Coverage.id.expression,
}


def gaps(
    session: Session,
    *,
    channel_id: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    sort: str = "start_time",
    after: keyset.Position | None = None,
    limit: int = 100,
) -> keyset.Page:
    """One page of the gaps that overlap `[start, end)`, whole, with reason and bounds.

    `is_open` marks an outage that goes on: nothing came after it, the channel is enabled and its capture is not
    running.
    """
    newest = (
        sa.select(Coverage.id)
        .where(Coverage.channel_id == Channel.id)
        .order_by(Coverage.start_time.desc())
        .limit(1)
        .correlate(Channel)
        .scalar_subquery()
    )
    is_open = sa.and_(Channel.enabled, Coverage.id == newest, captures.STATE != "running")
    statement: keyset.Select = (
        sa.select(
            *(Coverage.id, Coverage.channel_id, Coverage.start_time, Coverage.end_time),
            *(Coverage.reason, Coverage.detail, is_open.label("is_open")),
        )
        .join(Channel, Channel.id == Coverage.channel_id)
        .outerjoin(Capture, Capture.channel_id == Channel.id)
        .outerjoin(Recorder, Recorder.id == Capture.recorder_id)
        .where(Coverage.kind == CoverageKind.GAP)
    )
    if channel_id is not None:
        statement = statement.where(Coverage.channel_id == channel_id)
    if start is not None:
        statement = statement.where(Coverage.end_time > start)
    if end is not None:
        statement = statement.where(Coverage.start_time < end)
    return keyset.page(session, statement, columns=_SORTS, sort=sort, after=after, limit=limit)


# --- the proof --------------------------------------------------------------------------------------------

_UNACCOUNTED = sa.text(
    """
    WITH horizon AS (
        SELECT id, COALESCE(
            CAST(:until AS timestamptz), now() - make_interval(secs => segment_seconds + :row_delay)
        ) AS until
        FROM channel WHERE CAST(:channel_id AS bigint) IS NULL OR id = :channel_id
    ), expected AS (
        SELECT channel_id, range_agg(tstzrange(start_time, LEAST(COALESCE(end_time, until), until))) AS spans
        FROM enabled_period JOIN horizon ON horizon.id = channel_id
        WHERE start_time < until
        GROUP BY channel_id
    ), covered AS (
        SELECT channel_id, range_agg(tstzrange(start_time, end_time)) AS spans
        FROM coverage JOIN horizon ON horizon.id = channel_id
        GROUP BY channel_id
    )
    SELECT channel_id, lower(hole) AS start_time, upper(hole) AS end_time
    FROM expected LEFT JOIN covered USING (channel_id),
        unnest(expected.spans - COALESCE(covered.spans, '{}'::tstzmultirange)) AS hole
    ORDER BY channel_id, start_time
    """
).bindparams(
    sa.bindparam("until", type_=Coverage.start_time.type),
    sa.bindparam("channel_id", type_=sa.BigInteger()),
    sa.bindparam("row_delay", value=ROW_DELAY.total_seconds()),
)


def unaccounted(
    session: Session, channel_id: int | None = None, *, until: datetime | None = None
) -> list[tuple[int, Span]]:
    """Invariant I1: the enabled time that no row speaks of, up to `until`; it must be empty.

    `until` is by default each channel's horizon: now less one segment and ROW_DELAY.
    """
    statement = _UNACCOUNTED.columns(
        sa.column("channel_id", sa.BigInteger()),
        sa.column("start_time", Coverage.start_time.type),
        sa.column("end_time", Coverage.end_time.type),
    )
    rows = session.execute(statement, {"until": until, "channel_id": channel_id})
    return [(channel, Span(start, end)) for channel, start, end in rows]
