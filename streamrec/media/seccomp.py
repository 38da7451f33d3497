"""Filters of system calls (seccomp(2), Linux) for children that take apart what strangers send. Pure.

A list of what is refused, and none of what is allowed: another ffmpeg or C library than ours must go on working.
Numbers are from the kernel's tables, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple


class Machine(NamedTuple):
    """What system calls are called on one kind of processor."""

    audit_arch: int  # linux/audit.h
    seccomp: int
    clone: int
    sockets: tuple[int, ...]
    others: tuple[int, ...]


_CLONE3: Final = 435  # this and what follows it have one number everywhere
# io_uring_setup, open_tree, move_mount, fsopen, mount_setattr, pidfd_getfd
_EVERYWHERE: Final = (425, 428, 429, 430, 442, 438)
_PROCESSES: Final = (57, 58)  # fork, vfork, which only x86_64 has
# ptrace, process_vm_readv, process_vm_writev, unshare, setns, mount, umount2, pivot_root, chroot, bpf,
# perf_event_open, userfaultfd, add_key, request_key, keyctl, init_module, finit_module, kexec_load
_ON_X86: Final = (101, 310, 311, 272, 308, 165, 166, 155, 161, 321, 298, 323, 248, 249, 250, 175, 313, 246)
_ON_ARM: Final = (117, 270, 271, 97, 268, 40, 39, 41, 51, 280, 241, 282, 217, 218, 219, 105, 273, 104)

MACHINES: Final = {
    "x86_64": Machine(
        audit_arch=0xC000_003E,
        seccomp=317,
        clone=56,
        sockets=(41,),
        others=(*_PROCESSES, *_ON_X86, *_EVERYWHERE),
    ),
    "aarch64": Machine(
        audit_arch=0xC000_00B7,
        seccomp=277,
        clone=220,
        sockets=(198,),
        others=(*_ON_ARM, *_EVERYWHERE),
    ),
}

# Offsets in struct seccomp_data, and little-endian words of classic BPF (linux/filter.h, linux/seccomp.h).
_NUMBER: Final = 0
_ARCH: Final = 4
_FIRST_ARGUMENT: Final = 16
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IS_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IS_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_HAS_BITS: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
_CLONE_THREAD: Final = 0x0001_0000
_X32: Final = 0x4000_0000  # the second table of an x86_64 kernel


def program(machine: Machine, *, has_network: bool) -> bytes:
    """A filter that refuses new processes, new namespaces, other processes' memory and, without network, sockets.

    Threads are allowed. What is refused answers EPERM; clone3, whose flags no filter sees, ENOSYS, upon which a C
    library uses clone. Returns: instructions of classic BPF, 8 bytes each.
    """
    refused = (*machine.others, *(() if has_network else machine.sockets))
    refuse, unknown, allow = _end(errno.EPERM), _end(errno.ENOSYS), _step(_RETURN, _ALLOW)
    body = [_step(_LOAD, _NUMBER), _step(_IS_AT_LEAST, _X32, 0, 1), refuse]
    for number in refused:
        body += [_step(_IS_EQUAL, number, 0, 1), refuse]
    body += [_step(_IS_EQUAL, _CLONE3, 0, 1), unknown]
    body += [_step(_IS_EQUAL, machine.clone, 0, 3), _step(_LOAD, _FIRST_ARGUMENT)]
    body += [_step(_HAS_BITS, _CLONE_THREAD, 1, 0), refuse, allow]
    head = [_step(_LOAD, _ARCH), _step(_IS_EQUAL, machine.audit_arch, 1, 0), refuse]
    return b"".join(head + body)


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)


def _end(error: int) -> bytes:
    return _step(_RETURN, _ERRNO | error)
