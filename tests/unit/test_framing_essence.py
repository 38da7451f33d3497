"""What stays the same of a unit when its stream is multiplexed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamrec.framing import framer_for
from streamrec.framing.essence import essence
from streamrec.models import FileFormat
from tests import samples


@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts"])
def test_pictures_are_the_same_in_another_multiplex(name: str, tmp_path: Path) -> None:
    """ffmpeg begins another stream at the second key picture: other counters, times, tables and interleaving."""
    units = samples.units_of(name)
    second = [at for at, unit in enumerate(units) if unit.is_cut][1]
    path = tmp_path / "rest.ts"
    path.write_bytes(units[second].header + samples.joined(units[second:]))
    again = tmp_path / "again.ts"
    samples.ffmpeg("-i", str(path), "-c", "copy", "-muxdelay", "0.1", "-pat_period", "1", str(again))

    rest, _ = samples.framed(FileFormat.TS, [again.read_bytes()])

    assert [essence(FileFormat.TS, unit.data) for unit in rest] == [
        essence(FileFormat.TS, unit.data) for unit in units[second:]
    ]


@pytest.mark.parametrize("name", samples.names(*FileFormat))
def test_units_of_noise_differ(name: str) -> None:
    """Nothing that tells one from another is left out."""
    units = samples.units_of(name)

    assert len({essence(samples.format_of(name), unit.data) for unit in units}) == len(units)


@pytest.mark.parametrize("data", [b"", b"\x47", bytes(188), b"\x00\x00\x00\x01mdatx", b"\x00\x00\x00\x03mdat"])
@pytest.mark.parametrize("file_format", list(FileFormat))
def test_anything_has_an_essence(file_format: FileFormat, data: bytes) -> None:
    assert len(essence(file_format, data)) <= len(data)


@pytest.mark.parametrize("name", ["tv.ts", "tv.mp4"])
def test_a_file_that_goes_on_between_cuts_is_read_whole(name: str) -> None:
    """A framer that awaits no cut gives back the units of a file that does not begin with one."""
    units = samples.units_of(name)
    at = next(at for at, unit in enumerate(units) if at > 5 and not unit.is_cut)
    framer = framer_for(samples.format_of(name), awaits_cut=False)

    found = framer.feed(units[at].header + samples.joined(units[at:])) + framer.flush()

    assert framer.dropped == 0
    assert samples.joined(found).endswith(samples.joined(units[at:]))
