"""The beat by which other recorders know that this one lives."""

from __future__ import annotations

import threading
from typing import Self
from uuid import UUID

from streamrec.recorder import registry, rows
from streamrec.recorder.holdings import Holdings
from streamrec.recorder.status import Totals


class Heart:
    """Beats in a thread of its own, so that neither a busy loop nor a slow disk looks like a death."""

    def __init__(self, holdings: Holdings, totals: Totals, recorder_id: UUID, *, seconds: float) -> None:
        """`seconds` lie between two beats."""
        self._holdings = holdings
        self._totals = totals
        self._recorder_id = recorder_id
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self.is_leaving = False
        """Whether the last beat says good-bye."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            rows.attempted(self._holdings.beat)
        if self.is_leaving:
            rows.attempted(
                lambda: rows.in_session(lambda session: registry.leave(session, self._recorder_id, self._totals))
            )
            rows.attempted(self._holdings.leave)
