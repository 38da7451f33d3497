"""Facts become rows: in order, each once, whatever the database does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streamrec.errors import Unavailable
from streamrec.recorder.book import Book, PostgresBook, Refused
from streamrec.recorder.facts import Fact, GapNoted, SegmentClosed, identity
from streamrec.recorder.recent import Recent

log = structlog.get_logger(__name__)

BATCH: Final = 200
IDLE_SECONDS: Final = 5.0  # without news; then it is looked all the same
GATHER_SECONDS: Final = 0.2
AWAY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
POSTPONED_SECONDS: Final = 0.5


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


class Late(Protocol):
    """Who decides what is still true of a fact that comes late; settlement.Settlement."""

    def settle(self, fact: SegmentClosed | GapNoted) -> bool:
        """Whether it is done with; if not, it is asked again."""
        ...


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
            elif replayed < BATCH:
                self._gather()

    def _gather(self) -> None:
        """What comes at about the same time goes to the database together: a transaction of one costs as much."""
        self._stopping.wait(GATHER_SECONDS)

    def _await_news(self) -> None:
        self._journal.has_news.wait(self.pause)
        self._gather()
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
