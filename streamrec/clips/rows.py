"""What clips were asked for, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import channels, coverage, indexes, jobs, keyset, recordings
from streamrec.clips import recipes
from streamrec.clips.plan import SEAM, Plan, Source, planned
from streamrec.clips.recipes import ClipFormat
from streamrec.clock import now
from streamrec.errors import Conflict, Invalid, NotFound, Unavailable
from streamrec.models import Clip, CoverageKind, GapPolicy, Job, JobKind, JobState, Origin, Recording, Store
from streamrec.timeline import Span, written

LONGEST: Final = timedelta(hours=24)
STALE: Final = timedelta(seconds=30)  # without a word from the recorder of an open file
PENDING: Final = "pending"  # as the account calls what may still come
MOST_OPEN: Final = 1000  # clips that are asked for and not made
MOST_SOURCES: Final = 20_000  # a day of the shortest segments

_COLUMNS: Final[tuple[Any, ...]] = (
    *(Clip.number, Clip.id, Clip.job_id, Clip.channel_id, Clip.start_time, Clip.end_time, Clip.format, Clip.exact),
    *(Clip.gaps, Clip.path, Clip.size_bytes, Clip.sha256, Clip.lossless, Clip.seconds, Clip.created_at),
    *(Clip.store, Clip.object_key, Clip.fault, Clip.expires_at, Job.state, Job.progress, Job.error, Job.attempts),
)
_SOURCE: Final[tuple[Any, ...]] = (
    *(Recording.id, Recording.path, Recording.start_time, Recording.end_time, Recording.size_bytes),
    *(Recording.sha256, Recording.format, Recording.codecs, Recording.run_id),
    *(Recording.store, Recording.object_key),
)
_PLACE: Final = (Clip.path, Clip.store, Clip.object_key)
_SORTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "id": Clip.number.expression,
    "created_at": Clip.created_at.expression,
}
_UNSYNCHRONIZED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; no format means that of the recordings."""

    channel_id: int
    window: Span
    format: ClipFormat | None = None
    exact: bool = False
    gaps: GapPolicy = GapPolicy.SKIP


def create(session: Session, order: Order) -> keyset.Row:
    """Ask for a clip; it is made if and when this session's transaction commits.

    Raises:
        NotFound: there is no such channel.
        Invalid: nothing was recorded there, or the recordings do not make such a clip.
        Conflict: there are gaps, which the order refuses; or a part of the range is in the file being written.
        Unavailable: too many clips wait to be made.
    """
    channels.require(session, order.channel_id)
    _check_window(order.window)
    _check_queue(session)
    _check_closed(session, order)
    plan = plan_of(session, order.channel_id, order.window)
    made = check(plan, order)
    kind = JobKind.EXPORT if made is ClipFormat.ZIP else JobKind.CLIP
    clip = Clip(
        id=uuid4(),
        job_id=jobs.create(session, kind, channel_id=order.channel_id),
        channel_id=order.channel_id,
        start_time=order.window.start,
        end_time=order.window.end,
        format=made.value,
        exact=order.exact,
        gaps=order.gaps,
    )
    session.add(clip)
    session.flush()
    return get(session, clip.id)


def _check_window(window: Span) -> None:
    if window.end > now():
        raise Invalid("to: must lie in the past", field="to", rule="past")
    if window.duration > LONGEST:
        raise Invalid("from: a clip has at most 24 hours", field="from", rule="range")


def _check_closed(session: Session, order: Order) -> None:
    """What is in an open file would be missing, and taken for a gap. A file that stands still is of the past."""
    for file in indexes.open_files(session, order.channel_id):
        if file.start_time < order.window.end and file.updated_at > now() - STALE:
            raise Conflict(
                "to: what was on air then is in a file that is still being written; ask again when it is closed",
                field="to",
                rule="closed",
                start_time=written(file.start_time),
            )
    check_told(gaps_in(session, order.channel_id, order.window))


def check_told(gaps: Iterable[dict[str, Any]]) -> None:
    """A file that has just begun is in no row at all: only the account knows that something is to come.

    Raises:
        Conflict: for a part of the range a row may still come.
    """
    start = next((gap["start_time"] for gap in gaps if gap["kind"] == PENDING), None)
    if start is not None:
        raise Conflict(
            f"to: what was on air from {start} on is not in a closed file yet; ask again when it is",
            field="to",
            rule="closed",
            start_time=start,
        )


def _check_queue(session: Session) -> None:
    """What is asked for without end would fill the disk without end."""
    waiting = sa.select(sa.func.count()).select_from(Clip).join(Job, Job.id == Clip.job_id)
    if (session.scalar(waiting.where(Job.ended_at.is_(None))) or 0) >= MOST_OPEN:
        raise Unavailable(f"{MOST_OPEN} clips wait to be made; ask again later.", rule="most_open")


def check(plan: Plan, order: Order) -> ClipFormat:
    """The format that the clip will have.

    Raises:
        Invalid, Conflict: as `create`.
    """
    if not plan.takes:
        raise Invalid("from: nothing was recorded in this range", field="from", rule="recorded")
    if order.gaps is GapPolicy.REFUSE and plan.holes:
        raise Conflict(f"The range has {len(plan.holes)} gaps.", field="gaps", rule="refuse", gaps=len(plan.holes))
    first = plan.takes[0].source
    wanted = order.format or recipes.natural(first.format)
    if wanted is ClipFormat.ZIP:
        return wanted
    if any((take.source.format, take.source.codecs) != (first.format, first.codecs) for take in plan.takes):
        raise Invalid(
            "from: the range holds recordings of different formats; ask for a part, or for a zip",
            field="from",
            rule="one_format",
        )
    recipes.recipe(first.format, first.codecs, wanted, exact=order.exact)
    if order.gaps is GapPolicy.FILL and not recipes.can_fill(first.format, first.codecs):
        raise Invalid(f"gaps: gaps between {first.codecs} cannot be filled", field="gaps", rule="fill")
    return wanted


def plan_of(session: Session, channel_id: int, window: Span) -> Plan:
    """Which recordings the window is made of."""
    return planned(sources_in(session, channel_id, window), window)


def sources_in(session: Session, channel_id: int, window: Span) -> list[Source]:
    """The captured recordings that overlap a window, in order."""
    statement = (
        sa.select(*_SOURCE)
        .where(
            Recording.channel_id == channel_id,
            Recording.origin == Origin.CAPTURED,
            Recording.lost.is_(None),
            Recording.start_time < window.end,
            Recording.end_time > window.start,
        )
        .order_by(Recording.start_time)
        .limit(MOST_SOURCES)
    )
    return [_source(row) for row in session.execute(statement)]


def _source(row: keyset.Row) -> Source:
    """A captured recording has all of these."""
    span = Span(row.start_time, row.end_time)
    media = (row.size_bytes, row.sha256, row.format, row.codecs or "")
    return Source(row.id, row.path, span, *media, row.run_id, row.store, row.object_key)


def gaps_in(session: Session, channel_id: int, window: Span) -> list[dict[str, Any]]:
    """What the account says of the parts of the window that were not recorded."""
    account = coverage.account(session, channel_id, window)
    return [
        {
            "start_time": written(stretch.span.start),
            "end_time": written(stretch.span.end),
            "kind": str(stretch.kind),
            "reason": stretch.reason and str(stretch.reason),
        }
        for stretch in account.stretches
        if stretch.kind != CoverageKind.RECORDED
        and not (stretch.kind == PENDING and stretch.span.duration <= SEAM)
    ]


# --- reading ----------------------------------------------------------------------------------------------


def _joined(*columns: Any) -> keyset.Select:
    return sa.select(*columns).select_from(Clip).join(Job, Job.id == Clip.job_id)


def get(session: Session, clip_id: UUID) -> keyset.Row:
    """One clip.

    Raises:
        NotFound: there is none.
    """
    row = session.execute(_joined(*_COLUMNS).where(Clip.id == clip_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no clip {clip_id}.", clip_id=str(clip_id))
    return row


def of_job(session: Session, job_id: UUID) -> keyset.Row | None:
    """The clip that a job is to make; None if it was deleted meanwhile."""
    return session.execute(_joined(*_COLUMNS).where(Clip.job_id == job_id)).one_or_none()


def is_there(session: Session, clip_id: UUID) -> bool:
    """Whether a clip was not deleted yet."""
    return bool(session.scalar(sa.select(sa.exists().where(Clip.id == clip_id))))


def manifest(session: Session, clip_id: UUID) -> dict[str, Any]:
    """Where a clip comes from, to the frame.

    Raises:
        NotFound: there is no such clip, or it is not made.
    """
    found: dict[str, Any] | None = session.scalar(sa.select(Clip.manifest).where(Clip.id == clip_id))
    if found is None:
        raise unmade(get(session, clip_id))
    return found


def unmade(clip: keyset.Row) -> NotFound:
    """What whoever asks for the file of a clip that has none is told."""
    is_failed = clip.state is JobState.FAILED
    detail = f"This clip could not be made: {clip.error}" if is_failed else "This clip is not made yet."
    return NotFound(detail, clip_id=str(clip.id), rule="done")


def page(
    session: Session,
    *,
    channel_id: int | None = None,
    state: str | None = None,
    sort: str = "-created_at",
    after: keyset.Position | None = None,
    limit: int = 100,
) -> keyset.Page:
    """One page of the clips."""
    statement = _joined(*_COLUMNS)
    if channel_id is not None:
        statement = statement.where(Clip.channel_id == channel_id)
    if state is not None:
        statement = statement.where(Job.state == JobState(state))
    return keyset.page(session, statement, columns=_SORTS, sort=sort, after=after, limit=limit)


# --- what becomes of it -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """A durable file, and what it is."""

    path: str
    size_bytes: int
    sha256: str
    lossless: bool
    seconds: float
    manifest: dict[str, Any]


def complete(session: Session, clip_id: UUID, made: Made, *, attempt: int, keep: timedelta) -> bool:
    """The clip has its file; False if the clip is gone, or another attempt makes it."""
    counts = sa.select(Job.id).where(Job.id == Clip.job_id, Job.attempts == attempt).with_for_update().exists()
    values = {name: getattr(made, name) for name in Made.__slots__}
    statement = sa.update(Clip).where(Clip.id == clip_id, counts)
    done = session.execute(statement.values(**values, expires_at=now() + keep), execution_options=_UNSYNCHRONIZED)
    return bool(done.rowcount)  # type: ignore[attr-defined]


def delete(session: Session, clip_id: UUID) -> str | None:
    """Forget a clip; the key of its file, to be removed once this transaction is committed.

    Raises:
        NotFound: there is none.
    """
    statement = sa.delete(Clip).where(Clip.id == clip_id).returning(*_PLACE)
    gone = session.execute(statement, execution_options=_UNSYNCHRONIZED).all()
    if not gone:
        raise NotFound(f"There is no clip {clip_id}.", clip_id=str(clip_id))
    return next(iter(_discarded(session, gone)), None)


def expire(session: Session, at: datetime, *, limit: int = 500) -> list[str]:
    """Forget clips whose time is over; the keys of their files."""
    old = sa.select(Clip.id).where(Clip.expires_at < at).limit(limit).with_for_update(skip_locked=True)
    statement = sa.delete(Clip).where(Clip.id.in_(old)).returning(*_PLACE)
    return _discarded(session, session.execute(statement, execution_options=_UNSYNCHRONIZED).all())


def _discarded(session: Session, gone: Sequence[keyset.Row]) -> list[str]:
    """The keys of the files of clips that were forgotten; objects are noted, for whoever removes them."""
    for row in gone:
        if row.object_key is not None:
            after = timedelta() if row.store is Store.S3 else recordings.LONGEST_UPLOAD
            recordings.discard(session, [row.object_key], store=Store.S3, after=after)
    return [row.path for row in gone if row.path]


def known(session: Session, keys: list[str]) -> set[str]:
    """Those keys that a clip has as its file; what lies in the bucket has none."""
    return set(session.scalars(sa.select(Clip.path).where(Clip.path.in_(keys), Clip.store == Store.LOCAL)))
