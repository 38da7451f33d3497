"""Bytes and rows together, in the order that survives a crash: bytes before the row, and the row gone before them.

The advisory lock on a content's hash makes placing it and removing it exclude each other; it is held for a rename
or an unlink, never while bytes are received.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from streamrec import keyset
from streamrec.db import Session, away_as_unavailable
from streamrec.errors import Invalid
from streamrec.files import catalogue, content
from streamrec.files.catalogue import Guard
from streamrec.files.content import Content, Incoming

log = structlog.get_logger("streamrec.files")

_BATCH: Final = 100


def require_hash(received: Content, wanted: str) -> None:
    """Raises Invalid if none of the content's hashes is the one that its sender announced."""
    if wanted not in {received.sha256, received.sha1, received.md5}:
        raise Invalid("body: does not have the hash of the path", field="body", sha256=received.sha256)


def keep(incoming: Incoming, received: Content, *, file_name: str, owner: str | None) -> keyset.Row:
    """Make a file of what `incoming` has made durable.

    Raises:
        AlreadyStored, StorageFull.
    """
    with Session.begin() as session:
        catalogue.require_new(session, received, owner)
        catalogue.announce(session, received)
    with Session.begin() as session:
        catalogue.lock(session, received.sha256)
        catalogue.require_new(session, received, owner)  # two may have sent the same at a time
        if not catalogue.is_in_bucket(session, received.sha256):
            incoming.keep()
        return catalogue.add(session, received, file_name=file_name, owner=owner)


def delete(folder: Path, file_hash: str, *, asker: str | None, guard: Guard | None = None) -> str:
    """Delete a file, and its bytes if nothing else refers to them. Its name.

    Raises:
        NotFound, PreconditionFailed.
    """
    with Session.begin() as session:
        name = catalogue.remove(session, file_hash, asker=asker, guard=guard)
    sweep(folder)
    return name


def sweep(folder: Path) -> int:
    """Remove the bytes that nothing refers to; how many files that were. May be repeated at any time."""
    with Session.begin() as session:
        marked = catalogue.unwanted(session, limit=_BATCH)
    return sum(_removed(folder, sha256) for sha256 in marked)


def _removed(folder: Path, sha256: str) -> bool:
    with Session.begin() as session:
        catalogue.lock(session, sha256)
        if not catalogue.is_unwanted(session, sha256):
            return False
        try:
            content.unlink(folder, sha256)
        except OSError as error:  # it stays marked, for another try
            log.warning("a file could not be removed", sha256=sha256, error=str(error))
            return False
        catalogue.forget(session, sha256)
    return True


def drop_copy(folder: Path, sha256: str) -> bool:
    """Remove the file of content that is an object in the bucket; whether there was one."""
    with Session.begin() as session:
        catalogue.lock(session, sha256)
        if not catalogue.is_in_bucket(session, sha256):
            return False
        try:
            return content.unlink(folder, sha256)
        except OSError as error:
            log.warning("a file could not be removed", sha256=sha256, error=str(error))
            return False


def tidy(folder: Path) -> None:
    """What crashes and full disks left: bytes without a file, copies, and uploads that nobody receives."""
    with away_as_unavailable():
        while sweep(folder):
            pass
        for names in content.kept(folder):
            with Session.begin() as session:
                copies = catalogue.in_bucket(session, names)
            for sha256 in copies:
                drop_copy(folder, sha256)
    if count := content.sweep_abandoned(folder):
        log.info("abandoned uploads were removed", count=count)
