"""Half-open spans of UTC time, the arithmetic of accounts, and how an instant is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import overload


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """`[start, end)`, both aware; never empty, never backwards."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"a span must end after it starts: {self.start} .. {self.end}")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end

    def clipped(self, window: Span) -> Span | None:
        """The part inside `window`, or None."""
        start, end = max(self.start, window.start), min(self.end, window.end)
        return Span(start, end) if start < end else None


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans` as sorted, disjoint, non-touching spans."""
    union: list[Span] = []
    for span in sorted(spans):
        if union and span.start <= union[-1].end:
            union[-1] = Span(union[-1].start, max(union[-1].end, span.end))
        else:
            union.append(span)
    return union


def subtracted(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What of `spans` no hole covers, sorted and disjoint."""
    remaining: list[Span] = []
    cuts = merged(holes)
    for span in merged(spans):
        cursor = span.start
        for cut in cuts:
            if cut.end <= cursor:
                continue
            if cut.start >= span.end:
                break
            if cut.start > cursor:
                remaining.append(Span(cursor, cut.start))
            cursor = cut.end
        if cursor < span.end:
            remaining.append(Span(cursor, span.end))
    return remaining


def total(spans: Iterable[Span]) -> timedelta:
    """The length of the union of `spans`."""
    return sum((span.duration for span in merged(spans)), timedelta())


@overload
def written(instant: datetime) -> str: ...
@overload
def written(instant: None) -> None: ...
@overload
def written(instant: datetime | None) -> str | None: ...
def written(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, cut off rather than rounded, and `Z`; None stays None."""
    if instant is None:
        return None
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:23] + "Z"
