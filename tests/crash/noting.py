"""Notes down every change to the disk below a folder that this process asks the system for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from streamrec.archive import files
from streamrec.recorder.facts import Fact
from streamrec.recorder.flusher import Sync
from tests.crash.workload import Witness


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were put into a file."""

    inode: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A file was cut off, or made longer with zeros."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name was given to a file or a folder (inode 0), or taken away (None)."""

    path: str
    inode: int | None


@dataclass(frozen=True, slots=True)
class Move:
    """A name was changed, in one step and over whatever had the new one."""

    path: str
    new: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A file's bytes are sure."""

    inode: int


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """The names in a folder are sure."""

    path: str


@dataclass(frozen=True, slots=True)
class Told:
    """The database has committed a fact."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class SystemSynced:
    """Whatever the first `count` changes did is sure, bytes and names."""

    count: int


@dataclass(frozen=True, slots=True)
class Moment:
    """It is so late, and each channel's writer has been given so many bytes."""

    seconds: float
    written: dict[int, int]


Change = Write | Size | Name | Move | Synced | FolderSynced | Told | SystemSynced | Moment
Call = Callable[..., Any]


@dataclass
class Notes(Witness):
    """The changes below `root`, in order. Paths are relative to it."""

    root: Path
    changes: list[Change] = field(default_factory=list)
    _inodes: dict[int, int] = field(default_factory=dict)  # the system's numbers, which it gives again

    def acknowledged(self, fact: Fact) -> None:
        self.changes.append(Told(fact))

    def moment(self, seconds: float, written: Mapping[int, int]) -> None:
        self.changes.append(Moment(seconds, dict(written)))

    def syncing(self, call: Sync) -> Sync:
        def synced(descriptor: int) -> int:
            count = len(self.changes)  # what others write meanwhile, the system need not see to
            result = call(descriptor)
            if result == 0:
                self.changes.append(SystemSynced(count))
            return result

        return synced

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Note until the block is left. The calls themselves are done as ever."""
        watched: dict[str, Callable[[Call], Call]] = {
            "open": self._open,
            "mkdir": self._mkdir,
            "write": self._write,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
            "posix_fallocate": self._fallocate,
            "fsync": self._fsync,
            "fdatasync": self._fsync,
            "rename": self._rename,
            "unlink": self._unlink,
        }
        with ExitStack() as stack:
            for name, wrap in watched.items():
                stack.enter_context(mock.patch.object(os, name, wrap(getattr(os, name))))
            moved = self._moved(files.rename_without_replacing)
            stack.enter_context(mock.patch.object(files, "rename_without_replacing", moved))
            yield

    def _path(self, name: Any, folder: int | None) -> str | None:
        base = Path() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()
        whole = base / os.fspath(name)
        return str(whole.relative_to(self.root)) if whole.is_relative_to(self.root) else None

    def _file(self, descriptor: int) -> int | None:
        """The number that we gave to the file, if it is one of ours."""
        return self._inodes.get(os.fstat(descriptor).st_ino)

    def _open(self, call: Call) -> Call:
        def opened(name: Any, flags: int, *rest: Any, **more: Any) -> Any:
            path = self._path(name, more.get("dir_fd")) if flags & os.O_CREAT else None
            is_new = path is not None and not (self.root / path).exists()
            descriptor = call(name, flags, *rest, **more)
            if path is not None and is_new:
                inode = len(self.changes) + 1
                self._inodes[os.fstat(descriptor).st_ino] = inode
                self.changes.append(Name(path, inode))
            elif path is not None and flags & os.O_TRUNC and (known := self._file(descriptor)):
                self.changes.append(Size(known, 0))
            return descriptor

        return opened

    def _mkdir(self, call: Call) -> Call:
        def made(name: Any, *rest: Any, **more: Any) -> None:
            call(name, *rest, **more)
            if (path := self._path(name, more.get("dir_fd"))) is not None:
                self.changes.append(Name(path, 0))

        return made

    def _write(self, call: Call) -> Call:
        def written(descriptor: int, data: Any) -> int:
            at = os.lseek(descriptor, 0, os.SEEK_CUR) if (inode := self._file(descriptor)) else 0
            count: int = call(descriptor, data)
            if inode:
                self.changes.append(Write(inode, at, bytes(data[:count])))
            return count

        return written

    def _pwrite(self, call: Call) -> Call:
        def written(descriptor: int, data: Any, at: int) -> int:
            count: int = call(descriptor, data, at)
            if inode := self._file(descriptor):
                self.changes.append(Write(inode, at, bytes(data[:count])))
            return count

        return written

    def _ftruncate(self, call: Call) -> Call:
        def cut(descriptor: int, size: int) -> None:
            call(descriptor, size)
            if inode := self._file(descriptor):
                self.changes.append(Size(inode, size))

        return cut

    def _fallocate(self, call: Call) -> Call:
        def reserved(descriptor: int, at: int, length: int) -> None:
            before = os.fstat(descriptor).st_size
            call(descriptor, at, length)
            if (inode := self._file(descriptor)) and at + length > before:
                self.changes.append(Size(inode, at + length))

        return reserved

    def _fsync(self, call: Call) -> Call:
        def synced(descriptor: int) -> None:
            call(descriptor)
            place = Path(f"/proc/self/fd/{descriptor}").readlink()
            if place.is_dir() and place.is_relative_to(self.root):
                self.changes.append(FolderSynced(str(place.relative_to(self.root))))
            elif inode := self._file(descriptor):
                self.changes.append(Synced(inode))

        return synced

    def _rename(self, call: Call) -> Call:
        def renamed(old: Any, new: Any, **more: Any) -> None:
            before, after = self._path(old, more.get("src_dir_fd")), self._path(new, more.get("dst_dir_fd"))
            call(old, new, **more)
            if before is not None and after is not None:
                self.changes.append(Move(before, after))

        return renamed

    def _moved(self, call: Call) -> Call:
        def moved(old: str, new: str, *, source: int, target: int) -> None:
            before, after = self._path(old, source), self._path(new, target)
            call(old, new, source=source, target=target)
            if before is not None and after is not None:
                self.changes.append(Move(before, after))

        return moved

    def _unlink(self, call: Call) -> Call:
        def unlinked(name: Any, **more: Any) -> None:
            path = self._path(name, more.get("dir_fd"))
            call(name, **more)
            if path is not None:
                self.changes.append(Name(path, None))

        return unlinked
