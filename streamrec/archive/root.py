"""Whose folder an archive is: the mark in it, and who may write there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID, uuid4

import structlog

from streamrec.archive import room
from streamrec.archive.files import Tree
from streamrec.archive.room import Room

MARK: Final = ".streamrec-root"
HOLDER: Final = ".streamrec-spool"
OURS: Final = frozenset({MARK, HOLDER})
"""Files in the folder that are no recordings."""
_MOST: Final = 4096  # bytes
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that say something of us and nothing of the folder."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What the mark says: which archive it is, and which database tells what is in it."""

    root: UUID
    database: UUID


def identity(tree: Tree) -> Identity | None:
    """What the mark of a folder says; None if there is no mark, or none that can be read.

    Raises OSError if this process cannot look, for want of descriptors or memory.
    """
    try:
        said = json.loads(_text(tree, MARK))
        return Identity(UUID(said["root"]), UUID(said["database"]))
    except OSError as error:
        if error.errno in _SHORT:
            raise
        return None
    except (ValueError, KeyError, TypeError):
        return None


def is_marked(tree: Tree) -> bool:
    """Whether the folder is an archive's and not a bare mount point; True also where the mark cannot be read."""
    return tree.exists(MARK)


def mark(tree: Tree, database: UUID, root: UUID | None = None) -> Identity:
    """Mark the folder, durably; what it is from now on. A mark that is there is replaced."""
    made = Identity(root or uuid4(), database)
    tree.unlink(MARK + ".new")
    _write(tree, MARK + ".new", json.dumps({name: str(value) for name, value in asdict(made).items()}))
    tree.unlink(MARK)
    tree.rename(MARK + ".new", MARK)
    return made


class Watch:
    """Keeps a tree from taking new files while its path does not lead to the archive that it is meant to be."""

    def __init__(self, tree: Tree, spool: UUID) -> None:
        """`spool` tells the recorders that share the folder knowingly from others."""
        self._tree = tree
        self._spool = spool
        self._expected: Identity | None = None
        self._holder = -1
        self.room: Room | None = None
        """What was left on the disk at the last look; None if that is not known."""
        tree.missing = "It has not been looked at yet."

    @property
    def fault(self) -> str | None:
        """Why nothing may be written, in one sentence."""
        return self._tree.missing

    def expect(self, expected: Identity) -> None:
        """This is the archive that the path must lead to."""
        self._expected = expected

    def refuse(self, fault: str) -> None:
        """Take no new files from now on."""
        if self._tree.missing != fault:
            log.error("the archive cannot be written", action="storage_missing", detail=fault)
        self._tree.missing = fault

    def look(self) -> None:
        """Go to the folder anew by its path, and see whether it is the one expected and free for us."""
        try:
            fault = self._fault()
            self.room = None if fault else room.of(self._tree.path)
        except OSError as error:
            log.warning("the archive cannot be looked at", error=error.strerror)
            return
        if fault is not None:
            self.refuse(fault)
        elif self._tree.missing is not None:
            log.info("the archive can be written", path=str(self._tree.path))
            self._tree.missing = None

    def _fault(self) -> str | None:
        """Raises OSError if we cannot look."""
        path = self._tree.path
        try:
            with Tree(path, make=False) as there:
                if identity(there) != self._expected:
                    return (
                        f"The folder {path} is not the archive: its {MARK} is missing or another's. Mount the disk"
                        " that belongs there, or take the folder as it is with: ./run.sh root --adopt"
                    )
                if self._tree.enter(there):  # only now: files that are open are finished where they were begun
                    self._let_go()
        except OSError as error:
            if error.errno in _SHORT:
                raise
            return f"The folder {path} cannot be opened: {error.strerror}."
        return self._hold()

    def _hold(self) -> str | None:
        """Share the folder with the recorders of our spool, and with nobody else."""
        if self._holder >= 0:
            return None
        try:
            with contextlib.suppress(FileExistsError):
                os.close(self._tree.create_anyway(HOLDER))
            holder = self._tree.open(HOLDER, os.O_RDWR)
        except OSError as error:
            return f"The folder {self._tree.path} cannot be written: {error.strerror}."
        if self._is_ours(holder):
            self._holder = holder
            return None
        os.close(holder)
        return f"Recorders with another spool than ours write to {self._tree.path}."

    def _is_ours(self, holder: int) -> bool:
        """Whether nobody has the folder but recorders of our spool; then we have it too."""
        wanted = str(self._spool).encode()
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(holder, _MOST, 0) != wanted:
                os.ftruncate(holder, 0)
                os.pwrite(holder, wanted, 0)
        except BlockingIOError:
            pass
        fcntl.flock(holder, fcntl.LOCK_SH)  # an exclusive lock is never held for longer than the lines above take
        return os.pread(holder, _MOST, 0) == wanted

    def _let_go(self) -> None:
        if self._holder >= 0:
            os.close(self._holder)
            self._holder = -1

    def close(self) -> None:
        """Let other recorders have the folder."""
        self._let_go()


def spool_id(spool_dir: Tree) -> UUID:
    """The id of a folder of spools, made with the first call."""
    for _ in range(2):
        try:
            return UUID(_text(spool_dir, "identity"))
        except FileNotFoundError:
            draft = f"identity.{uuid4().hex}"
            _write(spool_dir, draft, str(uuid4()))
            with contextlib.suppress(FileExistsError):
                spool_dir.rename(draft, "identity")
            spool_dir.unlink(draft)
    raise OSError(errno.EIO, "the spool's identity does not stay", "identity")


def _text(tree: Tree, name: str) -> str:
    descriptor = tree.open(name)
    try:
        return os.read(descriptor, _MOST).decode()
    finally:
        os.close(descriptor)


def _write(tree: Tree, name: str, text: str) -> None:
    descriptor = tree.create_anyway(name)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
