"""Clips' files after they were made: deleted row-first, and swept when nobody speaks of them any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from streamrec.archive.files import Tree
from streamrec.clips import rows
from streamrec.clock import now
from streamrec.db import Session

log = structlog.get_logger(__name__)

ABANDONED_SECONDS: Final = 3600.0  # without a write; a clip's row comes seconds after its last one
_AT_ONCE: Final = 500


def delete(clip_id: UUID, folder: Path) -> None:
    """Delete a clip and then its file; what a crash leaves is swept.

    Raises:
        NotFound: there is none.
    """
    with Session.begin() as session:
        key = rows.delete(session, clip_id)
    if key is not None:
        with Tree(folder) as tree:
            tree.unlink(key)


def tidy(folder: Path) -> int:
    """Delete clips whose time is over, and files that no clip has; how many files went."""
    with Session.begin() as session:
        keys = rows.expire(session, now(), limit=_AT_ONCE)
    with Tree(folder) as tree:
        failed = tree.unlink_all(keys)
        gone = len(keys) - len(failed) + _sweep(tree)
    if gone:
        log.info("clips were tidied", files=gone)
    return gone


def _sweep(tree: Tree) -> int:
    old = time.time() - ABANDONED_SECONDS
    gone = 0
    for keys in _folders(tree):
        with Session.begin() as session:
            known = rows.known(session, keys)
        for key in keys:
            if key not in known and (tree.path / key).lstat().st_mtime < old:
                gone += tree.unlink(key)
    return gone


def _folders(tree: Tree) -> Iterator[list[str]]:
    """The keys in each folder `<yyyy>/<mm>`."""
    for year in tree.names():
        for month in tree.names(year):
            yield [f"{year}/{month}/{name}" for name in tree.names(f"{year}/{month}")]
