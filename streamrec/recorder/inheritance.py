"""What recorders of this data folder that are gone have left: their spools, and the files open in them.

Each recorder has a folder of its own below `spool/` and holds its lock for as long as its process lives: whoever
gets a lock knows that the owner is dead, before any lease is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from streamrec.archive.files import Tree
from streamrec.errors import Conflict
from streamrec.recorder import recovery, spool
from streamrec.recorder.ledger import Late, Ledger
from streamrec.recorder.spool import Spool

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 2.0  # for the rows of the dead, before its channels are free for all


class _Legacy:
    """An adopted spool, and what turns its facts into rows."""

    def __init__(self, adopted: Spool, ledger: Ledger) -> None:
        self.spool = adopted
        self.ledger = ledger
        self.is_buried = False

    def replay(self, seconds: float) -> bool:
        """Go on with the rows for so long; whether there are none left to make."""
        ends_at = time.monotonic() + seconds
        while self.ledger.step() and time.monotonic() < ends_at:
            pass
        return not self.spool.pending(1)


class Inheritance:
    """The spools that this recorder has adopted. `look` blocks and is called again and again."""

    def __init__(
        self, root: Path, own: Path, *, archive: Tree, quarantine: Path, late: Late, bury: Callable[[UUID], None]
    ) -> None:
        """`bury` is told the id of each recorder that is found dead, once its rows are made as far as possible."""
        self._root = root
        self._own = own
        self._archive = archive
        self._quarantine = quarantine
        self._late = late
        self._bury = bury
        self._adopted: dict[Path, _Legacy] = {}
        self._lock = threading.Lock()

    @property
    def spools(self) -> Sequence[Spool]:
        """Adopted spools that the database does not have all facts of yet."""
        with self._lock:
            return [legacy.spool for legacy in self._adopted.values()]

    @property
    def has_elder(self) -> bool:
        """Whether a recorder lives that keeps its spool where all did before there were many."""
        return self._root in spool.folders(self._root) and self._root not in self._adopted

    def others(self) -> set[str]:
        """The keys of files that any spool but our own speaks of."""
        return spool.keys(self._root, but=self._own)

    def look(self) -> int:
        """Adopt what has no owner, salvage its files, and go on with the rows; how many owners were buried."""
        for folder in spool.folders(self._root):
            if folder != self._own and folder not in self._adopted:
                with suppress(Conflict):
                    self._adopt(folder)
        return sum(self._settle(folder, legacy) for folder, legacy in list(self._adopted.items()))

    def close(self) -> None:
        """Leave what is left to whoever comes next."""
        with self._lock:
            for legacy in self._adopted.values():
                legacy.spool.close()
            self._adopted.clear()

    def _adopt(self, folder: Path) -> None:
        adopted = Spool(folder)
        log.info("the spool of a recorder that is gone was adopted", spool=folder.name)
        others = lambda: spool.keys(self._root, but=folder)  # noqa: E731
        try:
            recovery.recover(self._archive, adopted, quarantine=self._quarantine, others=others)
        except OSError:
            adopted.close()
            raise
        ledger = Ledger(adopted, refused=self._root / "refused.txt", late=self._late)
        with self._lock:
            self._adopted[folder] = _Legacy(adopted, ledger)

    def _settle(self, folder: Path, legacy: _Legacy) -> bool:
        is_told = legacy.replay(PATIENCE_SECONDS)
        buries = not legacy.is_buried and folder != self._root
        if buries:
            self._bury(UUID(folder.name))
            legacy.is_buried = True
        if is_told:
            with self._lock:
                del self._adopted[folder]
            legacy.spool.remove()
        return buries
