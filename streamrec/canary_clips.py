"""Clips of the canary: which one is asked for, and what its bytes must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import canary, jobs, keyset
from streamrec.canary import FRAME, Verdict
from streamrec.clips import rows
from streamrec.clips.plan import SEAM
from streamrec.clips.recipes import ClipFormat
from streamrec.clock import now
from streamrec.errors import NotFound
from streamrec.models import Canary, GapPolicy, Origin, Recording
from streamrec.timeline import Span

EVERY: Final = timedelta(minutes=5)
FARTHEST: Final = timedelta(seconds=90)  # of either end from a border between two files
RECENT: Final = timedelta(minutes=20)  # what is older may be gone before a clip of it is made
WITHDRAWN: Final = timedelta(minutes=30)  # after it was asked for

_MICROSECOND: Final = timedelta(microseconds=1)
_COLUMNS: Final = (
    *(Recording.start_time, Recording.end_time, Recording.size_bytes),
    *(Recording.store, Recording.path, Recording.object_key),
)
_UNSYNCHRONIZED = {"synchronize_session": False}


# --- the stretch: pure ------------------------------------------------------------------------------------


def drawn(files: Iterable[Span], draw: Random) -> Span | None:
    """A stretch with at least a frame on each side of a border; None if no two of the files meet."""
    borders = [(run, file.start) for run in _runs(files) for file in run[1:]]
    if not borders:
        return None
    run, border = draw.choice(borders)
    return Span(max(run[0].start, border - _length(draw)), min(run[-1].end, border + _length(draw)))


def _runs(files: Iterable[Span]) -> list[list[Span]]:
    """The files in order, apart wherever there is more than a seam between two."""
    runs: list[list[Span]] = []
    for file in files:
        if runs and abs(file.start - runs[-1][-1].end) <= SEAM:
            runs[-1].append(file)
        else:
            runs.append([file])
    return runs


def _length(draw: Random) -> timedelta:
    return draw.randint((FRAME + SEAM) // _MICROSECOND, FARTHEST // _MICROSECOND) * _MICROSECOND


# --- the comparison: pure ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A recording under a clip: its span, how many frames it has, and the first (None: it is not the signal's)."""

    span: Span
    frames: int
    first: int | None


@dataclass(frozen=True, slots=True)
class Clip:
    """What was asked for, what the row says of it, and the bytes."""

    window: Span
    seconds: float
    sha256: str
    data: bytes


def compare(clip: Clip, parts: Sequence[Part]) -> Verdict:
    """Exactly the frames that begin in the window, by the spans of the recordings: each once, in order."""
    numbers = canary.numbers_in(clip.data)
    at = f"the clip of {clip.window.start:%Y-%m-%d %H:%M:%S} UTC"
    faults = [*canary.disorder(numbers, at), *_told(clip, at), *_ends(clip, numbers, parts, at)]
    return Verdict(len(numbers), len(faults), faults[0] if faults else None)


def _told(clip: Clip, at: str) -> Iterator[str]:
    if sha256(clip.data).hexdigest() != clip.sha256:
        yield f"The bytes of {at} have another SHA-256 than its row says."


def _ends(clip: Clip, numbers: Sequence[int | None], parts: Sequence[Part], at: str) -> Iterator[str]:
    wanted = [(part, taken) for part in parts if (taken := _taken(part, clip.window))]
    if not wanted or any(part.first is None for part, _ in wanted):
        yield f"What {at} must hold cannot be told: a file of it is gone, or begins with no frame of the signal."
        return
    first, last = _number(*wanted[0], 0), _number(*wanted[-1], -1)
    if [*numbers[:1], *numbers[-1:], len(numbers)] != [first, last, sum(len(taken) for _, taken in wanted)]:
        yield f"The frames of {at} are {_ends_of(numbers)}, and should be {first} to {last}."
    seconds = sum(part.span.duration.total_seconds() * len(taken) / part.frames for part, taken in wanted)
    if abs(clip.seconds - seconds) > FRAME.total_seconds():
        yield f"The length of {at} is told as {clip.seconds:.3f} s, and is {seconds:.3f} s."


def _number(part: Part, taken: range, at: int) -> int:
    assert part.first is not None, "the caller has looked"
    return part.first + taken[at]


def _ends_of(numbers: Sequence[int | None]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "none"


def _taken(part: Part, window: Span) -> range:
    """Which of its frames begin in the window."""
    return range(_before(part, window.start), _before(part, window.end))


def _before(part: Part, moment: datetime) -> int:
    """How many of its frames begin before a moment."""
    since = (moment - part.span.start) // _MICROSECOND * part.frames
    return min(part.frames, max(0, -(-since // (part.span.duration // _MICROSECOND))))


# --- rows -------------------------------------------------------------------------------------------------


def pending(session: Session, channel_id: int) -> keyset.Row | None:
    """The clip that was asked for and not compared yet."""
    clip_id = session.scalar(sa.select(Canary.clip_id).where(Canary.channel_id == channel_id))
    with suppress(NotFound):  # somebody deletes it now
        return None if clip_id is None else rows.get(session, clip_id)
    return None


def ask(session: Session, channel_id: int, draw: Random) -> None:
    """Ask for a clip as a client would, if one is due and two files meet.

    Raises:
        StreamrecError: as rows.create does.
    """
    until = sa.select(Canary.verified_until).where(Canary.channel_id == channel_id, Canary.clip_due_at <= now())
    window = drawn(_files(session, channel_id, until), draw)
    if window is not None:
        order = rows.Order(channel_id, window, ClipFormat.MP3, gaps=GapPolicy.REFUSE)
        _change(session, channel_id, clip_id=rows.create(session, order).id)


def _files(session: Session, channel_id: int, until: sa.Select[Any]) -> list[Span]:
    """The latest recordings that were compared; none without an `until`."""
    compared = (Recording.end_time <= until.scalar_subquery(), Recording.start_time > now() - RECENT)
    statement = sa.select(Recording.start_time, Recording.end_time).where(*_captured(channel_id), *compared)
    return [Span(*row) for row in session.execute(statement.order_by(Recording.start_time))]


def _captured(channel_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED)


def recordings(session: Session, channel_id: int, window: Span) -> list[keyset.Row]:
    """What a clip is of, lost or not."""
    overlap = (Recording.start_time < window.end, Recording.end_time > window.start)
    statement = sa.select(*_COLUMNS).where(*_captured(channel_id), *overlap)
    return list(session.execute(statement.order_by(Recording.start_time)))


def end(session: Session, channel_id: int, clip: keyset.Row, verdict: Verdict | None) -> str | None:
    """Note what was found and forget the clip and its job; the key of its file, to be removed after the commit.

    Without a verdict it is withdrawn, and the next is due when it was.

    Raises:
        NotFound: somebody deleted it.
    """
    if verdict is not None:
        _note(session, channel_id, verdict)
    key = rows.delete(session, clip.id)
    jobs.forget(session, clip.job_id)
    return key


def _note(session: Session, channel_id: int, verdict: Verdict) -> None:
    at = now()
    told = {"failed_at": at, "detail": verdict.detail} if verdict.faults else {}
    sums = {"frames": Canary.frames + verdict.frames, "faults": Canary.faults + verdict.faults}
    _change(session, channel_id, checked_at=at, clipped_at=at, clip_due_at=at + EVERY, **sums, **told)


def _change(session: Session, channel_id: int, **values: Any) -> None:
    statement = sa.update(Canary).where(Canary.channel_id == channel_id).values(**values)
    session.execute(statement, execution_options=_UNSYNCHRONIZED)
