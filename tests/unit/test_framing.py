"""What holds for every framing: nothing lost, nothing made up, whatever the chunks and whatever the bytes."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.framing import framer_for
from streamrec.framing.units import Unit
from streamrec.models import FileFormat
from tests import samples

EVERY = samples.names(*FileFormat)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(edges)]


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 1 << 24), max_size=60))
def test_units_do_not_depend_on_how_the_bytes_arrive(name: str, cuts: list[int]) -> None:
    units, _ = samples.framed(samples.format_of(name), chunked(samples.sample(name), cuts))

    assert units == samples.units_of(name)


@pytest.mark.parametrize("name", EVERY)
def test_units_do_not_depend_on_chunks_however_small(name: str) -> None:
    data = samples.sample(name)[:60_000]

    units, dropped = samples.framed(samples.format_of(name), [data[at : at + 7] for at in range(0, len(data), 7)])

    assert (units, dropped) == samples.framed(samples.format_of(name), [data])


@pytest.mark.parametrize("name", samples.names(FileFormat.MP3, FileFormat.AAC, FileFormat.TS))
def test_joined_units_are_the_stream(name: str) -> None:
    assert samples.joined(samples.units_of(name)) == samples.sample(name)


@pytest.mark.parametrize("name", samples.names(FileFormat.MP4))
def test_joined_fragments_are_the_stream_between_its_header_and_its_index(name: str) -> None:
    units = samples.units_of(name)

    whole = units[0].header + samples.joined(units)

    rest = samples.sample(name).removeprefix(whole)
    assert rest[4:8] == b"mfra"


@pytest.mark.parametrize("name", EVERY)
def test_durations_add_up_to_the_media_time(name: str) -> None:
    """An encoder's delay, and its last frame, may add a frame or two of at most 48 ms."""
    assert samples.seconds(samples.units_of(name)) == pytest.approx(samples.SECONDS, abs=0.1)


@pytest.mark.parametrize("name", EVERY)
def test_a_file_may_begin_at_any_cut(name: str, tmp_path: Path) -> None:
    units = samples.units_of(name)
    cuts = [index for index, unit in enumerate(units) if unit.is_cut]
    assert cuts[0] == 0
    cut = cuts[len(cuts) // 2]
    kind = "v" if name.startswith(("tv", "hevc", "mpeg2")) else "a"
    parts = [tmp_path / f"{index}.{samples.format_of(name)}" for index in range(3)]

    for path, some in zip(parts, (units[:cut], units[cut:], units), strict=True):
        path.write_bytes(some[0].header + samples.joined(some))

    first, second, whole = (samples.packets(path, kind=kind) for path in parts)
    assert first + second == whole
    for path in parts:
        samples.ffmpeg("-i", str(path), "-f", "null", "-")


def spoiled(data: bytes, seed: int) -> bytes:
    """Bytes changed, cut out, repeated and put in at five places."""
    draw = random.Random(seed)
    mangled = bytearray(data)
    for _ in range(5):
        at, length = draw.randrange(len(mangled)), draw.randrange(1, 3000)
        choice = draw.randrange(4)
        if choice == 0:
            mangled[at : at + length] = draw.randbytes(length)
        elif choice == 1:
            del mangled[at : at + length]
        elif choice == 2:
            mangled[at:at] = mangled[at : at + length]
        else:
            mangled[at] ^= 1 << draw.randrange(8)
    return bytes(mangled)


def framed_in_chunks(name: str, data: bytes, seed: int) -> tuple[list[Unit], int]:
    draw = random.Random(seed)
    return samples.framed(samples.format_of(name), chunked(data, [draw.randrange(len(data)) for _ in range(9)]))


@pytest.mark.parametrize("name", EVERY)
def test_every_byte_of_a_damaged_stream_is_a_units_or_dropped(name: str) -> None:
    for seed in range(40):
        mangled = spoiled(samples.sample(name), seed)

        units, dropped = framed_in_chunks(name, mangled, seed)

        headers = {unit.header for unit in units} if samples.format_of(name) is FileFormat.MP4 else set()
        unaccounted = len(mangled) - len(samples.joined(units)) - dropped
        assert 0 <= unaccounted <= 2 * sum(map(len, headers)) + 2048
        assert all(unit.duration >= 0 and unit.skipped >= 0 for unit in units)


@pytest.mark.parametrize("name", samples.names(FileFormat.MP3, FileFormat.AAC, FileFormat.TS))
def test_damage_costs_only_what_is_near_it(name: str) -> None:
    """A good stream behind a damaged one is understood again, but for its first moments."""
    for seed in range(40):
        good = samples.sample(name)

        units, _ = framed_in_chunks(name, spoiled(good, seed) + good, seed)

        assert samples.joined(units).endswith(good[len(good) // 4 :])


@pytest.mark.parametrize("name", samples.names(FileFormat.MP4))
def test_a_stretch_missing_from_an_mp4_stream_costs_two_fragments(name: str) -> None:
    good, units = samples.sample(name), samples.units_of(name)
    at = good.index(units[3].data) + len(units[3].data) // 2

    rest, _ = samples.framed(FileFormat.MP4, [good[:at], good[at + 100 :]])

    assert [unit.data for unit in rest[:3]] == [unit.data for unit in units[:3]]
    assert [unit.data for unit in rest[-3:]] == [unit.data for unit in units[-3:]]
    assert len(rest) >= len(units) - 2


@pytest.mark.parametrize("file_format", FileFormat)
@given(data=st.binary(max_size=3000))
def test_any_bytes_are_survived(file_format: FileFormat, data: bytes) -> None:
    units, dropped = samples.framed(file_format, [data[:1000], data[1000:]])

    assert len(samples.joined(units)) + dropped <= len(data)


NOISE = random.Random(1).randbytes(1 << 16)
GARBAGE = {
    "noise": NOISE,
    "zeros": bytes(1 << 16),
    "ones": b"\xff" * (1 << 16),
    "markup": b"<html><body>Not found</body></html>" * 2000,
    "sync bytes": b"\x47" * (1 << 16),
    "endless box": b"\x00\x00\xff\xffmoof" + b"\x00\x10\x00\x00styp" * 8000,
    "null packets": (b"\x47\x1f\xff\x10" + bytes(184)) * 350,
}


@pytest.mark.parametrize("file_format", FileFormat)
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_fills_no_memory(file_format: FileFormat, kind: str) -> None:
    framer = framer_for(file_format)
    tracemalloc.start()
    try:
        for _ in range(400):
            framer.feed(GARBAGE[kind])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 8 << 20
