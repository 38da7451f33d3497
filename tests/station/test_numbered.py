"""Programmes whose frames say their own number: they play, and each frame is known wherever it turns up."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamrec.framing import framer_for
from streamrec.models import FileFormat
from tests.station import clips
from tests.station.numbered_ts import NumberedPictures, NumberedSound

PROGRAMMES = [NumberedSound(7), NumberedSound(7, is_packed=True), NumberedPictures(7)]


@pytest.mark.parametrize("programme", PROGRAMMES, ids=["sound", "packed", "pictures"])
def test_segments_play_and_every_frame_of_them_is_known(
    programme: NumberedSound | NumberedPictures, tmp_path: Path
) -> None:
    first, last = 100, 104
    data = b"".join(programme.segment(number, "h", 0) for number in range(first, last))
    path = tmp_path / f"segments.{programme.suffix}"
    path.write_bytes(data)
    framer = framer_for(FileFormat(programme.suffix))
    units = [*framer.feed(data), *framer.flush()]

    assert clips.decode_errors(path) == ""
    frames = range(first * programme.segment_frames, last * programme.segment_frames)
    assert [programme.number_of(unit.data) for unit in units] == list(frames)


@pytest.mark.parametrize("programme", PROGRAMMES, ids=["sound", "packed", "pictures"])
def test_a_frame_with_a_bit_that_is_wrong_is_not_known(programme: NumberedSound | NumberedPictures) -> None:
    framer = framer_for(FileFormat(programme.suffix))
    (first, *_) = framer.feed(programme.segment(3, "h", 0))
    spoiled = bytearray(first.data)
    spoiled[-20] ^= 1

    assert programme.number_of(first.data) == 3 * programme.segment_frames
    assert programme.number_of(bytes(spoiled)) is None


def test_stations_and_variants_share_no_frame() -> None:
    one, other = NumberedSound(1), NumberedSound(2)

    assert other.number_of(one.frames(5, 6)) is None
    assert one.segment(5, "h", 0) != one.segment(5, "l", 0)
