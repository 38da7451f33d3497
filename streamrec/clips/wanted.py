"""Whether a clip is wanted still, asked while it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from streamrec import db
from streamrec.clips import rows
from streamrec.errors import Conflict, DatabaseAway

ASK_SECONDS: Final = 1.0


class Work(Protocol):
    """The attempt, which is told how far it is and says when to stop; jobworker.work.Work."""

    job_id: UUID
    attempt: int

    def check(self) -> None: ...
    def progress(self, fraction: float) -> None: ...


@dataclass(slots=True)
class Wanted:
    """An attempt that also stops when its clip was deleted."""

    work: Work
    clip_id: UUID
    clock: Callable[[], float] = time.monotonic
    _asked_at: float | None = None

    @property
    def attempt(self) -> int:
        return self.work.attempt

    def check(self) -> None:
        """Raises what the attempt raises, and Conflict: the clip was deleted."""
        self.work.check()
        if self._asked_at is None or self.clock() - self._asked_at >= ASK_SECONDS:
            self._asked_at = self.clock()
            self._ask()

    def progress(self, fraction: float) -> None:
        """Raises as `check`."""
        self.check()
        self.work.progress(fraction)

    def _ask(self) -> None:
        with suppress(DatabaseAway), db.away_as_unavailable(), db.Session.begin() as session:
            if not rows.is_there(session, self.clip_id):
                raise Conflict("The clip was deleted.")
