"""Transport packets whose time stamps are moved, and packets of our own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.framing.packing import Packetizer
from streamrec.framing.psi import PACKET, payload_of
from streamrec.framing.retiming import Retimer, Stamp, elementary, stamp
from tests import samples

WRAP = 1 << 33
PICTURE, SOUND = 0xE0, 0xC0
times = st.integers(0, WRAP - 1)


@given(frames=st.lists(st.tuples(st.binary(min_size=1, max_size=700), times, times), min_size=1, max_size=5))
def test_what_is_packed_is_read_again(frames: list[tuple[bytes, int, int]]) -> None:
    writer = Packetizer(0x123, PICTURE)

    packets = [writer.packed(*frame, is_key=number == 0) for number, frame in enumerate(frames)]

    data = b"".join(packets)
    assert len(data) % PACKET == 0
    assert set(data[::PACKET]) == {0x47}
    (read,) = elementary(data).values()
    assert (read.identifier, read.frames, read.shown) == (PICTURE, [f[0] for f in frames], [f[1] for f in frames])
    assert [stamp(each[:PACKET]) for each in packets] == [Stamp(f[1], f[2], True) for f in frames]


@given(size=st.integers(1, 1000))
def test_the_counters_of_a_stream_go_on_from_where_it_was_broken_off(size: int) -> None:
    writer = Packetizer(0x100, SOUND)
    writer.packed(b"before", 0, 0)

    data = writer.broken_off() + writer.packed(bytes(size), 0, 0) + writer.packed(b"next", 1, 1)

    assert data[5] & 0x80  # the discontinuity_indicator
    assert payload_of(data[:PACKET]) == b""
    counters = [data[at + 3] & 15 for at in range(PACKET, len(data), PACKET)]
    assert counters == [number % 16 for number in range(len(counters))]


@settings(deadline=None)  # the sample is made once
@given(shift=st.integers(-WRAP, WRAP))
def test_moving_changes_the_stamps_and_nothing_else(shift: int) -> None:
    data = samples.sample("tv.ts")[: 400 * PACKET]

    moved = Retimer(shift).moved(data)

    assert Retimer(-shift).moved(moved) == data
    for before, after in zip(elementary(data).values(), elementary(moved).values(), strict=True):
        assert after.frames == before.frames
        assert after.shown == [(ticks + shift) % WRAP for ticks in before.shown]


def test_how_far_a_stream_reaches_is_its_latest_frame() -> None:
    data = samples.sample("tv.ts")
    retimer = Retimer(1000)

    retimer.moved(data)

    pictures, sound = retimer.reaches[0x100], retimer.reaches[0x101]
    assert (pictures.is_picture, sound.is_picture) == (True, False)
    assert pictures.shown == max(elementary(data)[0x100].shown) + 1000
    assert pictures.step == 3600


def test_sound_before_the_floor_is_left_out_also_where_a_frame_goes_on_in_the_next_bytes() -> None:
    writer = Packetizer(0x101, SOUND)
    early = writer.packed(bytes(500), 100, 100)
    late = writer.packed(b"late", 300, 300)
    retimer = Retimer(0, floor=200)

    kept = retimer.moved(early[:PACKET]) + retimer.moved(early[PACKET:] + late)

    assert kept == late
