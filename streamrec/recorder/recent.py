"""What the database took lately, kept for the day on which another takes its place and does not know of it.

A standby that is promoted may lack the last seconds of what was acknowledged, and so does a server that was set
back to a snapshot. Both can be seen: the timeline is another, or the log's position is behind where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from streamrec import db
from streamrec.recorder.facts import Fact, identity

KEPT_SECONDS: Final = 600.0

_POSITION: Final = sa.text(
    """
    SELECT left(pg_walfile_name(lsn), 8), pg_wal_lsn_diff(lsn, '0/0')
    FROM (SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END AS lsn) AS now
    """
)

log = structlog.get_logger(__name__)


class Position(NamedTuple):
    """Where a server's history is: its timeline, eight hex digits, and the byte of its log."""

    timeline: str
    byte: int


class History:
    """Whether the database is still the one that it was."""

    def __init__(self) -> None:
        self._last: Position | None = None
        self._is_told = True

    def has_turned(self) -> bool:
        """Whether what was committed before the last call may be gone. Raises DBAPIError while it is away."""
        now = self._position()
        last, self._last = self._last, now or self._last
        return now is not None and last is not None and (now.timeline != last.timeline or now.byte < last.byte)

    def _position(self) -> Position | None:
        """None of a standby, and of a database that is no plain PostgreSQL and does not say."""
        if not self._is_told:
            return None
        try:
            with db.Session.begin() as session:
                timeline, byte = session.execute(_POSITION).one()
        except DBAPIError as exc:
            if db.is_away(exc):
                raise
            self._is_told = False
            log.warning("the database does not tell its position; a failover will not be noticed")
            return None
        return None if timeline is None else Position(str(timeline), int(byte))


class Recent:
    """Facts that were taken in the last KEPT_SECONDS: the newest of each thing, in order."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._taken: dict[tuple[str, UUID], tuple[float, Fact]] = {}

    def add(self, fact: Fact) -> None:
        """It was taken just now."""
        now = self._monotonic()
        self._taken.pop(identity(fact), None)
        self._taken[identity(fact)] = now, fact
        while now - next(iter(self._taken.values()))[0] > KEPT_SECONDS:
            del self._taken[next(iter(self._taken))]

    def facts(self) -> dict[tuple[str, UUID], Fact]:
        """All of them, by what they are about."""
        return {about: fact for about, (_, fact) in self._taken.items()}
