"""How far the days of all channels are sealed, and why no further; for /health and /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from streamrec import signing
from streamrec.clock import now
from streamrec.settings import Settings

LATE: Final = timedelta(hours=36)  # an hour's grace, and time for an operator to see to it

_DAYS: Final = sa.text(
    # As manifests.due finds a channel's next day: what is told late is in the day after the last.
    """
    SELECT max(last) AS sealed, min(greatest(day, last + 1)) FILTER (WHERE day IS NOT NULL) AS due
      FROM (SELECT (SELECT max(m.day) FROM manifest m WHERE m.channel_id = c.id) AS last,
                   (SELECT (min(v.end_time) - interval '1 us') AT TIME ZONE 'UTC' FROM coverage v
                     WHERE v.channel_id = c.id AND v.manifest_id IS NULL)::date AS day
              FROM channel c) AS channels
    """
)


@dataclass(frozen=True, slots=True)
class State:
    """The latest day that is sealed, the oldest that is to be, and what keeps it from that, as of a moment."""

    sealed: date | None
    due: date | None
    fault: str | None
    at: datetime

    @property
    def age_seconds(self) -> float | None:
        """Since the end of the latest day that is sealed."""
        return None if self.sealed is None else (self.at - end_of(self.sealed)).total_seconds()

    @property
    def late_seconds(self) -> float:
        """Since the end of the oldest day that is over and not sealed; 0 if there is none."""
        return 0.0 if self.due is None else max(0.0, (self.at - end_of(self.due)).total_seconds())

    @property
    def is_ok(self) -> bool:
        return self.fault is None and self.late_seconds <= LATE.total_seconds()

    @property
    def detail(self) -> str:
        """A sentence or two for a person."""
        last = "No day is sealed yet." if self.sealed is None else f"The last sealed day is {self.sealed}."
        if self.is_ok:
            return last
        return f"{last} {self.fault or f'{self.due} is not sealed; the log of the recorder tells why.'}"


def end_of(day: date) -> datetime:
    """Of a UTC day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def state(session: Session | Connection, settings: Settings) -> State:
    """Only a data folder that a recorder keeps up must have the key."""
    row = session.execute(_DAYS).one()
    fault = signing.fault(session, settings.signing_key) if settings.steward_lock.exists() else None
    return State(row.sealed, row.due, fault, now())
