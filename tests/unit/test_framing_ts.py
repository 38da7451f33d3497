"""Transport streams: tables, key pictures, time stamps."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.framing import framer_for, psi
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from tests import samples, stamps

PACKET = psi.PACKET


def packets(data: bytes) -> list[bytes]:
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def without(data: bytes, *pids: int) -> bytes:
    return b"".join(packet for packet in packets(data) if psi.pid_of(packet) not in pids)


def framed(data: bytes) -> list[Unit]:
    return samples.framed(FileFormat.TS, [data])[0]


def is_marked(unit: Unit) -> bool:
    """Whether the random access indicator is in the unit."""
    return any(packet[3] & 0x20 and packet[4] and packet[5] & 0x40 for packet in packets(unit.data))


@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts"])
def test_a_unit_is_a_picture_and_a_cut_is_a_key_picture(name: str) -> None:
    units = samples.units_of(name)

    assert len(units) == samples.SECONDS * 25
    assert [index for index, unit in enumerate(units) if unit.is_cut] == list(range(0, len(units), 25))
    assert {unit.duration for unit in units} == {FLICKS // 25}


def test_tables_before_a_key_picture_belong_to_it() -> None:
    for unit in samples.units_of("tv.ts"):
        if unit.is_cut:
            assert unit.header == b""
            assert {0, 0x1000} <= {psi.pid_of(packet) for packet in packets(unit.data)[:4]}


def test_a_file_brings_tables_where_the_stream_has_none(tmp_path: Path) -> None:
    """After its first tables this stream has no others."""
    data = samples.sample("tv.ts")
    start = b"".join(packets(data)[:3])
    units = framed(start + without(data[len(start) :], 0, 0x1000))
    cut = [index for index, unit in enumerate(units) if unit.is_cut][3]

    path = tmp_path / "later.ts"
    path.write_bytes(units[cut].header + samples.joined(units[cut:]))

    assert [psi.pid_of(packet) for packet in packets(units[cut].header)] == [0, 0x1000]
    assert len(samples.packets(path, kind="v")) == len(units) - cut


@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts"])
def test_key_pictures_are_found_where_none_is_marked(name: str) -> None:
    unmarked = bytearray(samples.sample(name))
    for at in range(0, len(unmarked), PACKET):
        if unmarked[at + 3] & 0x20 and unmarked[at + 4]:
            unmarked[at + 5] &= ~0x40

    units = framed(bytes(unmarked))

    assert [unit.is_cut for unit in units] == [unit.is_cut for unit in samples.units_of(name)]


def test_what_comes_before_the_first_key_picture_is_dropped() -> None:
    units = samples.units_of("tv.ts")
    start = b"".join(packets(samples.sample("tv.ts"))[:3])

    found, dropped = samples.framed(FileFormat.TS, [start + samples.joined(units[10:])])

    assert [unit.data for unit in found] == [unit.data for unit in units[25:]]
    assert dropped == len(start) + len(samples.joined(units[10:25]))


def test_bytes_before_the_first_packet_are_dropped() -> None:
    noise = random.Random(3).randbytes(1000)

    found, dropped = samples.framed(FileFormat.TS, [noise + samples.sample("tv.ts")])

    assert found == samples.units_of("tv.ts")
    assert dropped == len(noise)


def shifted(data: bytes, ticks: int) -> bytes:
    """The same stream with all decoding and presentation times moved."""
    return stamps.restamped(data, lambda _, stamp: stamp + ticks)


def test_time_goes_on_when_the_stamps_run_over() -> None:
    """33 bits of 90 kHz last for 26.5 hours."""
    units = framed(shifted(samples.sample("tv.ts"), (1 << 33) - 90_000 * 4))

    assert {unit.duration for unit in units} == {FLICKS // 25}
    assert len(units) == samples.SECONDS * 25


@pytest.mark.parametrize(("jump", "skipped"), [(6.0, 6.0), (-10.0, 0.0), (3600.0, 3600.0)])
def test_a_jump_of_the_stamps_is_told_apart_from_media(jump: float, skipped: float) -> None:
    units = samples.units_of("tv.ts")
    moved = shifted(samples.joined(units[50:]), int(jump * 90_000))

    found = framed(samples.joined(units[:50]) + moved)

    assert samples.seconds(found) == samples.SECONDS
    assert [index for index, unit in enumerate(found) if unit.skipped] == ([50] if skipped else [])
    assert found[50].skipped == skipped * FLICKS


def test_radio_in_a_transport_stream_may_be_cut_at_every_packet() -> None:
    units = samples.units_of("radio.ts")

    assert all(unit.is_cut for unit in units)
    assert len(units) > 5 * samples.SECONDS
    assert all(unit.header or unit.data[1:3] in (b"\x40\x11", b"\x40\x00") for unit in units)


@pytest.mark.parametrize("name", ["tv.ts", "radio.ts"])
def test_a_torn_picture_at_the_end_is_dropped(name: str) -> None:
    """Wherever a stream is cut off, what remains are whole units of it."""
    data, units = samples.sample(name), samples.units_of(name)
    draw = random.Random(9)
    for _ in range(20):
        torn = data[: draw.randrange(len(data) // 2, len(data))]

        found, dropped = samples.framed(FileFormat.TS, [torn])

        assert len(samples.joined(found)) + dropped == len(torn)
        assert data.startswith(samples.joined(found))
        assert dropped <= max(len(unit.data) for unit in units) + PACKET


def test_damaged_tables_are_not_believed() -> None:
    data = bytearray(samples.sample("tv.ts"))
    tables = [at for at in range(0, len(data), PACKET) if psi.pid_of(bytes(data[at : at + 3])) == 0x1000]
    for at in tables[1:]:
        data[at + 20] ^= 0x55

    assert len(framed(bytes(data))) == len(samples.units_of("tv.ts"))


@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts", "radio.ts"])
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 1 << 24), max_size=20), damage=st.lists(st.integers(0, 1 << 24), max_size=5))
def test_gathered_pictures_are_the_same_pictures(name: str, cuts: list[int], damage: list[int]) -> None:
    """Also where something is broken, and however the bytes arrive."""
    data = bytearray(samples.sample(name))
    for at in damage:
        data[at % len(data)] ^= 0xFF
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    singly, gathering = framer_for(FileFormat.TS), framer_for(FileFormat.TS)
    gathering.gathers = True

    chunks = [bytes(data[begin:end]) for begin, end in pairwise(edges)]
    single = [*(unit for chunk in chunks for unit in singly.feed(chunk)), *singly.flush()]
    gathered = [*(unit for chunk in chunks for unit in gathering.feed(chunk)), *gathering.flush()]

    assert samples.joined(gathered) == samples.joined(single)
    assert gathering.dropped == singly.dropped
    assert starts(gathered).items() <= starts(single).items()
    assert [each for each in starts(gathered).values() if each[1] or each[3]] == [
        each for each in starts(single).values() if each[1] or each[3]
    ]


def test_tables_at_the_end_of_what_was_given_belong_to_the_next_picture() -> None:
    data = samples.sample("tv.ts")
    tables = [at for at in range(0, len(data), PACKET) if psi.pid_of(data[at : at + 3]) == 0x1000]
    singly, gathering = framer_for(FileFormat.TS), framer_for(FileFormat.TS)
    gathering.gathers = True

    for begin, end in pairwise([0, *(at + PACKET for at in tables), len(data)]):
        single, gathered = singly.feed(data[begin:end]), gathering.feed(data[begin:end])

        assert starts(gathered).items() <= starts(single).items()


def starts(units: list[Unit]) -> dict[int, tuple[int, bool, bytes, int]]:
    """By where in the bytes a unit begins: when it does, and what a file that begins there needs."""
    found, at, media = {}, 0, 0
    for unit in units:
        found[at] = (media, unit.is_cut, unit.header, unit.skipped)
        at, media = at + len(unit.data), media + unit.duration
    return found


def test_a_segment_whose_key_pictures_are_marked_is_few_units() -> None:
    framer = framer_for(FileFormat.TS)
    framer.gathers = True

    units = framer.feed(samples.sample("tv.ts"))

    assert sum(unit.is_cut for unit in units) == samples.SECONDS
    assert len(units) <= samples.SECONDS + 1
