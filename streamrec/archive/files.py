"""Durable file operations below one folder, none of which follows a link."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

_CLOEXEC = os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | _CLOEXEC
_RENAME_NOREPLACE = 1
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


class StorageMissing(OSError):
    """The folder is not the one that it is meant to be, as when a disk is not mounted: it takes nothing new."""


class Tree:
    """A folder that is held open; names below it are relative, slash-separated and never leave it.

    Every method raises OSError as the system does (FileExistsError, FileNotFoundError, ...), and ValueError
    for a name that tries to leave.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Open `path`, which may itself be a link; `make` creates it if it is missing."""
        self.path = path
        self.missing: str | None = None
        """Why no new file may be made here, if so; whoever sets it looks after it (root.py)."""
        self._root = _made(path) if make else _opened(path)
        self._lock = threading.Lock()
        self._is_watched = False

    def create(self, name: str) -> int:
        """A descriptor for a new file, open for writing; missing folders are made and synced.

        Raises StorageMissing while `missing` says why.
        """
        if self.missing is not None:
            raise StorageMissing(errno.ENODEV, self.missing, name)
        return self.create_anyway(name)

    def create_anyway(self, name: str) -> int:
        """The same, whatever `missing` says."""
        with self._folder(name, make=True) as (folder, base):
            return os.open(
                base, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _CLOEXEC, 0o640, dir_fd=folder
            )

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor for an existing regular file."""
        with self._folder(name) as (folder, base):
            descriptor = os.open(base, flags | os.O_NOFOLLOW | os.O_NONBLOCK | _CLOEXEC, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return descriptor

    def exists(self, name: str) -> bool:
        """Whether a regular file of this name is there."""
        try:
            with self._folder(name) as (folder, base):
                return stat.S_ISREG(os.stat(base, dir_fd=folder, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def sync_name(self, name: str) -> None:
        """Make sure that a file has its name after a power cut: its own sync does not promise that."""
        with self._folder(name) as (folder, _):
            os.fsync(folder)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same folder, durably; FileExistsError if that name is taken."""
        with self._folder(old) as (folder, base):
            if "/".join(_parts(old)[:-1]) != "/".join(_parts(new)[:-1]):
                raise ValueError(f"{new!r} is in another folder than {old!r}")
            rename_without_replacing(base, _parts(new)[-1], source=folder, target=folder)
            os.fsync(folder)

    def move(self, name: str, other: Tree, target: str) -> None:
        """Move a file to a place below another tree on the same file system, durably and never over a file."""
        with self._folder(name) as (source, base), other._folder(target, make=True) as (folder, final):
            rename_without_replacing(base, final, source=source, target=folder)
            os.fsync(folder)
            os.fsync(source)

    def unlink(self, name: str) -> bool:
        """Delete a file, durably; False if it was not there."""
        try:
            with self._folder(name) as (folder, base):
                os.unlink(base, dir_fd=folder)
                os.fsync(folder)
        except FileNotFoundError:
            return False
        return True

    def unlink_all(self, names: Iterable[str]) -> dict[str, OSError]:
        """Delete files, durably, with one sync a folder; what stands in the way of those that it could not delete.

        A file that was gone already counts as deleted.
        """
        inside: dict[str, list[str]] = {}
        for name in names:
            inside.setdefault(name.rpartition("/")[0], []).append(name)
        failed: dict[str, OSError] = {}
        for together in inside.values():
            failed |= self._unlinked(together)
        return failed

    def _unlinked(self, names: Sequence[str]) -> dict[str, OSError]:
        """The same for files of one folder."""
        failed = {}
        try:
            with self._folder(names[0]) as (folder, _):
                for name in names:
                    try:
                        os.unlink(_parts(name)[-1], dir_fd=folder)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        failed[name] = error
                os.fsync(folder)
        except FileNotFoundError:
            return {}
        except OSError as error:
            return dict.fromkeys(names, error)
        return failed

    def names(self, folder: str = "") -> list[str]:
        """The entries of a folder, sorted; none if it is not there or not a folder."""
        try:
            with self._folder(f"{folder}/." if folder else ".") as (descriptor, _):
                return sorted(os.listdir(descriptor))  # noqa: PTH208 - pathlib lists no descriptor
        except (FileNotFoundError, NotADirectoryError):
            return []

    def close(self) -> None:
        """Let the folder go."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enter(self, other: Tree) -> bool:
        """Go on in the folder of another tree, whoever uses this one; whether that is another folder than before.

        From now on a folder that was deleted is not made again.
        """
        self._is_watched = True
        with self._lock:
            if os.path.sameopenfile(other._root, self._root):
                return False
            os.dup2(other._root, self._root, inheritable=False)  # other threads go on using the number
            return True

    def _return(self) -> None:
        """Make the folder anew if it was deleted: a descriptor of one that is gone takes no file ever again."""
        with self._lock:
            if self._is_watched:
                return
            if self._root >= 0 and os.fstat(self._root).st_nlink == 0:
                made = _made(self.path)
                os.dup2(made, self._root, inheritable=False)  # other threads go on using the number
                os.close(made)

    @contextmanager
    def _folder(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds `name`, reached one part at a time, and the last part."""
        *folders, base = _parts(name)
        if make:
            self._return()
        descriptor = os.dup(self._root)
        try:
            for part in folders:
                below = _enter(descriptor, part, make=make)
                os.close(descriptor)
                descriptor = below
            yield descriptor, base
        finally:
            os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, so that no power cut takes them with what is in them.

    Raises OSError.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o750, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _made(path: Path) -> int:
    """A descriptor of the folder, created if it is missing."""
    make_folder(path)
    return _opened(path)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)


def _parts(name: str) -> list[str]:
    """The parts of a relative name; a single "." may stand for the folder itself."""
    parts = name.split("/")
    if any(part in ("", "..") or "\0" in part for part in parts) or "." in parts[:-1]:
        raise ValueError(f"not a name below the folder: {name!r}")
    return parts


def _enter(folder: int, part: str, *, make: bool) -> int:
    """A descriptor of the folder `part`, made and synced into its parent first if it is missing and wished."""
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody else was faster
        os.mkdir(part, 0o750, dir_fd=folder)
        os.fsync(folder)
    return os.open(part, _FOLDER, dir_fd=folder)


def rename_without_replacing(old: str, new: str, *, source: int, target: int) -> None:
    """Rename between two open folders, atomically and never over a file. Raises FileExistsError.

    renameat2(2) with RENAME_NOREPLACE; where the C library or the file system lacks it, link and unlink, which
    for a moment shows the file under both names.
    """
    try:
        if _renameat2(source, old, target, new):
            return
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(old, dir_fd=source)


def _renameat2(source: int, old: str, target: int, new: str) -> bool:
    """Whether the C library has the call; raises what the call reports."""
    call = _renameat2_call()
    if call is None:
        return False
    if call(source, os.fsencode(old), target, os.fsencode(new), ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old, None, new)
    return True


@cache
def _renameat2_call() -> Any:
    """renameat2(2), if there is one; finding it takes longer than a rename."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
