"""MP3 and ADTS: what headers say, and what stands between frames."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamrec.framing import framer_for, mp3, parted, split
from streamrec.framing.units import FLICKS
from streamrec.models import FileFormat
from tests import samples

MP3 = samples.names(FileFormat.MP3)
ADTS = samples.names(FileFormat.AAC)


@pytest.mark.parametrize("name", [*MP3, *ADTS])
def test_frames_are_the_packets_that_ffmpeg_finds(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(samples.sample(name))

    found = [hashlib.md5(unit.data).hexdigest() for unit in samples.units_of(name)]

    assert found == samples.packets(path)


@pytest.mark.parametrize(
    ("header", "length", "samples_each", "rate"),
    [
        ("fffb9000", 417, 1152, 44_100),  # MPEG-1 layer III, 128 kbit/s
        ("fffb9200", 418, 1152, 44_100),  # the same, padded
        ("fff38000", 208, 576, 22_050),  # MPEG-2 layer III, 64 kbit/s
        ("ffe38000", 417, 576, 11_025),  # MPEG-2.5 layer III, 64 kbit/s
        ("fffd8400", 384, 1152, 48_000),  # MPEG-1 layer II, 128 kbit/s
        ("fff58400", 384, 1152, 24_000),  # MPEG-2 layer II, 64 kbit/s
        ("fffe8000", 276, 384, 44_100),  # MPEG-1 layer I, 256 kbit/s is 278 bytes, in slots of four
    ],
)
def test_a_header_tells_length_and_duration(header: str, length: int, samples_each: int, rate: int) -> None:
    frame = bytes.fromhex(header).ljust(length, b"\0")

    units, dropped = samples.framed(FileFormat.MP3, [frame * 3])

    assert dropped == 0
    assert [(len(unit.data), unit.duration) for unit in units] == [(length, samples_each * FLICKS // rate)] * 3


@pytest.mark.parametrize(
    "header",
    [
        "fffb0000",  # free format
        "fffbf000",  # bit rate 15
        "fffb9c00",  # sample rate 3
        "ffeb9000",  # version 1
        "fff99000",  # layer 0, which is ADTS
    ],
)
def test_what_is_no_frame_is_dropped(header: str) -> None:
    data = bytes.fromhex(header).ljust(417, b"\0") * 5

    assert samples.framed(FileFormat.MP3, [data]) == ([], len(data))


def test_adts_blocks_count_towards_the_duration() -> None:
    """Byte 6 ends with the number of raw data blocks less one."""
    frame = bytearray(samples.units_of("aac.aac")[5].data)
    frame[6] |= 3

    units, _ = samples.framed(FileFormat.AAC, [bytes(frame) * 2])

    assert units[0].duration == 4 * 1024 * FLICKS // 44_100


def tag(size: int, *, footer: bool = False) -> bytes:
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return (
        b"ID3\x04\x00"
        + (b"\x10" if footer else b"\x00")
        + digits
        + b"\xff\xfb\x90\x00".ljust(size, b"x")
        + (b"3DI\x04\x00\x10" + digits if footer else b"")
    )


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac"])
@pytest.mark.parametrize("between", [tag(5000), tag(300, footer=True), b"TAG".ljust(128, b"\0")])
def test_tags_are_dropped_wherever_they_stand(name: str, between: bytes) -> None:
    units = samples.units_of(name)
    data = between + samples.joined(units[:20]) + between + samples.joined(units[20:]) + between

    for size in (1, 13, len(data)):
        found, dropped = samples.framed(
            samples.format_of(name), [data[at : at + size] for at in range(0, len(data), size)]
        )

        assert found == units
        assert dropped == 3 * len(between)


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac"])
def test_a_torn_frame_at_the_end_is_dropped(name: str) -> None:
    units = samples.units_of(name)
    data = samples.joined(units[:10])

    found, dropped = samples.framed(samples.format_of(name), [data[:-1]])

    assert found == units[:9]
    assert dropped == len(units[9].data) - 1


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac"])
def test_a_torn_frame_in_the_middle_is_not_taken_for_whole(name: str) -> None:
    units = samples.units_of(name)
    torn = units[5].data[:100]

    found, dropped = samples.framed(
        samples.format_of(name), [samples.joined(units[:5]) + torn + samples.joined(units[6:])]
    )

    assert found == units[:5] + units[6:]
    assert dropped == len(torn)


def test_another_sample_rate_is_followed_at_the_cost_of_a_frame() -> None:
    first, second = samples.units_of("mp3.mp3"), samples.units_of("vbr.mp3")

    found, dropped = samples.framed(FileFormat.MP3, [samples.joined(first) + samples.joined(second)])

    assert found == first[:-1] + second
    assert dropped == len(first[-1].data)


@pytest.mark.parametrize("name", [*MP3, *ADTS])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 1 << 24), max_size=20), damage=st.lists(st.integers(0, 1 << 24), max_size=5))
def test_gathered_frames_are_the_same_frames(name: str, cuts: list[int], damage: list[int]) -> None:
    """Also where something is broken, and however the bytes arrive."""
    form = samples.format_of(name)
    data = bytearray(samples.sample(name))
    for at in damage:
        data[at % len(data)] ^= 0xFF
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    chunks = [bytes(data[begin:end]) for begin, end in pairwise(edges)]
    singly, gathering = framer_for(form), framer_for(form)
    gathering.gathers = True

    single = [unit for chunk in chunks for unit in singly.feed(chunk)]
    gathered = [unit for chunk in chunks for unit in gathering.feed(chunk)]

    assert [frame for unit in gathered for frame in split(form, unit)] == single
    assert gathering.dropped == singly.dropped
    assert damage or len(gathered) <= len(chunks)


@pytest.mark.parametrize("name", [*MP3, *ADTS])
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1))
def test_gathered_frames_can_be_parted_at_any_frame(name: str, share: float) -> None:
    form = samples.format_of(name)
    framer = framer_for(form)
    framer.gathers = True
    unit = max(framer.feed(samples.sample(name)), key=lambda unit: unit.frames)
    count = 1 + round(share * (unit.frames - 2))

    first, rest = parted(form, unit, count)

    assert (first.frames, rest.frames) == (count, unit.frames - count)
    assert first.duration + rest.duration == unit.duration
    assert split(form, first) + split(form, rest) == split(form, unit)


@given(
    second=st.integers(0xE0, 0xFF),
    third=st.integers(0, 0xFF),
    padded=st.lists(st.booleans(), min_size=2, max_size=40),
    times=st.integers(1, 40),
)
def test_frames_of_one_bit_rate_are_counted_whatever_their_padding(
    second: int, third: int, padded: list[bool], times: int
) -> None:
    """Their number is worked out of their length, and a thousand short ones have padding for many more."""
    heads = [bytes((0xFF, second, third & ~2 | 2 * each)) for each in padded * times]
    frames = [frame for head in heads if (frame := mp3.header(head))]
    assume(frames)
    data = b"".join(head + bytes(frame.length - 3) for head, frame in zip(heads, frames, strict=True))

    position, count = mp3.stride(data, 0, frames[0])

    assert (position, count) == (len(data) - frames[-1].length, len(frames) - 1)
