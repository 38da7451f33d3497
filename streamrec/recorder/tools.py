"""What a capture is told to do, and what all captures of a recorder share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from streamrec.archive.files import Tree
from streamrec.clock import Clock
from streamrec.recorder.beat import Beat
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Address, Source
from streamrec.recorder.flusher import Flusher
from streamrec.recorder.gate import Gate
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Totals


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be recorded, as the channel's row says."""

    channel_id: int
    keyname: str
    address: Address
    segment_seconds: int
    epoch: int | None = None  # of the assignment under which this recorder holds the channel
    backups: tuple[Address, ...] = ()  # tried in this order when `address` fails
    source_index: int = 0  # which of the sources `address` is, where the order is for one of them

    @property
    def sources(self) -> tuple[Address, ...]:
        """All addresses of the channel, the primary first."""
        return (self.address, *self.backups)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a source is given up for the next, if there is one."""

    attempts: int = 3  # in a row that end before 30 s of media
    patience_seconds: float = 10.0  # without media
    return_seconds: float = 60.0  # for which the primary must be healthy before the capture returns to it


class Opener(Protocol):
    """Makes attempts."""

    def open(self, address: Address) -> Source:
        """A new attempt at `address`."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What all captures of a recorder share."""

    clock: Clock
    sources: Opener
    archive: Tree
    spool: Spool
    disk: Disk  # blocking work on files; a capture has at most one piece of it at a time
    gate: Gate
    beat: Beat
    totals: Totals
    recorder_id: UUID
    retry_cap_seconds: float = 15.0
    sync_seconds: float = 2.0
    limits: Limits = Limits()
    uniform: Callable[[float, float], float] = random.uniform  # all the chance there is in waiting
    flusher: Flusher | None = None
    on_change: Callable[[int], None] = lambda _channel_id: None
