"""Which parts of which recordings a range is made of, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from streamrec.models import FileFormat, Store
from streamrec.timeline import Span

SEAM: Final = timedelta(milliseconds=1)  # what two files may lie apart and still meet


@dataclass(frozen=True, slots=True)
class Source:
    """A captured recording, as far as a clip has to know it."""

    recording_id: int
    key: str
    span: Span
    size_bytes: int
    sha256: str
    format: FileFormat
    codecs: str
    run_id: UUID | None
    store: Store = Store.LOCAL
    object_key: str | None = None

    @property
    def path(self) -> str:
        """As a row of a recording calls its key."""
        return self.key


@dataclass(frozen=True, slots=True)
class Take:
    """The part of a recording that is wanted; an open side reaches to the end of the file on that side."""

    source: Source
    start: datetime | None
    end: datetime | None

    @property
    def span(self) -> Span:
        return Span(self.start or self.source.span.start, self.end or self.source.span.end)

    @property
    def is_whole(self) -> bool:
        return self.start is None and self.end is None


@dataclass(frozen=True, slots=True)
class Plan:
    """Takes and holes in order of time; together they are the window."""

    window: Span
    parts: list[Take | Span]

    @property
    def takes(self) -> list[Take]:
        return [part for part in self.parts if isinstance(part, Take)]

    @property
    def holes(self) -> list[Span]:
        return [part for part in self.parts if isinstance(part, Span)]


def planned(sources: Iterable[Source], window: Span) -> Plan:
    """The plan of `window` over recordings that do not overlap; others are left out.

    So is one that ends within a SEAM of the beginning: nothing begins in there, and an instant that the API
    showed is cut off to milliseconds.
    """
    parts: list[Take | Span] = []
    cursor = window.start
    for source in sorted(sources, key=lambda source: source.span):
        wanted = source.span.clipped(window)
        if wanted is None or wanted.start < cursor or source.span.end - window.start < SEAM:
            continue
        if wanted.start - cursor > SEAM:
            parts.append(Span(cursor, wanted.start))
        parts.append(_take(source, wanted))
        cursor = wanted.end
    if cursor < window.end and (not parts or window.end - cursor > SEAM):
        parts.append(Span(cursor, window.end))
    return Plan(window, parts)


def _take(source: Source, wanted: Span) -> Take:
    start = None if wanted.start == source.span.start else wanted.start
    end = None if wanted.end == source.span.end else wanted.end
    return Take(source, start, end)


def stretches(takes: Iterable[Take]) -> list[list[Take]]:
    """Takes that meet and are of one run, so that their time stamps go on from one to the next."""
    found: list[list[Take]] = []
    for take in takes:
        before = found[-1][-1] if found else None
        is_next = before is not None and before.source.run_id == take.source.run_id
        if before is not None and is_next and take.span.start - before.span.end <= SEAM:
            found[-1].append(take)
        else:
            found.append([take])
    return found
