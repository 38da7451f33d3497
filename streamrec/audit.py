"""The oracle: whether the account, the rows and the files agree, invariant by invariant. It repairs nothing.

The order of reading makes it right on a recorder at work: a file is listed before the spool and the rows that
explain it are read, and a row whose file is missing is looked up again before that is believed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from streamrec import coverage, roots, scrub
from streamrec.archive import layout, places, root
from streamrec.archive.files import Tree
from streamrec.archive.looking import Depth as Depth
from streamrec.archive.looking import Look
from streamrec.archive.places import Reading
from streamrec.clock import now
from streamrec.errors import Unavailable
from streamrec.models import Clip, FileContent, Garbage, Origin, Recording, Store
from streamrec.recorder import journal
from streamrec.recorder.facts import SegmentClosed, SegmentOpened, decode
from streamrec.settings import Settings
from streamrec.timeline import written

_EXAMPLES: Final = 20
_ROWS: Final = 1000  # read at a time
_TOLD: Final[tuple[Any, ...]] = (
    *(Recording.id, Recording.path, Recording.size_bytes, Recording.sha256, Recording.store, Recording.object_key),
    Recording.lost,
)
_OLDEST_PART: Final = 3600.0 + coverage.ROW_DELAY.total_seconds()  # the longest segment there may be


@dataclass(slots=True)
class Invariant:
    """What must hold, how much was looked at, and where it does not hold."""

    id: str
    claim: str
    looked_at: int = 0
    violations: int = 0
    examples: list[str] = field(default_factory=list)

    def violated(self, example: str) -> None:
        """Count a violation; the first twenty are kept in words."""
        self.violations += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


def run(session: Session, settings: Settings, *, depth: Depth = Depth.SIZE) -> list[Invariant]:
    """Look at everything. Reads the whole archive's names, and with `Depth.HASH` its bytes.

    Raises:
        OSError: the archive cannot be read, as when it is not mounted.
        StorageAway: the bucket does not answer.
    """
    with Tree(settings.archive_dir) as archive:
        files = list(_files(archive))
        found = [
            _no_untold_time(session),
            _no_overlap(session),
            _losses_told(session),
            _rows_have_files(session, Look(Reading(settings), depth), _to_be_here(session, archive)),
            _files_have_reasons(session, files, settings.spool_dir),
            _no_old_parts(archive, files),
            _nothing_refused(settings.spool_dir),
        ]
    if settings.s3_bucket is not None:
        found.append(_objects_have_reasons(session, settings))
    return found


# --- the account ------------------------------------------------------------------------------------------


def _no_untold_time(session: Session) -> Invariant:
    found = Invariant("I1", "Every second of an enabled channel is recorded, a gap, expired or lost.")
    found.looked_at = session.scalar(sa.text("SELECT count(DISTINCT channel_id) FROM enabled_period")) or 0
    for channel_id, span in coverage.unaccounted(session):
        found.violated(f"channel {channel_id}: {written(span.start)} to {written(span.end)}")
    return found


_CONSTRAINT: Final = sa.text(
    "SELECT count(*) FROM pg_constraint WHERE conrelid = 'coverage'::regclass AND contype = 'x' AND convalidated"
)
_OVERLAPS: Final = sa.text(
    """
    SELECT channel_id, id, before FROM (
        SELECT channel_id, id, start_time, lag(id) OVER timeline AS before,
               max(end_time) OVER (timeline ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
        FROM coverage WINDOW timeline AS (PARTITION BY channel_id ORDER BY start_time, id)
    ) AS told WHERE start_time < until ORDER BY channel_id, id
    """
)


def _no_overlap(session: Session) -> Invariant:
    """The constraint, and what it would not have seen: rows from before it was there."""
    found = Invariant("I2", "No two spans of a channel overlap, and the database itself refuses any that would.")
    found.looked_at = session.scalar(sa.text("SELECT count(*) FROM coverage")) or 0
    if not session.scalar(_CONSTRAINT):
        found.violated("the exclusion constraint is missing or not validated")
    for channel_id, row, before in session.execute(_OVERLAPS):
        found.violated(f"channel {channel_id}: rows {before} and {row}")
    return found


# --- files ------------------------------------------------------------------------------------------------


_UNTOLD: Final = sa.text(
    """
    SELECT c.channel_id, c.id, c.kind, r.id AS recording_id, r.lost
    FROM coverage c JOIN recording r ON r.id = c.recording_id
    WHERE c.kind <> CASE WHEN r.lost IS NULL THEN 'recorded' ELSE 'lost' END ORDER BY c.id
    """
)


def _losses_told(session: Session) -> Invariant:
    found = Invariant("lost", "The account says lost of those recordings that are lost, and of no others.")
    lost = sa.select(sa.func.count()).select_from(Recording).where(Recording.lost.is_not(None))
    found.looked_at = session.scalar(lost) or 0
    for row in session.execute(_UNTOLD):
        found.violated(f"channel {row.channel_id}: row {row.id} says {row.kind} of recording {row.recording_id}")
    return found


def _to_be_here(session: Session, archive: Tree) -> sa.ColumnElement[bool]:
    """Recordings that this folder or the bucket is to hold; of a folder without a mark, all."""
    try:
        root_id = roots.proved(session, archive)
    except Unavailable:
        return sa.true()
    is_here = scrub.in_archive(root_id, is_only=roots.is_only(session, root_id))
    return sa.or_(Recording.store == Store.S3, is_here)


def _rows_have_files(session: Session, look: Look, is_here: sa.ColumnElement[bool]) -> Invariant:
    """A recording that is lost has none, and one whose file is back is not lost for ever: `scrub` sees to that."""
    claim = f"Every recording's file is there, or the recording is lost ({look.depth.value} looked at)."
    found = Invariant("I3", claim)
    statement = sa.select(*_TOLD).where(Recording.origin == Origin.CAPTURED, is_here)
    for row in session.execute(statement.execution_options(yield_per=_ROWS)):
        found.looked_at += 1
        if row.lost is not None or not look.fault(row):
            continue
        current = _again(session, row.id)
        if current is not None and current.lost is None and (fault := look.fault(current)):
            found.violated(f"recording {row.id}, {row.path}: {fault.detail}")
    return found


def _again(session: Session, recording_id: int) -> Row[Any] | None:
    """The row as it is now: a deletion takes it first and then the file, and a hand-over changes it first."""
    return session.execute(sa.select(*_TOLD).where(Recording.id == recording_id)).one_or_none()


def _files_have_reasons(session: Session, files: list[str], spool_dir: Path) -> Invariant:
    found = Invariant("I4", "Every file has a row or is named in the spool.")
    found.looked_at = len(files)
    unknown = {name for name in files if not name.endswith(layout.BAD)} - _spooled(spool_dir)
    for key in sorted(unknown - _known(session, unknown)):
        found.violated(key)
    return found


def _spooled(spool_dir: Path) -> set[str]:
    """The names that the recorders' journals speak of; read without the recorders' lock."""
    names: set[str] = set()
    for path in spool_dir.rglob("journal"):
        for line in journal.read(path)[0]:
            try:
                fact = decode(line)
            except ValueError:  # a note that a fact is done, or one of another version
                continue
            if isinstance(fact, SegmentOpened | SegmentClosed):
                names |= {fact.key, fact.key + layout.PART}
    return names


def _known(session: Session, names: Iterable[str]) -> set[str]:
    """Which of these a row speaks of, or a deletion that has not come to the file yet."""
    known: set[str] = set()
    asked = sorted(names)
    for first in range(0, len(asked), _ROWS):
        some = sa.any_(sa.cast(asked[first : first + _ROWS], sa.ARRAY(sa.Text)))
        here = sa.select(Recording.path).where(Recording.path == some, Recording.store == Store.LOCAL)
        noted = sa.select(Garbage.path).where(Garbage.path == some, Garbage.store == Store.LOCAL)
        known.update(session.scalars(here))
        known.update(session.scalars(noted))
    return known


def _objects_have_reasons(session: Session, settings: Settings) -> Invariant:
    """The names are listed before the rows are read, and a name is in its row before the object is."""
    found = Invariant("objects", "Every object has a row that names it, or is about to be removed.")
    bucket = places.bucket(settings)
    names = [name for name, _ in bucket.names(settings.s3_prefix) if _is_ours(settings, name)]
    found.looked_at = len(names)
    for name in sorted(set(names) - _named(session, settings.s3_prefix, names)):
        if bucket.size(name) is not None:  # it may have been removed since it was listed
            found.violated(name)
    return found


def _is_ours(settings: Settings, name: str) -> bool:
    """Whether it is called as we call objects: the bucket may hold what others keep there."""
    bare = name.removeprefix(settings.s3_prefix)
    if bare.startswith((layout.CLIPS, layout.FILES)):
        return True
    try:
        layout.parse(bare)
    except ValueError:
        return False
    return True


def _named(session: Session, prefix: str, names: list[str]) -> set[str]:
    """Which of these a row names; it is found by what its name is made of, for which there is an index."""
    named: set[str] = set()
    for first in range(0, len(names), _ROWS):
        some = names[first : first + _ROWS]
        bare = [name.removeprefix(prefix) for name in some]
        asked: tuple[tuple[Any, Any, list[str]], ...] = (
            (Recording.object_key, Recording.path, bare),
            (Clip.object_key, Clip.path, [name.removeprefix(layout.CLIPS) for name in bare]),
            (FileContent.object_key, FileContent.sha256, [name.rpartition("/")[2][:64] for name in bare]),
            (Garbage.path, Garbage.path, some),
        )
        for name, key, keys in asked:
            known = sa.select(name).where(key == sa.any_(sa.cast(keys, sa.ARRAY(sa.Text))), name.is_not(None))
            named.update(session.scalars(known))
    return named


def _no_old_parts(archive: Tree, files: list[str]) -> Invariant:
    found = Invariant("I5", "No file is being written for longer than the longest segment.")
    for name in files:
        if name.endswith(layout.PART):
            found.looked_at += 1
            age = _age(archive, name)
            if age is not None and age > _OLDEST_PART:
                found.violated(f"{name}: untouched for {age:.0f} s")
    return found


def _age(archive: Tree, name: str) -> float | None:
    """Seconds since a file was last written; None if it has got its final name meanwhile."""
    try:
        descriptor = archive.open(name)
    except OSError:
        return None
    try:
        return now().timestamp() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _nothing_refused(spool_dir: Path) -> Invariant:
    found = Invariant("refused", "The database has refused none of the recorders' facts.")
    for path in sorted(spool_dir.rglob("refused.txt")):
        for line in path.read_text(errors="replace").splitlines():
            found.looked_at += 1
            found.violated(line[:500])
    return found


def _files(archive: Tree) -> Iterator[str]:
    """Every file of the archive, by its name below it; links are followed nowhere."""
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in archive.names(folder):
            path = f"{folder}/{name}" if folder else name
            try:
                mode = (archive.path / path).lstat().st_mode
            except FileNotFoundError:  # it has got its final name, or was deleted, since its folder was read
                continue
            if stat.S_ISDIR(mode):
                pending.append(path)
            elif stat.S_ISREG(mode) and path not in root.OURS:
                yield path
