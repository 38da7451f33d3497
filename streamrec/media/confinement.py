"""What a child may not do, by its own hand between fork and exec: no network, no files, no new rights, and limits.

Media comes from strangers, and whoever takes over a decoder must find nothing to go on with. Two locks are on the
network, because neither works everywhere: an empty network namespace (a container may not make one), and a filter
of system calls that refuses sockets (kernels without seccomp, other processors). On files there is landlock. What
is refused is left out.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from streamrec.media import landlock, seccomp

_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_WAYS: Final = (
    _CLONE_NEWNET,
    _CLONE_NEWNET | _CLONE_NEWUSER,
)  # the second needs no right, and is forbidden more often
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_ROOT_IS_NOBODY: Final = 0b0011  # SECBIT_NOROOT and its lock: exec gives root no capabilities
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_PROBE_SECONDS: Final = 10.0
_ORPHANED: Final = 125

# Loaded here, because a child between fork and exec must not import anything.
_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_machine = seccomp.MACHINES.get(platform.machine()) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use. Without `has_network` it has no way out but its descriptors."""

    has_network: bool = False
    writes: Path | None = None  # a file that is there, or a folder: nothing else can be written, or read
    file_bytes: int = 0  # of each file that it writes
    files: int = 64  # open at once
    memory_bytes: int = 3 << 29  # of address space
    cpu_seconds: int | None = None


FED: Final = Limits()
"""Reads and writes pipes."""
CONNECTING: Final = Limits(has_network=True, files=256)
"""Connects by itself, and writes a pipe."""


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _compiled(*, has_network: bool) -> _Program | None:
    if _machine is None:
        return None
    steps = seccomp.program(_machine, has_network=has_network)
    return _Program(len(steps) // 8, steps)


_filters: Final = {has_network: _compiled(has_network=has_network) for has_network in (False, True)}


def steps(limits: Limits, allowed: Found | None = None, rules: int | None = None) -> Callable[[], None]:
    """What a child does to itself between fork and exec; made by the parent, whom it must not outlive.

    `rules` is landlock's descriptor of what it may reach.

    PR_SET_PDEATHSIG (prctl(2)) fires when the *thread* that forked ends, so only long-lived threads may spawn; it
    comes after whatever changes credentials. A parent that died before the call is seen by getppid. What is
    refused after all, because there are too many namespaces, is done without.
    """
    parent, bounds, allowed = os.getpid(), _bounds(limits), allowed or found()
    namespace, has_filter = 0 if limits.has_network else allowed.namespace, allowed.has_filter
    is_root = (
        os.geteuid() == 0 and limits.file_bytes == 0
    )  # who writes may need to, in a folder of somebody else's

    def apply() -> None:
        if _libc is not None:
            if namespace:
                _libc.unshare(namespace)
            if is_root:
                _prctl(_PR_SET_SECUREBITS, _ROOT_IS_NOBODY)
            _prctl(_PR_SET_NO_NEW_PRIVS, 1)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if rules is not None:
                landlock.restrict(rules)
        if os.getppid() != parent:
            os._exit(_ORPHANED)
        for kind, value in bounds:
            resource.setrlimit(kind, (value, value))
        if has_filter:
            _filter(has_network=limits.has_network)

    return apply


def rules(executable: str, limits: Limits, certificates: str) -> int | None:
    """What a child with these limits may reach, for `steps`; to be closed. None where there is no landlock."""
    needed = certificates if limits.has_network else None
    return landlock.ruleset(executable, writes=limits.writes, certificates=needed)


def confine_this_process(limits: Limits) -> None:
    """The same for a process that is running, threads and all; the network namespace alone it must do without."""
    for kind, value in _bounds(limits):
        resource.setrlimit(kind, (value, value))
    if _libc is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _filter(has_network=limits.has_network)


def _bounds(limits: Limits) -> list[tuple[int, int]]:
    """Resources and their limits; none above what we may have ourselves."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_FSIZE: limits.file_bytes,
    }
    if limits.cpu_seconds is not None:
        wanted[resource.RLIMIT_CPU] = limits.cpu_seconds
    allowed = {kind: resource.getrlimit(kind)[1] for kind in wanted}
    return [(k, v if allowed[k] == resource.RLIM_INFINITY else min(v, allowed[k])) for k, v in wanted.items()]


def _prctl(option: int, value: int) -> None:
    _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def _filter(*, has_network: bool) -> int:
    """0 if the filter is in force; needs PR_SET_NO_NEW_PRIVS."""
    made = _filters[has_network]
    if made is None or _machine is None:
        return -1
    result: int = _libc.syscall(
        ctypes.c_long(_machine.seccomp),
        ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(made),
    )
    return result


# --- what the kernel allows -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What this kernel, or the container around us, lets a child do to itself."""

    namespace: int  # flags for unshare(2), 0 if it may not
    has_filter: bool

    @property
    def is_cut_off(self) -> bool:
        """Whether a child without network has none."""
        return bool(self.namespace) or self.has_filter

    def __str__(self) -> str:
        if not self.is_cut_off:
            return (
                "children that need no network have it: this system allows neither namespaces nor seccomp filters"
            )
        locks = ["an empty network namespace"] * bool(self.namespace) + ["a seccomp filter"] * self.has_filter
        missing = "" if self.namespace else " (network namespaces are not allowed here)"
        return f"children without network are held by {' and '.join(locks)}{missing}; {_reach()}"


def _reach() -> str:
    if landlock.version():
        return "children reach programs and their own output alone (landlock)"
    return "children reach all files that we do: this system has no landlock"


@cache
def found() -> Found:
    """Asks the kernel, once a process, by children that try."""
    if _libc is None:
        return Found(0, has_filter=False)
    way = next((flags for flags in _WAYS if _tried(partial(_libc.unshare, flags))), 0)
    return Found(way, _tried(_filtered))


def _filtered() -> int:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return _filter(has_network=False)


def _tried(act: Callable[[], int]) -> bool:
    """Whether `act` gives 0 in a child, which ends there before it is anything else."""

    def attempt() -> None:
        os._exit(0 if act() == 0 else 1)

    try:
        return (
            subprocess.run(["/bin/true"], preexec_fn=attempt, timeout=_PROBE_SECONDS, check=False).returncode == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False
