"""Facts become rows: in order, each once, whatever the database does meanwhile."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID, uuid5

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from streamrec import db, indexes
from streamrec.archive import pieces as piece_index
from streamrec.errors import StreamrecError, Unavailable
from streamrec.indexes import New
from streamrec.models import Coverage, CoverageKind, GapReason, Origin, Recording, Run
from streamrec.recorder.facts import Fact, GapNoted, RunEnded, RunStarted, SegmentClosed, identity
from streamrec.recorder.recent import History, Recent

log = structlog.get_logger(__name__)

BATCH: Final = 200
PIECES: Final = 16
IDLE_SECONDS: Final = 5.0  # without news; then it is looked all the same
GATHER_SECONDS: Final = 0.2
_ONE_AT_A_TIME: Final = 0x686F6C65  # "hole"
AWAY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
POSTPONED_SECONDS: Final = 0.5
LATE_CODES: Final = frozenset({"SR001", "23P01"})
"""SQLSTATEs: the trigger epoch_fenced refused an old epoch; exclusion_violation, of time that is told already."""


class Journal(Protocol):
    """Where facts wait; the spool."""

    has_news: threading.Event
    """Set with every fact that comes."""

    def pending(self, limit: int | None = None) -> list[Fact]:
        """The oldest facts that are owed to the database."""
        ...

    def done(self, fact: Fact) -> None:
        """The fact is in the database."""
        ...


class Refused(StreamrecError):
    """The store will never take a fact as it is; `is_late` if only because others were there before."""

    def __init__(self, detail: str, *, is_late: bool) -> None:
        super().__init__(detail)
        self.is_late = is_late


class Book(Protocol):
    """Where facts become rows; the database."""

    def enter(self, facts: Sequence[Fact]) -> None:
        """Make rows of all of them, in order, or of none. The same fact again changes nothing.

        Raises Unavailable, or Refused if one of them is not taken.
        """
        ...

    def has_turned(self) -> bool:
        """Whether what was entered before the last call may be gone, with the store that took it. Raises Unavailable."""
        ...


class Late(Protocol):
    """Who decides what is still true of a fact that comes late; settlement.Settlement."""

    def settle(self, fact: SegmentClosed | GapNoted) -> bool:
        """Whether it is done with; if not, it is asked again."""
        ...


# --- rows -------------------------------------------------------------------------------------------------


def record(session: Session, fact: Fact) -> None:
    """Make rows of one fact. The same fact again changes nothing."""
    match fact:
        case RunStarted():
            _start_run(session, fact)
        case RunEnded():
            ended = sa.update(Run).where(Run.id == fact.run_id)
            session.execute(ended.values(end_time=fact.end_time, end_reason=fact.reason))
        case SegmentClosed():
            _add_recordings(session, [fact])
        case GapNoted():
            _set_gap(session, fact)


def _start_run(session: Session, fact: RunStarted) -> None:
    row = insert(Run).values(
        id=fact.run_id,
        channel_id=fact.channel_id,
        recorder_id=fact.recorder_id,
        epoch=fact.epoch,
        source=fact.source,
        source_index=fact.source_index,
        source_url=fact.source_url,
        format=fact.format,
        codecs=fact.codecs,
        start_time=fact.start_time,
    )
    session.execute(row.on_conflict_do_nothing(index_elements=[Run.id]))


def record_all(session: Session, facts: Sequence[Fact]) -> None:
    """Make rows of facts, in order; of files of different channels that follow each other, together.

    All channels close a file at the full minute, and each statement costs more than what it does.
    """
    closed: dict[int, SegmentClosed] = {}
    for fact in facts:
        if isinstance(fact, SegmentClosed) and fact.channel_id not in closed:
            closed[fact.channel_id] = fact
            continue
        _add_recordings(session, list(closed.values()))
        closed.clear()
        if isinstance(fact, SegmentClosed):
            closed[fact.channel_id] = fact
        else:
            record(session, fact)
    _add_recordings(session, list(closed.values()))


def _add_recordings(session: Session, facts: Sequence[SegmentClosed]) -> None:
    """Of one channel each. A coverage row proves that a fact was replayed, even if the recording is gone now."""
    uuids = [fact.uuid for fact in facts]
    known = set(session.scalars(sa.select(Coverage.uuid).where(Coverage.uuid.in_(uuids)))) if uuids else set()
    facts = [fact for fact in facts if fact.uuid not in known]
    if not facts:
        return
    runs = sa.select(Run.id, Run.source_index).where(Run.id.in_({fact.run_id for fact in facts}))
    sources = {row[0]: row[1] for row in session.execute(runs)}
    rows = [_recording(fact) | {"source_index": sources.get(fact.run_id)} for fact in facts]
    inserted = session.execute(sa.insert(Recording).returning(Recording.uuid, Recording.id), rows)
    ids = {row[0]: row[1] for row in inserted}
    session.execute(sa.insert(Coverage), [_coverage(fact, ids[fact.uuid]) for fact in facts])
    indexes.close_all(session, uuids)
    indexes.add_all(
        session,
        [
            New(ids[fact.uuid], fact.channel_id, fact.run_id, fact.start_time, _index(fact.index))
            for fact in facts
            if fact.index is not None
        ],
    )


def _recording(fact: SegmentClosed) -> dict[str, object]:
    return {
        "uuid": fact.uuid,
        "channel_id": fact.channel_id,
        "run_id": fact.run_id,
        "origin": Origin.CAPTURED,
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "path": fact.key,
        "size_bytes": fact.size_bytes,
        "sha256": fact.sha256,
        "format": fact.format,
        "codecs": fact.codecs,
        "truncated": fact.truncated,
        "epoch": fact.epoch,
        "version": 1,
    }


def _coverage(fact: SegmentClosed, recording_id: int) -> dict[str, object]:
    return {
        "uuid": fact.uuid,
        "channel_id": fact.channel_id,
        "kind": CoverageKind.RECORDED,
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "recording_id": recording_id,
        "epoch": fact.epoch,
    }


def _index(text: str) -> piece_index.Index:
    return piece_index.decoded(base64.b64decode(text))


def _set_gap(session: Session, fact: GapNoted) -> None:
    if fact.end_time <= fact.start_time:
        session.execute(sa.delete(Coverage).where(Coverage.uuid.in_(pieces(fact.uuid))))
        return
    bounds = {
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "reason": fact.reason,
        "detail": fact.detail,
        "epoch": fact.epoch,
    }
    row = insert(Coverage).values(uuid=fact.uuid, channel_id=fact.channel_id, kind=CoverageKind.GAP, **bounds)
    session.execute(row.on_conflict_do_update(index_elements=[Coverage.uuid], set_=bounds))


def pieces(uuid: UUID) -> list[UUID]:
    """The ids of a gap that the rows of others may have cut to pieces."""
    return [uuid, *(uuid5(uuid, str(number)) for number in range(1, PIECES))]


_HOLES = sa.text(
    """
    WITH told AS (
        SELECT channel_id, range_agg(tstzrange(start_time, end_time)) AS spans, max(end_time) AS until
        FROM coverage GROUP BY channel_id
    ), expected AS (
        SELECT p.channel_id, range_agg(tstzrange(p.start_time, coalesce(p.end_time, t.until))) AS spans
        FROM enabled_period p LEFT JOIN told t USING (channel_id)
        WHERE coalesce(p.end_time, t.until) > p.start_time AND (p.end_time IS NULL OR p.end_time <= :settled)
        GROUP BY p.channel_id
    )
    INSERT INTO coverage (uuid, channel_id, kind, start_time, end_time, reason, detail)
    SELECT gen_random_uuid(), e.channel_id, 'gap', lower(hole), upper(hole), :reason, :detail
    FROM expected e LEFT JOIN told t USING (channel_id),
         LATERAL unnest(e.spans - coalesce(t.spans, '{}'::tstzmultirange)) AS hole
    """
)


def fill_holes(session: Session, reason: GapReason, detail: str, *, age: timedelta = timedelta()) -> int:
    """Give every stretch that no row speaks of a gap; how many there were.

    The end of an enabled channel's account is left to its capture, and periods that ended less than `age` ago
    to the facts that are still on their way.
    """
    settled = session.scalar(sa.select(sa.func.now())) - age  # type: ignore[operator]
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME))):
        return 0  # another recorder is doing it
    result = session.execute(_HOLES, {"reason": reason.value, "detail": detail, "settled": settled})
    return int(result.rowcount)  # type: ignore[attr-defined]


def is_late(exc: DBAPIError) -> bool:
    """Whether the database refused a row only because others were there before."""
    return getattr(exc.orig, "pgcode", None) in LATE_CODES


def _may_pass(exc: DBAPIError) -> bool:
    """Whether the same facts may be taken later: they wait, and are not set aside."""
    return db.is_away(exc) or db.has_collided(exc)


class PostgresBook:
    """A Book on `db.Session`."""

    def __init__(self) -> None:
        self._history = History()

    def enter(self, facts: Sequence[Fact]) -> None:
        try:
            with db.Session.begin() as session:
                record_all(session, facts)
        except DBAPIError as exc:
            if _may_pass(exc):
                raise Unavailable(type(exc).__name__) from exc
            raise Refused(str(exc.orig), is_late=is_late(exc)) from exc

    def has_turned(self) -> bool:
        with db.away_as_unavailable():
            return self._history.has_turned()


# --- the thread -------------------------------------------------------------------------------------------


class Ledger:
    """A thread that replays the journal into the database for as long as the recorder lives."""

    def __init__(
        self,
        journal: Journal,
        *,
        refused: Path,
        late: Late | None = None,
        may_write: Callable[[], bool] = lambda: True,
        book: Book | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refused` is the file that gets a line for each fact that the database will never take.

        `late` settles what others were before us with. `may_write` says, before each commit, whether this
        recorder may still believe that it holds its channels; while it may not, the facts wait.
        """
        self._journal = journal
        self._refused = refused
        self._late = late
        self._may_write = may_write
        self._book = book or PostgresBook()
        self._monotonic = monotonic
        self._postponed: dict[UUID, float] = {}  # when to ask again, on the monotonic clock
        self._recent = Recent(monotonic)
        self._again: dict[tuple[str, UUID], Fact] = {}  # taken before, by a server that is not there any more
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._failures = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Replay what is pending if the database takes it within `seconds`; whether nothing is left."""
        self._stopping.set()
        self._journal.has_news.set()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._journal.pending(1)

    def _run(self) -> None:
        while True:
            replayed = self.step()
            if self._stopping.is_set() and not replayed:
                return
            if self._failures and not replayed:
                self._stopping.wait(self.pause)
            elif not replayed:
                self._await_news()

    def _await_news(self) -> None:
        """What comes at about the same time goes to the database together."""
        self._journal.has_news.wait(self.pause)
        self._stopping.wait(GATHER_SECONDS)
        self._journal.has_news.clear()

    @property
    def is_failing(self) -> bool:
        """Whether the last step was in vain."""
        return self._failures > 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next step if the last replayed nothing; news ends it, unless it failed."""
        if self._failures:
            return AWAY_SECONDS[min(self._failures, 4) - 1]
        return POSTPONED_SECONDS if self._postponed else IDLE_SECONDS

    def step(self) -> int:
        """Replay one batch; how many facts left the journal. A lost database is not an error here."""
        if not self._may_write():
            return self._wait("LeaseInDoubt") if self._journal.pending(1) else 0
        try:
            if self._journal.pending(1) and self._book.has_turned():
                self._again = self._recent.facts()
                log.warning("the database is another; it is told the latest again", facts=len(self._again))
            facts = self._due()
            if facts:
                self._replay(facts)
        except (Unavailable, DBAPIError, PoolTimeout) as exc:
            return self._wait(type(exc).__name__)
        except Exception:  # the thread must outlive a bug: the facts stay in the journal
            self._failures += 1
            log.exception("the ledger failed")
            return 0
        if self._failures and facts:
            log.info("the database takes rows again")
            self._failures = 0
        return len(facts)

    def _wait(self, error: str) -> int:
        self._failures += 1
        if self._failures == 1:
            log.warning("the database takes no rows; they wait in the spool", error=error)
        return 0

    def _due(self) -> list[Fact]:
        """The oldest facts, but for those that wait for what another recorder will tell."""
        now = self._monotonic()
        self._postponed = {uuid: at for uuid, at in self._postponed.items() if at > now}
        again = self._ready(self._again.values())[:BATCH]
        return again or self._ready(self._journal.pending(BATCH + len(self._postponed)))

    def _ready(self, facts: Iterable[Fact]) -> list[Fact]:
        return [fact for fact in facts if getattr(fact, "uuid", None) not in self._postponed]

    def _replay(self, facts: Sequence[Fact]) -> None:
        """All at once; if the database refuses one of them, one after the other to find which."""
        try:
            self._book.enter(facts)
        except Refused:
            self._replay_singly(facts)
            return
        for fact in facts:
            self._recent.add(fact)
            self._done(fact)

    def _done(self, fact: Fact) -> None:
        self._again.pop(identity(fact), None)
        self._journal.done(fact)

    def _replay_singly(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            try:
                self._book.enter([fact])
            except Refused as exc:
                if self._late is not None and isinstance(fact, SegmentClosed | GapNoted) and exc.is_late:
                    if not self._late.settle(fact):
                        self._postponed[fact.uuid] = self._monotonic() + POSTPONED_SECONDS
                        continue
                    self._done(fact)
                    continue
                log.error("the database refuses a fact; it is set aside", fact=repr(fact), error=exc.detail)
                with self._refused.open("a") as lines:
                    lines.write(f"{fact!r} # {exc.detail.splitlines()[0]}\n")
            else:
                self._recent.add(fact)
            self._done(fact)
