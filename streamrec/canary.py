"""The canary: a signal whose every frame is known, recorded as any channel is, and compared with the truth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import channels, keyset
from streamrec.channel_fields import Draft
from streamrec.clock import now
from streamrec.models import Assignment, Canary, Channel, Origin, Recording

KEYNAME: Final = "canary-sig"
FRAME_BYTES: Final = 96
FRAME_MICROSECONDS: Final = 24_000
SEGMENT_SECONDS: Final = 30
KEPT: Final = timedelta(hours=1)
FAILING: Final = timedelta(minutes=10)  # after a fault was found
SILENT: Final = timedelta(minutes=3)  # without a recording that was compared
FARTHEST: Final = timedelta(seconds=1)  # of a recording's times from the truth
LOOSEST: Final = timedelta(milliseconds=250)  # of a gap's length from what is missing
CLIPLESS: Final = timedelta(minutes=5)  # after a clip was due

# MPEG-1 layer III, 32 kb/s, 48 kHz, mono, of which no frame has any audio data: silence with ancillary data
# (ISO 11172-3, 2.4.1.7).
_HEAD: Final = b"\xff\xfb\x14\xc0" + bytes(17)
_DIGITS: Final = re.compile(rb"[0-9a-f]{11}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FRAME: Final = timedelta(microseconds=FRAME_MICROSECONDS)


# --- the signal -------------------------------------------------------------------------------------------


def frame(number: int) -> bytes:
    """Frame `number`, unlike every other; it is on air from `number` frames after 1970 on."""
    name = b"%011x" % number
    return _HEAD + name + sha256(name).hexdigest().encode()


def number_of(data: bytes) -> int | None:
    """Which frame these bytes are, to the last bit; None if they are none."""
    digits = data[len(_HEAD) : len(_HEAD) + 11]
    if not _DIGITS.fullmatch(digits):
        return None
    number = int(digits, 16)
    return number if frame(number) == data else None


def numbers_in(data: bytes) -> list[int | None]:
    """Which frames these bytes are, one after the other."""
    return [number_of(data[at : at + FRAME_BYTES]) for at in range(0, len(data), FRAME_BYTES)]


def on_air(number: int) -> datetime:
    """When a frame begins."""
    return _EPOCH + number * FRAME


def live(at: datetime) -> int:
    """How many frames had been on air by then."""
    return (at - _EPOCH) // FRAME


# --- the comparison: pure ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A recording of the canary: what its row says, and its bytes (None: they cannot be read)."""

    start_time: datetime
    end_time: datetime
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: frames that were compared, and faults, the latest in one sentence."""

    frames: int
    faults: int
    detail: str | None


def compare(pieces: Iterable[Piece], *, is_first_known: bool = False) -> Verdict:
    """Every frame once, in order, in time; what is missing between two pieces must be as long as the gap there.

    A first piece that `is_first_known` was compared before and only says where the second must go on.
    """
    frames, faults = 0, list[str]()
    before: tuple[Piece, int] | None = None
    for index, piece in enumerate(pieces):
        numbers = numbers_in(piece.data or b"")
        if index or not is_first_known:
            frames += len(numbers)
            faults += _within(piece, numbers)
            faults += _between(before, piece, numbers)
        if numbers and numbers[-1] is not None:
            before = (piece, numbers[-1])
    return Verdict(frames, len(faults), faults[-1] if faults else None)


def _within(piece: Piece, numbers: Sequence[int | None]) -> Iterator[str]:
    at = f"the recording of {piece.start_time:%Y-%m-%d %H:%M:%S} UTC"
    if piece.data is None or not numbers:
        yield f"The file of {at} cannot be read."
        return
    yield from disorder(numbers, at)
    first, last = numbers[0], numbers[-1]
    if first is not None and abs(on_air(first) - piece.start_time) > FARTHEST:
        yield f"The beginning of {at} is off by {(piece.start_time - on_air(first)).total_seconds():.3f} s."
    if last is not None and abs(on_air(last + 1) - piece.end_time) > FARTHEST:
        yield f"The end of {at} is off by {(piece.end_time - on_air(last + 1)).total_seconds():.3f} s."


def disorder(numbers: Sequence[int | None], at: str) -> Iterator[str]:
    """What is not the signal, or not the frame that is next, in what `at` names."""
    for index, number in enumerate(numbers):
        if number is None:
            yield f"Frame {index} of {at} is not one of the signal."
        elif index and (last := numbers[index - 1]) is not None and number != last + 1:
            yield f"In {at}, frame {number} follows {last}."


def _between(before: tuple[Piece, int] | None, piece: Piece, numbers: Sequence[int | None]) -> Iterator[str]:
    first = numbers[0] if numbers else None
    if before is None or first is None:
        return
    earlier, last = before
    hole = piece.start_time - earlier.end_time
    missing = (first - last - 1) * FRAME
    if first <= last or (not hole and missing) or abs(missing - hole) > LOOSEST:
        yield (
            f"Before {piece.start_time:%Y-%m-%d %H:%M:%S} UTC, {missing.total_seconds():.3f} s of the signal are "
            f"missing, and the account has a gap of {hole.total_seconds():.3f} s."
        )


# --- rows -------------------------------------------------------------------------------------------------


def ensure(session: Session, draft: Draft) -> int:
    """The id of the canary's channel, which is made, or pointed at today's address."""
    known = session.scalar(sa.select(Channel.id).where(*_OURS))
    if known is None:
        return channels.create(session, draft).id
    return channels.update(session, known, {"url": draft["url"]}).id


def is_held_by(session: Session, channel_id: int, recorder_id: Any) -> bool:
    """Whether this recorder is the one that captures the canary, and so the one that compares."""
    holder = sa.select(Assignment.recorder_id).where(Assignment.channel_id == channel_id)
    return bool(session.scalar(holder) == recorder_id)


def due(session: Session, channel_id: int, *, limit: int = 20) -> tuple[list[keyset.Row], bool]:
    """The recordings that are to be compared now, and whether the first of them was compared before."""
    until = session.scalar(sa.select(Canary.verified_until).where(Canary.channel_id == channel_id))
    columns = (Recording.start_time, Recording.end_time, Recording.store, Recording.path, Recording.object_key)
    captured = sa.select(*columns).where(Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED)
    if until is None:
        return list(session.execute(captured.order_by(Recording.start_time).limit(limit))), False
    last = captured.where(Recording.end_time <= until).order_by(Recording.start_time.desc()).limit(1)
    new = captured.where(Recording.end_time > until).order_by(Recording.start_time).limit(limit)
    known = session.execute(last).all()
    return [*known, *session.execute(new)], bool(known)


def note(session: Session, channel_id: int, verdict: Verdict, until: datetime) -> None:
    """Remember what was found in what was recorded up to `until`."""
    at = now()
    row = insert(Canary).values(
        channel_id=channel_id,
        checked_at=at,
        verified_until=until,
        frames=verdict.frames,
        faults=verdict.faults,
        failed_at=at if verdict.faults else None,
        detail=verdict.detail,
    )
    new = row.excluded
    session.execute(
        row.on_conflict_do_update(
            index_elements=[Canary.channel_id],
            set_={
                "checked_at": new.checked_at,
                "verified_until": new.verified_until,
                "frames": Canary.frames + new.frames,
                "faults": Canary.faults + new.faults,
                "failed_at": sa.func.coalesce(new.failed_at, Canary.failed_at),
                "detail": sa.func.coalesce(new.detail, Canary.detail),
            },
        )
    )


def expired(session: Session, channel_id: int, *, limit: int = 100) -> list[int]:
    """Recordings of the canary that were compared and have been kept for long enough."""
    until = sa.select(Canary.verified_until).where(Canary.channel_id == channel_id).scalar_subquery()
    old = sa.select(Recording.id).where(
        Recording.channel_id == channel_id, Recording.end_time < now() - KEPT, Recording.end_time < until
    )
    return list(session.scalars(old.order_by(Recording.start_time).limit(limit)))


# --- what is told of it -----------------------------------------------------------------------------------

_OURS: Final = (Channel.keyname == KEYNAME, Channel.deleted_at.is_(None))


@dataclass(frozen=True, slots=True)
class State:
    """How the canary is."""

    is_ok: bool
    detail: str
    frames: int
    faults: int
    age_seconds: float  # of the newest that was compared


def state_query() -> keyset.Select:
    """One row if there is a canary that is to be recorded; for `state`."""
    columns = (Canary.verified_until, Canary.frames, Canary.faults, Canary.failed_at, Canary.detail)
    clips = (Canary.clip_due_at, Canary.clipped_at)
    joined = sa.select(Channel.updated_at, *columns, *clips).outerjoin(Canary, Canary.channel_id == Channel.id)
    return joined.where(*_OURS, Channel.enabled)


def state(row: sa.Row[Any] | None, at: datetime) -> State | None:
    """What a row of `state_query` means; None if there is no canary. Pure."""
    if row is None:
        return None
    age = at - (row.verified_until or row.updated_at)
    figures = (row.frames or 0, row.faults or 0, max(0.0, age.total_seconds()))
    if row.failed_at is not None and at - row.failed_at < FAILING:
        return State(False, row.detail, *figures)
    if age > SILENT:
        return State(
            False, f"Nothing was recorded that could be compared for {age.total_seconds():.0f} s.", *figures
        )
    late = at - row.clip_due_at if row.clip_due_at is not None else timedelta()
    if late > CLIPLESS:
        return State(
            False, f"A clip of it that was due {late.total_seconds():.0f} s ago is not there yet.", *figures
        )
    return State(True, _well(row.clipped_at), *figures)


def _well(clipped_at: datetime | None) -> str:
    clipped = f"; in the clip of {clipped_at:%H:%M:%S} UTC, too" if clipped_at else ""
    return f"Every frame is there, once, in order and in time{clipped}."
