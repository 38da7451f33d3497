"""What the recorder knows to be true and owes to the database: small values that the spool stores and replays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import get_args
from uuid import UUID

from pydantic import TypeAdapter

from streamrec.models import FileFormat, GapReason


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run has its first media."""

    run_id: UUID
    channel_id: int
    recorder_id: UUID
    source: str
    format: FileFormat
    codecs: str
    start_time: datetime
    epoch: int | None = None  # of the assignment under which it is recorded; None before there were any
    source_index: int | None = None  # None before a channel could have several
    source_url: str | None = None  # without user name and password


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over."""

    run_id: UUID
    end_time: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentOpened:
    """A file was begun; without a SegmentClosed after it, there is something to salvage."""

    uuid: UUID
    run_id: UUID
    channel_id: int
    key: str  # below the archive, without ".part"
    format: FileFormat
    codecs: str
    start_time: datetime
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentClosed:
    """A file is durable under its final name."""

    uuid: UUID
    run_id: UUID
    channel_id: int
    key: str
    format: FileFormat
    codecs: str
    start_time: datetime
    end_time: datetime
    size_bytes: int
    sha256: str
    truncated: bool = False
    epoch: int | None = None
    index: str | None = None  # archive.pieces' form in Base64; None leaves it to whoever first asks


@dataclass(frozen=True, slots=True)
class GapNoted:
    """A stretch was not recorded. The same uuid again replaces the bounds: one row per outage.

    `end_time == start_time` withdraws the gap, when a burst turned out to cover it.
    """

    uuid: UUID
    channel_id: int
    start_time: datetime
    end_time: datetime
    reason: GapReason
    detail: str
    epoch: int | None = None


Fact = RunStarted | RunEnded | SegmentOpened | SegmentClosed | GapNoted

_KINDS: dict[str, type[Fact]] = {kind.__name__: kind for kind in get_args(Fact)}
_ADAPTERS: dict[str, TypeAdapter[Fact]] = {name: TypeAdapter(kind) for name, kind in _KINDS.items()}


def identity(fact: Fact) -> tuple[str, UUID]:
    """What a fact is about: its kind and the id of its run, file or outage."""
    return type(fact).__name__, fact.run_id if isinstance(fact, RunStarted | RunEnded) else fact.uuid


def encode(fact: Fact) -> bytes:
    """One line without its end: the kind and a JSON object."""
    kind = type(fact).__name__
    return kind.encode() + b" " + _ADAPTERS[kind].dump_json(fact)


def decode(line: bytes) -> Fact:
    """What `encode` was given. Raises ValueError, also for a kind that this version does not know."""
    kind, _, body = line.partition(b" ")
    adapter = _ADAPTERS.get(kind.decode("ascii", "replace"))
    if adapter is None:
        raise ValueError(f"not a kind of fact: {kind!r}")
    return adapter.validate_json(body)


def closed_fact(
    opened: SegmentOpened, *, end: datetime, size: int, sha256: str, is_truncated: bool
) -> SegmentClosed:
    """What becomes of `opened` when its file is durable."""
    return SegmentClosed(
        opened.uuid,
        opened.run_id,
        opened.channel_id,
        opened.key,
        opened.format,
        opened.codecs,
        opened.start_time,
        end,
        size,
        sha256,
        is_truncated,
        opened.epoch,
    )
