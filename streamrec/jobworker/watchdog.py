"""Whether a worker is as alive as it looks: judged by its row in the database, over a connection of its own.

A worker that lost its heartbeat for good goes on holding its jobs (procrastinate issues 1518, 1334, 1596). It is
ended by whoever runs this, and whoever started it starts it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

LOST_SECONDS: Final = 60.0
LOOKS: Final = 4  # in a row, 2 s apart: a machine that slept has an old row until its next heartbeat

_AGE = sa.text(
    "SELECT extract(epoch FROM clock_timestamp() - last_heartbeat) FROM procrastinate_workers WHERE id = :id"
)


def heartbeat_age(session: Session, worker_id: int) -> float | None:
    """Seconds since a worker's last heartbeat by the database's clock; None if the database forgot the worker."""
    age = session.scalar(_AGE, {"id": worker_id})
    return None if age is None else float(age)


@dataclass
class Verdict:
    """Counts the looks that found no heartbeat. Pure."""

    strikes: int = 0

    def look(self, age: float | None) -> str | None:
        """What is wrong, in words, once it was so at LOOKS looks in a row."""
        if age is not None and age < LOST_SECONDS:
            self.strikes = 0
            return None
        self.strikes += 1
        if self.strikes < LOOKS:
            return None
        return "the database does not know it any more" if age is None else f"no heartbeat for {age:.0f} s"

    def blind(self) -> None:
        """The database did not answer: nothing is known, and a worker gets time to show itself again."""
        self.strikes = 0
