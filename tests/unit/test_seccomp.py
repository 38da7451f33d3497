"""Filters of system calls, run by an interpreter of what of classic BPF they use."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.media import seccomp
from streamrec.media.seccomp import MACHINES, Machine

ALLOW = 0x7FFF_0000
THREAD = 0x0001_0000
machines = st.sampled_from(list(MACHINES.values()))


def outcome(
    machine: Machine, number: int, *, argument: int = 0, arch: int | None = None, has_network: bool = False
) -> int:
    """0 if the call is allowed, else the error that it gives."""
    data = struct.pack("<IIQQ", number, machine.audit_arch if arch is None else arch, 0, argument)
    steps = list(struct.iter_unpack("<HBBI", seccomp.program(machine, has_network=has_network)))
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x45:
                place += if_true if accumulator & operand else if_false
            case 0x06:
                return 0 if operand == ALLOW else operand & 0xFFFF
            case _:
                raise AssertionError(f"unknown step {code:#x}")


@given(machine=machines, number=st.integers(0, 0xFFFF_FFFF), argument=st.integers(0, 2**64 - 1))
def test_what_is_not_listed_is_allowed(machine: Machine, number: int, argument: int):
    """A newer ffmpeg must not fail for a call that nobody thought of."""
    special = {*machine.others, *machine.sockets, machine.clone, 435}

    expected = errno.EPERM if number >= 0x4000_0000 or number in special else 0

    if number not in {machine.clone, 435}:
        assert outcome(machine, number, argument=argument) == expected


@given(machine=machines, argument=st.integers(0, 2**64 - 1))
def test_a_thread_may_begin_and_a_process_may_not(machine: Machine, argument: int):
    """clone's flags decide; clone3 seems not to be there, so that a C library uses clone."""
    assert outcome(machine, machine.clone, argument=argument) == (0 if argument & THREAD else errno.EPERM)
    assert outcome(machine, 435, argument=argument) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_sockets_depend_on_the_network(machine: Machine):
    """Who connects by itself has them, and nothing else more."""
    assert outcome(machine, machine.sockets[0]) == errno.EPERM
    assert outcome(machine, machine.sockets[0], has_network=True) == 0
    assert {outcome(machine, number, has_network=True) for number in machine.others} == {errno.EPERM}


@given(machine=machines, number=st.integers(0, 0xFFFF_FFFF), arch=st.integers(0, 0xFFFF_FFFF))
def test_the_calls_of_another_processor_s_table_are_refused(machine: Machine, number: int, arch: int):
    """A 64-bit kernel also answers 32-bit programs, whose numbers mean other things."""
    if arch != machine.audit_arch:
        assert outcome(machine, number, arch=arch) == errno.EPERM
