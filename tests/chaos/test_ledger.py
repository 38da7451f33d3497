"""The ledger is told lies about a radio whose every frame is known, and finds each of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from streamrec.models import Coverage, CoverageKind, EnabledPeriod, GapReason, Recording
from tests.chaos.ledger import Finding, Ledger
from tests.chaos.world import Channel
from tests.station.journal import Journal
from tests.station.mount import Mount
from tests.station.numbered import Numbered

RUN = uuid4()


class Archive:
    """What a channel on one radio has recorded: true, unless a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._radio = Numbered(0)
        self.mount = Mount("m0", self._radio, Journal(), burst_frames=0)
        self.recordings: list[Recording] = []
        self.gaps: list[Coverage] = []
        self.enabled: list[EnabledPeriod] = []

    def at(self, frame: int, late: float = 0.0) -> datetime:
        """When a frame was on air, and so many seconds."""
        return self.mount.on_air(frame) + timedelta(seconds=late)

    def frames(self, first: int, end: int) -> bytes:
        return self._radio.frames(first, end)

    def file(self, first: int, end: int, data: bytes | None = None, *, late: float = 0.0) -> None:
        """A file of frames `[first, end)`, or of other bytes under their span."""
        path = f"{len(self.recordings)}.mp3"
        (self._folder / path).write_bytes(self.frames(first, end) if data is None else data)
        start, until = self.at(first, late), self.at(end, late)
        self.recordings.append(Recording(run_id=RUN, path=path, start_time=start, end_time=until))

    def gap(self, first: int, end: int, *, late: tuple[float, float] = (0.0, 0.0)) -> None:
        """A gap in the place of frames `[first, end)`, whose bounds and the files' beside it are so late."""
        start, until = self.at(first, late[0]), self.at(end, late[1])
        self.recordings[-1].end_time = start
        self.gaps.append(
            Coverage(kind=CoverageKind.GAP, reason=GapReason.STALLED, start_time=start, end_time=until)
        )

    def judged(self) -> Finding:
        channel = Channel(0, 1, [self.mount], {})
        return Ledger(channel, self.recordings, self.gaps, self.enabled, self._folder).run()

    def told(self) -> list[str]:
        """What is wrong, without whose it is."""
        return [text.removeprefix("channel 0: ") for text in self.judged().violations]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


# --- I6


def test_whole_files_with_a_true_gap_between_them_are_right(archive: Archive) -> None:
    archive.file(0, 100)
    archive.file(100, 200)
    archive.gap(200, 250)
    archive.file(250, 300)

    found = archive.judged()
    assert (found.violations, found.files, found.frames) == ([], 3, 250)


def test_a_file_that_is_shorter_than_its_span_is_found(archive: Archive) -> None:
    archive.file(0, 100, archive.frames(0, 95))

    assert archive.told() == ["0.mp3 plays 2.280 s, and its span is 2.400 s"]


def test_bytes_that_are_no_frame_are_found(archive: Archive) -> None:
    archive.file(0, 100, b"<html>" + archive.frames(0, 100))

    assert archive.told() == ["0.mp3 has 6 bytes that are no frame"]


def test_a_file_of_another_station_is_found(archive: Archive) -> None:
    archive.file(0, 100, Numbered(1).frames(0, 100))

    assert archive.told() == ["0.mp3 begins with what this channel's station never sent"]


# --- I7


def test_a_frame_that_is_missing_in_a_file_is_found(archive: Archive) -> None:
    archive.file(0, 100, archive.frames(0, 50) + archive.frames(51, 100))

    assert archive.told() == ["0.mp3: 1 frames are missing after 49, and no gap says so"]


def test_a_frame_that_is_missing_between_two_files_is_found(archive: Archive) -> None:
    archive.file(0, 100)
    archive.file(101, 200)

    assert archive.told() == ["1.mp3: 1 frames are missing after 99, and no gap says so"]


def test_a_frame_that_is_not_to_the_bit_what_was_sent_is_missing(archive: Archive) -> None:
    flipped = bytearray(archive.frames(0, 100))
    flipped[50 * 384 + 200] ^= 1
    archive.file(0, 100, bytes(flipped))

    assert archive.told() == ["0.mp3: 1 frames are missing after 49, and no gap says so"]


def test_a_gap_elsewhere_is_no_excuse_for_a_frame_that_is_missing(archive: Archive) -> None:
    archive.file(0, 100)
    archive.file(101, 200)
    archive.gap(200, 250)
    archive.file(250, 300)

    assert archive.told() == ["1.mp3: 1 frames are missing after 99, and no gap says so"]


def test_frames_that_are_missing_while_the_channel_was_disabled_are_right(archive: Archive) -> None:
    archive.file(0, 100)
    archive.file(150, 200)
    for first, end in ((0, 100), (150, 200)):
        archive.enabled.append(EnabledPeriod(start_time=archive.at(first), end_time=archive.at(end)))

    assert archive.told() == []


def test_a_frame_that_is_twice_in_a_file_is_found(archive: Archive) -> None:
    archive.file(0, 100, archive.frames(0, 50) + archive.frames(49, 99))

    assert archive.told() == ["1 frames are archived twice", "0.mp3: frame 49 comes after 49"]


def test_a_frame_that_ends_one_file_and_begins_the_next_is_found(archive: Archive) -> None:
    archive.file(0, 100)
    archive.file(99, 200)

    assert archive.told() == ["1 frames are archived twice", "1.mp3: frame 99 comes after 99"]


def test_frames_that_are_out_of_order_are_found(archive: Archive) -> None:
    swapped = archive.frames(51, 52) + archive.frames(50, 51)
    archive.file(0, 100, archive.frames(0, 50) + swapped + archive.frames(52, 100))

    assert "0.mp3: frame 50 comes after 51" in archive.told()


# --- I8


@pytest.mark.parametrize("late", [-0.3, 0.3])
def test_a_gap_that_begins_off_the_stations_time_is_found(archive: Archive, late: float) -> None:
    archive.file(0, 100, late=late)
    archive.gap(100, 150, late=(late, 0.0))
    archive.file(150, 200)

    (gap, file) = archive.told()
    assert f"a gap (stalled) begins {late:+.3f} s off the station's time" in gap
    assert f"0.mp3 begins {late:+.3f} s off the station's time" in file


@pytest.mark.parametrize("late", [-0.3, 0.3])
def test_a_gap_that_ends_off_the_stations_time_is_found(archive: Archive, late: float) -> None:
    archive.file(0, 100)
    archive.gap(100, 150, late=(0.0, late))
    archive.file(150, 200, late=late)

    (gap, file) = archive.told()
    assert f"a gap (stalled) ends {late:+.3f} s off the station's time" in gap
    assert f"1.mp3 begins {late:+.3f} s off the station's time" in file


def test_bounds_that_are_off_by_less_than_a_quarter_of_a_second_are_right(archive: Archive) -> None:
    archive.file(0, 100, late=0.2)
    archive.gap(100, 150, late=(0.2, -0.2))
    archive.file(150, 200, late=-0.2)

    assert archive.told() == []
