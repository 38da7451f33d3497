"""Deleting what has files, in the order that survives a crash: rows, files, folders synced, the note of the files.

Each step is a transaction of its own, because none may be held while files are touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from streamrec import captures, channels, holds, recordings
from streamrec.archive import files, root
from streamrec.db import Session
from streamrec.errors import NotFound
from streamrec.models import Channel, Recording

log = structlog.get_logger("streamrec.deletion")

Guard = Callable[[int], None]

_BATCH: Final = 500
_STOP_SECONDS: Final = 5.0  # how long a capture may take to close its last file


def recording(recording_id: int, archive_dir: Path, *, guard: Guard | None = None) -> None:
    """Delete a recording and its file.

    Raises:
        NotFound, PreconditionFailed.
    """
    with Session.begin() as session:
        keys = recordings.delete(session, recording_id, guard=guard)
    sweep(keys, archive_dir)


def channel_with_recordings(channel_id: int, archive_dir: Path, *, guard: Guard | None = None) -> None:
    """Delete a channel, wait for its capture to end, and delete its recordings in batches.

    Deleting a channel again that is gone already finishes what an interruption left of its recordings.

    Raises:
        NotFound: there is no such channel, or it is gone with all its recordings.
        PreconditionFailed.
    """
    if not _retired(channel_id, guard) and not _purged(channel_id, archive_dir):
        raise NotFound(f"There is no channel {channel_id}.", channel_id=channel_id)
    _wait_for_the_end(channel_id)
    while _purged(channel_id, archive_dir):
        pass


def _retired(channel_id: int, guard: Guard | None) -> bool:
    """Whether the channel was still there; it is not now."""
    with Session.begin() as session:
        is_gone = sa.select(Channel.deleted_at.is_not(None)).where(Channel.id == channel_id)
        holds.lock(session, channel_id)
        holds.refuse(session, Recording.channel_id == channel_id)
        if session.scalar(is_gone):
            return False
        channels.retire(session, channel_id, guard=guard)
    return True


def _purged(channel_id: int, archive_dir: Path) -> bool:
    """Delete one batch; whether there was any."""
    with Session.begin() as session:
        count, keys = recordings.purge(session, channel_id, limit=_BATCH)
    sweep(keys, archive_dir)
    return count > 0


def _wait_for_the_end(channel_id: int) -> None:
    """Until the recorder has closed the channel's last file, so that it goes with the others."""
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        with Session.begin() as session:
            if not captures.is_at_work(session, channel_id):
                return
        time.sleep(0.1)


def sweep(keys: Sequence[str], archive_dir: Path) -> int:
    """Remove files whose rows are gone, and then the note of them.

    What a link or an error stands in the way of keeps its note, for another try.

    Returns: how many those are.
    """
    if not keys:
        return 0
    with files.Tree(archive_dir) as tree:
        # on a bare mount point, what is not there may be on the disk that is not mounted
        there = keys if root.is_marked(tree) else [key for key in keys if tree.exists(key)]
        failed = tree.unlink_all(there)
    for key, error in failed.items():
        log.warning("a file could not be removed", path=key, error=str(error))
    if gone := [key for key in there if key not in failed]:
        with Session.begin() as session:
            recordings.forget(session, gone)
    return len(keys) - len(gone)


def sweep_leftovers(archive_dir: Path, *, at_once: int = _BATCH) -> int:
    """Remove the files that a crash left between their row's deletion and their own; for the start of a recorder.

    Returns: how many are still noted, because something stands in their way.
    """
    stuck = 0
    while keys := _noted(skip=stuck, limit=at_once):
        stuck += sweep(keys, archive_dir)
    return stuck


def _noted(*, skip: int, limit: int) -> list[str]:
    """The files noted longest ago, but for those that were tried already."""
    with Session.begin() as session:
        return recordings.garbage(session, skip=skip, limit=limit)
