"""What the recorder owes to the database, kept in a journal across crashes and outages."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self
from uuid import UUID

import structlog

from streamrec.archive import files
from streamrec.clock import now
from streamrec.errors import Conflict
from streamrec.recorder import journal
from streamrec.recorder.facts import (
    Fact,
    GapNoted,
    RunEnded,
    RunStarted,
    SegmentClosed,
    SegmentOpened,
    decode,
    encode,
    identity,
)

_COMPACT_AT = 4 << 20  # bytes
_DONE = b"done "

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """A fact that is still needed: it is owed to the database, or what it began has not ended."""

    line: bytes
    is_owed: bool
    is_held: bool = False


def folders(root: Path) -> list[Path]:
    """Where there are spools: one folder a recorder, and `root` itself from before there were many."""
    found = [root, *(entry for entry in sorted(root.iterdir()) if _is_id(entry.name))] if root.is_dir() else []
    return [folder for folder in found if (folder / "journal").is_file()]


def keys(root: Path, *, but: Path) -> set[str]:
    """The keys of the files that the spools below `root` speak of, their owners alive or not."""
    lines = (line for folder in folders(root) if folder != but for line in journal.read(folder / "journal")[0])
    facts = (decode(line) for line in lines if not line.startswith(_DONE) and _is_fact(line))
    return {fact.key for fact in facts if isinstance(fact, SegmentOpened | SegmentClosed)}


class Spool:
    """Facts in the order in which they were appended, until they are done. Thread-safe.

    Beginnings are kept until their end is known, so that a start after a crash can look for it. Appends from
    several threads share their syncs. Raises Conflict if another recorder holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        files.make_folder(folder)
        self._folder = folder
        self.has_news = threading.Event()
        """Set with every fact; whoever makes rows of them clears it."""
        self._lock = threading.RLock()
        self._entries: dict[bytes, _Entry] = {}
        self._last_closed: dict[bytes, bytes] = {}  # an open run's id: the name of its last SegmentClosed
        self._holder = _hold(folder / "lock")
        path = folder / "journal"
        for line in _surviving(path):
            self._replay(line)
        self._journal = journal.Journal(path, self._lines())
        self._begun_at = self._journal.size

    def append(self, fact: Fact) -> None:
        """Return once `fact` survives a power cut. A GapNoted replaces a pending one of the same uuid.

        Raises OSError if that cannot be promised. The fact is then pending all the same, because it is true;
        only a crash would forget it.
        """
        line = encode(fact)
        with self._lock:
            self._remember(fact, line)
            self.has_news.set()
            ticket = self._write(line)
        self._journal.sync(ticket)

    def pending(self, limit: int | None = None) -> list[Fact]:
        """The oldest facts that are owed to the database; SegmentOpened is never among them."""
        with self._lock:
            owed = list(islice((entry.line for entry in self._entries.values() if entry.is_owed), limit))
        return [decode(line) for line in owed]

    def done(self, fact: Fact) -> None:
        """The fact is in the database, or a SegmentOpened's file is given up. Not synced: repeats are harmless.

        Does nothing if a later fact has replaced this one.
        """
        with self._lock:
            name = _name(fact)
            entry = self._entries.get(name)
            if entry is not None and entry.line == encode(fact):
                self._settle(name)
                with contextlib.suppress(OSError):
                    self._write(_DONE + name)

    def open_segments(self) -> list[SegmentOpened]:
        """Files that were begun and neither closed nor given up."""
        return [fact for fact in self._held() if isinstance(fact, SegmentOpened)]

    def open_runs(self) -> list[tuple[RunStarted, SegmentClosed | None]]:
        """Runs that have not ended, each with its last closed file."""
        held = self._held()
        last = {fact.run_id: fact for fact in held if isinstance(fact, SegmentClosed)}
        return [(fact, last.get(fact.run_id)) for fact in held if isinstance(fact, RunStarted)]

    def close(self) -> None:
        """Sync, and let another recorder have the folder."""
        with self._lock:
            if self._holder >= 0:
                self._journal.close()
                os.close(self._holder)
                self._holder = -1

    @property
    def is_empty(self) -> bool:
        """Whether nothing is owed, and nothing was begun that has not ended."""
        with self._lock:
            return not self._entries

    def remove(self) -> None:
        """Close, and delete the folder's files: call it when nothing is owed. What else lies there stays."""
        with self._lock:
            if self._holder < 0:
                return
            self._journal.close()
            for name in ("journal", "journal.new", "lock"):
                (self._folder / name).unlink(missing_ok=True)
            os.close(self._holder)
            self._holder = -1
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _held(self) -> list[Fact]:
        with self._lock:
            held = [entry.line for entry in self._entries.values() if entry.is_held]
        return [decode(line) for line in held]

    def _write(self, line: bytes) -> int:
        """Append to the journal, in another file if this one is broken or mostly past."""
        if self._journal.is_broken or self._journal.size > max(_COMPACT_AT, 2 * self._begun_at):
            self._journal.replace(self._lines())
            self._begun_at = self._journal.size
        return self._journal.write(line)

    def _lines(self) -> Iterator[bytes]:
        for name, entry in self._entries.items():
            yield entry.line
            if not entry.is_owed and not entry.line.startswith(b"SegmentOpened "):
                yield _DONE + name

    def _replay(self, line: bytes) -> None:
        if line.startswith(_DONE):
            self._settle(line.removeprefix(_DONE))
        else:
            self._remember(decode(line), line)

    def _remember(self, fact: Fact, line: bytes) -> None:
        """Take a fact in, and let go of what it ends."""
        name = _name(fact)
        self._entries.pop(name, None)
        entry = self._entries[name] = _Entry(line, is_owed=not isinstance(fact, SegmentOpened))
        match fact:
            case SegmentOpened() | RunStarted():
                entry.is_held = True
            case SegmentClosed():
                self._release(b"SegmentOpened %s" % str(fact.uuid).encode())
                self._supersede(fact, name)
            case RunEnded():
                run = str(fact.run_id).encode()
                self._release(b"RunStarted %s" % run)
                self._release(self._last_closed.pop(run, b""))
            case GapNoted():
                pass

    def _supersede(self, closed: SegmentClosed, name: bytes) -> None:
        """Hold the last closed file of an open run in place of the one before."""
        run = str(closed.run_id).encode()
        started = self._entries.get(b"RunStarted %s" % run)
        if started is not None and started.is_held:
            self._release(self._last_closed.get(run, b""))
            self._last_closed[run] = name
            self._entries[name].is_held = True

    def _settle(self, name: bytes) -> None:
        """Nothing is owed under this name any more; a file that was given up is not held either."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.is_owed = False
            entry.is_held = entry.is_held and not name.startswith(b"SegmentOpened ")
            self._drop_unneeded(name, entry)

    def _release(self, name: bytes) -> None:
        entry = self._entries.get(name)
        if entry is not None:
            entry.is_held = False
            self._drop_unneeded(name, entry)

    def _drop_unneeded(self, name: bytes, entry: _Entry) -> None:
        if not entry.is_owed and not entry.is_held:
            del self._entries[name]


def _name(fact: Fact) -> bytes:
    """What a fact is about."""
    kind, about = identity(fact)
    return f"{kind} {about}".encode()


def _hold(path: Path) -> int:
    """A descriptor that keeps other recorders away. Raises Conflict."""
    holder = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(holder)
        raise Conflict("Another recorder is using this spool.", spool=str(path.parent)) from error
    if not path.exists() or os.fstat(holder).st_ino != path.stat().st_ino:
        os.close(holder)  # it was removed just now, and a lock on it keeps nobody away
        raise Conflict("This spool was just removed.", spool=str(path.parent))
    return holder


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _surviving(path: Path) -> list[bytes]:
    """The journal's good lines; a copy is kept of one that has bad ones besides a torn last."""
    lines, damaged = journal.read(path)
    known = [line for line in lines if line.startswith(_DONE) or _is_fact(line)]
    damaged += len(lines) - len(known)
    if damaged:
        copy = path.with_name(f"journal.damaged-{now():%Y%m%dT%H%M%S.%f}Z")
        os.link(path, copy)  # it is replaced, not removed: until then the facts are under its own name
        log.error("journal damaged", action="journal_damaged", lines=damaged, copy=copy.name)
    return known


def _is_fact(line: bytes) -> bool:
    try:
        decode(line)
    except ValueError:
        return False
    return True
