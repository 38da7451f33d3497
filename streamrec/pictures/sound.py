"""Which recordings sound in a range of a channel's time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.models import FileFormat, Origin, Recording, Store
from streamrec.timeline import Span

_LONGEST: Final = timedelta(hours=2)  # of a recording: an hour, and what a cut waits for
_COLUMNS: Final = ("start_time", "store", "path", "object_key", "size_bytes", "sha256", "format")


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording that may sound."""

    start_time: datetime
    store: Store
    path: str
    object_key: str | None
    size_bytes: int
    sha256: str
    format: FileFormat


def recorded(session: Session, channel_id: int, span: Span) -> list[Sound]:
    """The captured recordings of a channel that overlap `span`, in order."""
    rows = session.execute(
        sa.select(*(getattr(Recording, name) for name in _COLUMNS))
        .where(
            Recording.channel_id == channel_id,
            Recording.origin == Origin.CAPTURED,
            Recording.lost.is_(None),
            Recording.start_time < span.end,
            Recording.start_time > span.start - _LONGEST,  # bounds what the index is searched for
            Recording.end_time > span.start,
        )
        .order_by(Recording.start_time)
    )
    return [Sound(*values) for values in cast("Iterable[tuple[Any, ...]]", rows)]
