"""Which files a child may reach at all (landlock(7), Linux 5.13): programs to load, and one place to write.

What it works on comes through descriptors that are open already, which no rule concerns. So it finds no archive,
no key, no setting and no other process, whoever it runs as. Numbers are those of linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

_CREATE_RULESET: Final = 444  # these three have one number everywhere
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_FILE: Final = 1 << 5
_MAKE_REG: Final = 1 << 8
_TRUNCATE: Final = 1 << 14  # version 3
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_LOAD: Final = _EXECUTE | _READ_FILE | _READ_DIR
_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE
_KEEP: Final = _WRITE | _READ_DIR | _REMOVE_FILE | _MAKE_REG
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # by version, how many there are
_TCP: Final = 0b11  # to bind and to connect; version 4
_SCOPES: Final = 0b11  # abstract sockets and signals, to whoever is not in the same confinement; version 6

_PROGRAMS: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/snap")
_NEEDED: Final = ("/etc/ld.so.cache", "/etc/fonts", "/dev/urandom", "/dev/zero", "/sys/devices/system/cpu")
_NEEDED_TO_CONNECT: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gnutls",
)

_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@cache
def version() -> int:
    """Which landlock this kernel has; 0 if none, or if it is switched off."""
    if _libc is None:
        return 0
    found = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))
    return max(0, found)


def ruleset(executable: str, *, writes: Path | None = None, certificates: str | None = None) -> int | None:
    """A descriptor for `restrict`, to be closed by the caller; None where there is no landlock.

    `executable` can be loaded. `writes` is the file, or the folder of files, that may be written. With
    `certificates`, which is their file or empty, it may connect, and read what is needed for that.
    """
    found = version()
    if not found:
        return None
    has_network = certificates is not None
    handled = struct.pack("=QQQ", (1 << _RIGHTS.get(found, _RIGHTS[5])) - 1, 0 if has_network else _TCP, _SCOPES)
    size = 8 if found < 4 else 16 if found < 6 else 24
    made = _call(_CREATE_RULESET, handled, ctypes.c_size_t(size), ctypes.c_uint(0))
    if made < 0:
        return None
    os.set_inheritable(made, False)
    wanted = [
        *((path, _LOAD) for path in (*_PROGRAMS, *_loaded(executable))),
        *((path, _READ) for path in _NEEDED),
    ]
    wanted.append(("/dev/null", _WRITE))
    if certificates is not None:
        wanted += [(path, _READ) for path in (*_NEEDED_TO_CONNECT, certificates)]
    if writes is not None:
        wanted.append((str(writes), _KEEP))
    for path, rights in wanted:
        _allow(made, path, rights)
    return made


def restrict(made: int) -> int:
    """0 if the rules hold for this thread from now on; needs PR_SET_NO_NEW_PRIVS, and works after fork."""
    return _call(_RESTRICT_SELF, ctypes.c_int(made), ctypes.c_uint(0))


def _loaded(executable: str) -> Iterator[str]:
    """A program outside of the system's folders, and the libraries that belong to one in a `bin`."""
    with suppress(OSError):
        path = Path(executable).resolve(strict=True)
        yield str(path)
        if path.parent.name == "bin":
            yield from (str(path.parent.parent / name) for name in ("lib", "lib64"))


def _allow(made: int, path: str, rights: int) -> None:
    """What is not there needs no right."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        if version() < 3:
            rights &= ~_TRUNCATE
        _call(_ADD_RULE, ctypes.c_int(made), ctypes.c_int(_PATH_BENEATH), struct.pack("=Qi", rights, descriptor),
              ctypes.c_uint(0))  # fmt: skip
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: Any) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    return result
