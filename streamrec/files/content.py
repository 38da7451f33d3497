"""The bytes of stored files: received into a file without a name of its own, hashed on the way, kept once.

incoming/<uuid>.part                 while it is received; whoever does holds a lock on it
<aa>/<bb>/<sha256>                   once durable; aa and bb are the hash's first two bytes
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from streamrec.archive import files, room
from streamrec.errors import ContentTooLarge, StorageFull
from streamrec.files import sniffing

_INCOMING: Final = "incoming"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Content:
    """What identifies some bytes: hashes in lower-case hexadecimal digits, and what they look like."""

    sha256: str
    sha1: str
    md5: str
    size_bytes: int
    media_type: str


def key(sha256: str) -> str:
    """Where content lies below the store's folder."""
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


class Incoming:
    """A file that is being received. Closed without `keep`, it leaves nothing behind."""

    def __init__(self, folder: Path, *, most_bytes: int, spare_percent: float = 0.0) -> None:
        """`folder` is the store's; of its disk `spare_percent` are left alone. Raises StorageFull."""
        self._tree = files.Tree(folder)
        self._most_bytes = most_bytes
        self._spare_percent = spare_percent
        self._size = 0
        self._head = b""
        self._sha256 = hashlib.sha256()
        # The document names files by these; nothing is trusted because of them.
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._md5 = hashlib.md5(usedforsecurity=False)
        try:
            self._check_room()
            self._name, self._descriptor = _created(self._tree)
        except OSError as error:
            self._tree.close()
            raise _refusal(error) from error
        except StorageFull:
            self._tree.close()
            raise

    def write(self, data: bytes) -> None:
        """Add bytes. Raises ContentTooLarge (field `body`), StorageFull."""
        self._size += len(data)
        self._check_size()
        self._check_room()
        if len(self._head) < sniffing.HEAD_BYTES:
            self._head += data[: sniffing.HEAD_BYTES - len(self._head)]
        for digest in (self._sha256, self._sha1, self._md5):
            digest.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _refusal(error) from error

    def _check_size(self) -> None:
        most = self._most_bytes
        if self._size > most:
            raise ContentTooLarge(
                f"body: a file may have {most} bytes", field="body", rule="max_upload_bytes", limit_bytes=most
            )

    def _check_room(self) -> None:
        """Captures need the room more: they cannot be sent again."""
        left = room.of(self._tree.path)
        if left.free_percent < self._spare_percent:
            raise StorageFull(
                f"There is no room for files: {left} of the disk are free, and {self._spare_percent:g} % are kept"
                " for captures.",
                rule="disk_low_percent",
            )

    def finish(self) -> Content:
        """Make what has come durable, still without a name. Raises StorageFull."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _refusal(error) from error
        return Content(
            sha256=self._sha256.hexdigest(),
            sha1=self._sha1.hexdigest(),
            md5=self._md5.hexdigest(),
            size_bytes=self._size,
            media_type=sniffing.media_type(self._head),
        )

    def keep(self) -> None:
        """Give the content its name, durably; content that is there already stays as it is. Raises StorageFull."""
        try:
            self._tree.move(self._name, self._tree, key(self._sha256.hexdigest()))
        except FileExistsError:
            return
        except OSError as error:
            raise _refusal(error) from error

    def close(self) -> None:
        """Drop what was not kept."""
        os.close(self._descriptor)
        self._tree.unlink(self._name)
        self._tree.close()


def _created(tree: files.Tree) -> tuple[str, int]:
    """The name and the descriptor of a new file that is locked; one that was swept before it was is left alone."""
    while True:
        name = f"{_INCOMING}/{uuid4().hex}.part"
        descriptor = tree.create(name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)


def _refusal(error: OSError) -> Exception:
    """A full disk is told to the client; anything else is a fault of this machine."""
    return StorageFull("There is no room for this file.") if error.errno in _FULL else error


def unlink(folder: Path, sha256: str) -> bool:
    """Remove content, durably; False if it was gone already."""
    with files.Tree(folder) as tree:
        return tree.unlink(key(sha256))


def kept(folder: Path) -> Iterator[list[str]]:
    """The SHA-256 of all content that lies here, some at a time."""
    with files.Tree(folder) as tree:
        for first in tree.names():
            if len(first) == 2:
                yield [name for second in tree.names(first) for name in tree.names(f"{first}/{second}")]


def sweep_abandoned(folder: Path) -> int:
    """Remove what no living process receives; how many files that were."""
    with files.Tree(folder) as tree:
        return sum(_swept(tree, f"{_INCOMING}/{name}") for name in tree.names(_INCOMING))


def _swept(tree: files.Tree, name: str) -> bool:
    try:
        descriptor = tree.open(name, os.O_RDWR)  # NFS locks nothing exclusively that is open for reading alone
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return tree.unlink(name)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
