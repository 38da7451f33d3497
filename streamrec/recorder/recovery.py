"""What a start does with what a crash left behind; docs/design/storage.md has the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from streamrec.archive.files import Tree
from streamrec.recorder.facts import Fact
from streamrec.recorder.spool import Spool


def recover(archive: Tree, spool: Spool, *, quarantine: Path) -> list[Fact]:
    """Salvage, close or give up every open file, end every open run; the facts that this added to the spool.

    Needs no database; call it before the first capture starts. Files that nothing explains go to `quarantine`.
    """
    raise NotImplementedError


def quarantine_unknown(
    archive: Tree, spool: Spool, *, quarantine: Path, known: Callable[[Sequence[str]], set[str]]
) -> list[str]:
    """Move recent final files that neither the spool nor the database knows; the keys moved.

    `known` answers which of some keys have a row. Call it once the pending facts have been replayed.
    """
    raise NotImplementedError
