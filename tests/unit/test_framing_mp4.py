"""Fragmented MP4: boxes, decode times, key pictures."""

from __future__ import annotations

import struct

import pytest

from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from tests import samples

TV = "tv.mp4"


def box(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def header_of(name: str) -> bytes:
    return samples.units_of(name)[0].header


def framed(*data: bytes) -> list[Unit]:
    return samples.framed(FileFormat.MP4, data)[0]


def moved(unit: Unit, seconds: float) -> bytes:
    """The fragment with all its decode times moved."""
    data = bytearray(unit.data)
    scales = {1: 12_800, 2: 44_100}
    at = -1
    while (at := data.find(b"tfdt", at + 1)) >= 0:
        track = struct.unpack_from(">I", data, data.rindex(b"tfhd", 0, at) + 8)[0]
        (ticks,) = struct.unpack_from(">Q", data, at + 8)
        struct.pack_into(">Q", data, at + 8, ticks + round(seconds * scales[track]))
    return bytes(data)


def test_cuts_are_fragments_that_begin_with_a_key_picture() -> None:
    units = samples.units_of(TV)

    assert sum(unit.is_cut for unit in units) == samples.SECONDS
    assert len(units) > samples.SECONDS


def test_every_fragment_has_the_header() -> None:
    for unit in samples.units_of(TV):
        assert unit.header == header_of(TV)
    assert header_of(TV)[4:8] == b"ftyp"


@pytest.mark.parametrize("name", ["opus.mp4", "vorbis.mp4", "flac.mp4"])
def test_every_fragment_of_sound_is_a_cut(name: str) -> None:
    assert all(unit.is_cut for unit in samples.units_of(name))


def test_small_boxes_go_with_the_fragment_behind_them() -> None:
    units = samples.units_of(TV)
    before = box(b"styp", b"msdh\0\0\0\0") + box(b"prft", bytes(24)) + box(b"sidx", bytes(24))

    found = framed(header_of(TV) + units[0].data + before + units[1].data)

    assert found[1].data == before + units[1].data


def test_a_box_may_tell_its_size_in_64_bits() -> None:
    unit = samples.units_of(TV)[0]
    at = unit.data.index(b"mdat") - 4
    wide = unit.data[:at] + struct.pack(">I4sQ", 1, b"mdat", len(unit.data) - at + 8) + unit.data[at + 8 :]

    assert framed(header_of(TV), wide[:9], wide[9:])[0].data == wide


def test_what_cannot_be_decoded_before_the_first_key_picture_is_dropped() -> None:
    units = samples.units_of(TV)

    found, dropped = samples.framed(FileFormat.MP4, [header_of(TV) + samples.joined(units[1:])])

    first = next(index for index, unit in enumerate(units) if index and unit.is_cut)
    assert [unit.data for unit in found] == [unit.data for unit in units[first:]]
    assert dropped == len(samples.joined(units[1:first]))


def test_fragments_before_any_header_are_dropped() -> None:
    data = samples.joined(samples.units_of(TV))

    assert samples.framed(FileFormat.MP4, [data]) == ([], len(data))


def test_a_repeated_header_changes_nothing() -> None:
    units = samples.units_of(TV)

    assert framed(header_of(TV) + units[0].data + header_of(TV) + samples.joined(units[1:])) == units


def test_another_header_holds_from_the_next_cut() -> None:
    first, second = samples.units_of("opus.mp4"), samples.units_of("flac.mp4")

    found = framed(header_of("opus.mp4") + samples.joined(first) + header_of("flac.mp4") + samples.joined(second))

    assert [unit.header for unit in found] == [unit.header for unit in [*first, *second]]


def test_a_hole_in_the_decode_times_is_no_media() -> None:
    units = samples.units_of(TV)

    found = framed(header_of(TV), samples.joined(units[:4]), *(moved(unit, 5) for unit in units[4:]))

    assert samples.seconds(found) == pytest.approx(samples.SECONDS)
    assert [unit.skipped / FLICKS for unit in found if unit.skipped] == [pytest.approx(5)]


def test_decode_times_that_begin_anew_are_no_media_either() -> None:
    units = samples.units_of(TV)

    found = framed(header_of(TV), samples.joined(units), *(unit.data for unit in units))

    assert samples.seconds(found) == pytest.approx(2 * samples.SECONDS)
    assert not any(unit.skipped for unit in found)


def test_a_small_difference_between_durations_and_decode_times_is_set_right() -> None:
    """Encoders guess how long the last sample of a fragment is."""
    units = samples.units_of(TV)

    found = framed(header_of(TV), samples.joined(units[:4]), *(moved(unit, 0.02) for unit in units[4:]))

    assert samples.seconds(found) == pytest.approx(samples.SECONDS + 0.02)


@pytest.mark.parametrize("kind", [b"mdat", b"moov", b"moof", b"styp"])
def test_a_claimed_size_is_waited_for_only_within_reason(kind: bytes) -> None:
    """A stream that claims an enormous box is read on behind the claim."""
    claim = struct.pack(">I4s", 0x7FFFFFFF, kind) + struct.pack(">I4sQ", 1, kind, 1 << 60)

    assert framed(claim, header_of(TV), samples.joined(samples.units_of(TV))) == samples.units_of(TV)


@pytest.mark.parametrize("field", [b"trun", b"tfhd", b"traf", b"tfdt"])
def test_a_fragment_that_contradicts_itself_is_dropped(field: bytes) -> None:
    units = samples.units_of(TV)
    broken = bytearray(units[1].data)
    at = broken.index(field) - 4
    struct.pack_into(">I", broken, at, 9)

    found = framed(header_of(TV), units[0].data, bytes(broken), samples.joined(units[2:]))

    assert bytes(broken) not in [unit.data for unit in found]
    assert found[-1].data == units[-1].data


def test_a_fragment_that_claims_hours_is_dropped() -> None:
    unit = samples.units_of("opus.mp4")[0]
    at = unit.data.index(b"trun")
    endless = bytearray(unit.data)
    struct.pack_into(">I", endless, at + 8, 0xFFFFFFFF)
    endless[at + 6] &= 0xF0  # no fields per sample, so that the count alone speaks

    found = framed(header_of("opus.mp4"), bytes(endless))

    assert sum(each.duration for each in found) <= 120 * FLICKS


def test_a_header_without_picture_or_sound_is_no_header() -> None:
    framer = framer_for(FileFormat.MP4)

    framer.feed(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100))))

    assert framer.feed(samples.joined(samples.units_of(TV))) == []
